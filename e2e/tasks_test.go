package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestTaskIsDeliveredAndItsResultRead(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(200, "application/json", `{"ok": 1.50}`))
		ep, secret := tg.register(t, h.URL+"/hook?a=b", obj{"headers": obj{"X-From": "endpoint"}})
		r := tg.want(t, 202, "POST", "/v1/tasks", obj{
			"endpoint": ep, "payload": obj{"n": 1}, "headers": obj{"X-Mine": "task"}, "labels": obj{"tier": "gold"},
		})
		id := r.obj.str("id")
		if got := r.header.Get("Location"); got != "/v1/tasks/"+id {
			t.Errorf("Location %q", got)
		}
		done := tg.ends(t, id, "succeeded", "")
		if done.num("attempts") != 1 || done.obj("labels").str("tier") != "gold" || done.str("endpoint") != ep {
			t.Errorf("task: %v", done)
		}
		res := tg.want(t, 200, "GET", "/v1/tasks/"+id+"/result", nil)
		if string(res.raw) != `{"ok": 1.50}` || res.header.Get("Content-Type") != "application/json" {
			t.Errorf("result %q as %q", res.raw, res.header.Get("Content-Type"))
		}
		checkDelivery(t, h.next(t), id, ep, secret)
	})
}

func checkDelivery(t *testing.T, d delivery, id, ep, secret string) {
	t.Helper()
	for name, want := range map[string]string{
		"Webhook-Id": id, "Idempotency-Key": id, "Taskgate-Attempt": "1", "Taskgate-Max-Attempts": "10",
		"Taskgate-Endpoint": ep, "Content-Type": "application/json", "X-Mine": "task", "X-From": "endpoint",
		"Taskgate-Suspect": "",
	} {
		if got := d.header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(d.header.Get("User-Agent"), "Taskgate/") || d.method != "POST" {
		t.Errorf("%s by %q", d.method, d.header.Get("User-Agent"))
	}
	if _, err := time.Parse(time.RFC3339, d.header.Get("Taskgate-Deadline")); err != nil {
		t.Errorf("Taskgate-Deadline: %v", err)
	}
	verify(t, secret, d)
}

// verify checks the signature with the official library.
func verify(t *testing.T, secret string, d delivery) {
	t.Helper()
	wh, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(d.body, d.header); err != nil {
		t.Errorf("signature: %v", err)
	}
}

func TestPayloadBytesArriveAsSubmitted(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(204))
		ep, _ := tg.register(t, h.URL, nil)
		for _, payload := range []string{
			`{"b":1.50,"a":12345678901234567890,"a":2}`, `"\u00e9\u2028 é"`, `[ 1 , 2,	3 ]`, `null`, `0.10e+01`, `{}`, `" "`,
		} {
			tg.want(t, 202, "POST", "/v1/tasks", `{"payload": `+payload+` , "endpoint":"`+ep+`"}`)
			if got := string(h.next(t).body); got != payload {
				t.Errorf("submitted %s, delivered %s", payload, got)
			}
		}
	})
}

func TestRawSubmission(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(200, "text/plain", "thanks"))
		ep, _ := tg.register(t, h.URL, nil)
		raw := []byte{0, 1, 2, 0xff, '\r', '\n', '{'}
		r := tg.want(t, 202, "POST", "/v1/endpoints/"+ep+"/tasks?delay=50ms&label=a:b", raw, "Content-Type", "application/x-thing; v=2")
		d := h.next(t)
		if !bytes.Equal(d.body, raw) || d.header.Get("Content-Type") != "application/x-thing; v=2" {
			t.Errorf("delivered %q as %q", d.body, d.header.Get("Content-Type"))
		}
		done := tg.ends(t, r.obj.str("id"), "succeeded", "")
		if done.obj("labels").str("a") != "b" {
			t.Errorf("labels: %v", done)
		}
		empty := tg.want(t, 202, "POST", "/v1/endpoints/"+ep+"/tasks", []byte{}, "Content-Type", "text/plain")
		tg.ends(t, empty.obj.str("id"), "succeeded", "")
		if d := h.next(t); len(d.body) != 0 {
			t.Errorf("delivered %q for nothing", d.body)
		}
	})
}

func TestDelayIsKeptAndShown(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		got := tg.submit(t, ep, obj{"delay": "1s500ms"})
		if got.str("state") != "scheduled" {
			t.Errorf("state %s", got.str("state"))
		}
		due := got.time(t, "run_at")
		at := time.Now().Add(800 * time.Millisecond).Truncate(time.Millisecond)
		second := tg.submit(t, ep, obj{"run_at": at.Format(time.RFC3339Nano)})
		first := h.next(t)
		if first.header.Get("Webhook-Id") != second.str("id") {
			t.Error("the later task was delivered first")
		}
		for _, c := range []struct{ got, due time.Time }{{first.at, at}, {h.next(t).at, due}} {
			late := c.got.Sub(c.due)
			t.Logf("late by %v", late)
			if late < 0 || late > 5*time.Second {
				t.Errorf("late by %v", late)
			}
		}
	})
}

func TestRetriesUntilSuccess(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(500, "text/plain", "oops"), status(408), body(200, "text/plain", "fine"))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, nil).str("id")
		if got := tg.ends(t, id, "succeeded", ""); got.num("attempts") != 3 {
			t.Errorf("attempts: %v", got)
		}
		as := tg.attempts(t, id)
		if len(as) != 3 {
			t.Fatalf("attempts: %v", as)
		}
		for i, want := range []struct {
			status int
			reason string
		}{{500, "handler_5xx"}, {408, "handler_4xx"}, {200, ""}} {
			if as[i].num("number") != i+1 || as[i].num("status") != want.status || as[i].str("reason") != want.reason {
				t.Errorf("attempt %d: %v", i+1, as[i])
			}
		}
		var ds []delivery
		for n := range 3 {
			d := h.next(t)
			if d.header.Get("Webhook-Id") != id || d.header.Get("Taskgate-Attempt") != fmt.Sprint(n+1) {
				t.Errorf("delivery %d: %v", n+1, d.header)
			}
			ds = append(ds, d)
		}
		if gap := ds[1].at.Sub(ds[0].at); gap < 200*time.Millisecond {
			t.Errorf("retried after %v", gap)
		}
	})
}

func TestExhaustedTaskIsADeadLetterAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(500), status(503), body(200, "text/plain", "at last"))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, obj{"retry": obj{"max_attempts": 2}}).str("id")
		tg.ends(t, id, "failed", "attempts_exhausted")
		list := tg.want(t, 200, "GET", "/v1/tasks?state=failed&endpoint="+ep, nil)
		if ids := idsOf(list.obj); len(ids) != 1 || ids[0] != id {
			t.Errorf("dead letters: %v", ids)
		}
		tg.want(t, 409, "GET", "/v1/tasks/"+id+"/result", nil)
		tg.want(t, 202, "POST", "/v1/tasks/"+id+"/retry", nil)
		got := tg.ends(t, id, "succeeded", "")
		if got.num("attempts") != 3 || got.num("generation") != 2 {
			t.Errorf("replayed: %v", got)
		}
		if ids := idsOf(tg.want(t, 200, "GET", "/v1/tasks?state=failed&endpoint="+ep, nil).obj); len(ids) != 0 {
			t.Errorf("still a dead letter: %v", ids)
		}
	})
}

func idsOf(list obj) []string {
	data, _ := list["data"].([]any)
	ids := make([]string, len(data))
	for i, d := range data {
		m, _ := d.(map[string]any)
		ids[i] = obj(m).str("id")
	}
	return ids
}

func TestLargePayloadSurvivesFailureForReplay(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(400), status(200))
		ep, _ := tg.register(t, h.URL, nil)
		big := strings.Repeat("x", 300_000)
		r := tg.want(t, 202, "POST", "/v1/endpoints/"+ep+"/tasks", []byte(big), "Content-Type", "text/plain")
		id := r.obj.str("id")
		tg.ends(t, id, "failed", "permanent_status")
		tg.want(t, 202, "POST", "/v1/tasks/"+id+"/retry", nil)
		tg.ends(t, id, "succeeded", "")
		h.next(t)
		if d := h.next(t); string(d.body) != big {
			t.Errorf("replayed with %d bytes", len(d.body))
		}
		// Not kept beside a task that waits or succeeded.
		again := tg.want(t, 409, "POST", "/v1/tasks/"+id+"/retry", nil)
		if again.obj.str("code") != "payload_not_kept" {
			t.Errorf("code %s", again.obj.str("code"))
		}
	})
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("r", 2000)
	cases := []struct {
		name          string
		answer        answer
		fields        obj
		state, reason string
		attempts      int
	}{
		{"204", status(204), nil, "succeeded", "", 1},
		{"400", status(400), nil, "failed", "permanent_status", 1},
		{"404", status(404), nil, "failed", "permanent_status", 1},
		{"501", status(501), nil, "failed", "permanent_status", 1},
		{"redirect", status(302, "Location", "/elsewhere"), nil, "failed", "redirect", 1},
		{"never", status(500, "Taskgate-Retry", "never"), nil, "failed", "retry_never", 1},
		{"fail_on", status(503), obj{"retry": obj{"fail_on": []string{"500-599"}}}, "failed", "permanent_status", 1},
		{"retry_on", status(404), obj{"retry": obj{"retry_on": []string{"404"}, "max_attempts": 2, "min_backoff": "1ms"}}, "failed", "attempts_exhausted", 2},
		{"429", status(429), obj{"retry": obj{"max_attempts": 2, "min_backoff": "1ms"}}, "failed", "attempts_exhausted", 2},
		{"garbage", garbage, obj{"retry": obj{"max_attempts": 1}}, "failed", "attempts_exhausted", 1},
		{"hang", hang, obj{"timeout": "300ms", "retry": obj{"max_attempts": 1}}, "failed", "attempts_exhausted", 1},
		{"too large", body(200, "text/plain", huge), nil, "failed", "result_too_large", 1},
	}
	targets(t, func(t *testing.T, tg *target) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				h := serve(t, c.answer)
				ep, _ := tg.register(t, h.URL, obj{"result": obj{"max_bytes": 1000}})
				id := tg.submit(t, ep, c.fields).str("id")
				if got := tg.ends(t, id, c.state, c.reason); got.num("attempts") != c.attempts {
					t.Errorf("attempts: %v", got)
				}
				if n := len(h.deliveries()); n != c.attempts {
					t.Errorf("%d deliveries, want %d", n, c.attempts)
				}
			})
		}
	})
}

func garbage(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte("this is not HTTP\r\n\r\n"))
	_ = conn.Close()
}

func TestRetryAfterPostponesWithoutCounting(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(429, "Retry-After", "1"), status(503, "Retry-After", "1"), status(200))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, obj{"retry": obj{"max_attempts": 1}}).str("id")
		tg.ends(t, id, "succeeded", "")
		a, b, c := h.next(t), h.next(t), h.next(t)
		if b.at.Sub(a.at) < time.Second || c.at.Sub(b.at) < time.Second {
			t.Errorf("came back after %v and %v", b.at.Sub(a.at), c.at.Sub(b.at))
		}
		if as := tg.attempts(t, id); len(as) != 3 || as[0].str("reason") != "throttled" {
			t.Errorf("attempts: %v", as)
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, hang)
		ep, _ := tg.register(t, h.URL, obj{"timeout": "20s"})
		waiting := tg.submit(t, ep, obj{"delay": "1h"}).str("id")
		tg.want(t, 200, "POST", "/v1/tasks/"+waiting+"/cancel", nil)
		tg.ends(t, waiting, "cancelled", "cancelled")
		again := tg.want(t, 200, "POST", "/v1/tasks/"+waiting+"/cancel", nil)
		if again.obj.str("state") != "cancelled" {
			t.Errorf("again: %v", again.obj)
		}

		running := tg.submit(t, ep, nil).str("id")
		h.next(t)
		began := time.Now()
		tg.want(t, 200, "POST", "/v1/tasks/"+running+"/cancel", nil)
		tg.ends(t, running, "cancelled", "cancelled")
		until(t, "the handler's request is aborted", func() bool { return h.idle() })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("aborted after %v", took)
		}
		tg.want(t, 404, "POST", "/v1/tasks/01jd3yv7q8k3w5n6p7r8s9tabc5/cancel", nil)
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/pause", nil)
		id := tg.submit(t, ep, obj{"expires_in": "500ms"}).str("id")
		tg.ends(t, id, "expired", "expired") // by the sweeper: the endpoint takes nothing
		if n := len(h.deliveries()); n != 0 {
			t.Errorf("%d deliveries", n)
		}
	})
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, obj{"delay": "1h"}).str("id")
		tg.want(t, 202, "POST", "/v1/tasks/"+id+"/retry", nil)
		tg.ends(t, id, "succeeded", "")
	})
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		key := "k-" + namespace()
		body := obj{"endpoint": ep, "payload": 1}
		first := tg.want(t, 202, "POST", "/v1/tasks", body, "Idempotency-Key", key)
		again := tg.want(t, 202, "POST", "/v1/tasks", body, "Idempotency-Key", `"`+key+`"`)
		if again.obj.str("id") != first.obj.str("id") || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeat: %v %v", again.obj, again.header)
		}
		other := tg.want(t, 422, "POST", "/v1/tasks", obj{"endpoint": ep, "payload": 2}, "Idempotency-Key", key)
		if other.obj.str("code") != "idempotency_key_reused" {
			t.Errorf("code %s", other.obj.str("code"))
		}
		tg.ends(t, first.obj.str("id"), "succeeded", "")
		if n := len(h.deliveries()); n != 1 {
			t.Errorf("%d deliveries", n)
		}
	})
}

func TestSubmitAndWait(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(200, "application/json", `[1]`))
		ep, _ := tg.register(t, h.URL, nil)
		r := tg.want(t, 200, "POST", "/v1/tasks?wait=20s", obj{"endpoint": ep, "payload": nil})
		if r.obj.str("state") != "succeeded" {
			t.Errorf("answer: %s", r.raw)
		}
		r = tg.want(t, 200, "POST", "/v1/tasks", obj{"endpoint": ep, "payload": nil}, "Prefer", "wait=20")
		if r.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("Preference-Applied %q", r.header.Get("Preference-Applied"))
		}
		slow, _ := tg.register(t, serve(t, hang).URL, nil)
		began := time.Now()
		r = tg.want(t, 202, "POST", "/v1/tasks?wait=300ms", obj{"endpoint": slow, "payload": nil})
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("waited only %v", took)
		}
		tg.want(t, 202, "GET", "/v1/tasks/"+r.obj.str("id")+"/result", nil)
	})
}

func TestListPages(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, serve(t, status(200)).URL, nil)
		want := map[string]bool{}
		for range 7 {
			want[tg.submit(t, ep, obj{"delay": "1h"}).str("id")] = true
		}
		got, path := map[string]bool{}, "/v1/tasks?state=scheduled&limit=3&endpoint="+ep
		for next := path; ; {
			page := tg.want(t, 200, "GET", next, nil).obj
			for _, id := range idsOf(page) {
				if got[id] {
					t.Errorf("%s twice", id)
				}
				got[id] = true
			}
			cursor := page.str("next_cursor")
			if cursor == "" {
				break
			}
			next = path + "&cursor=" + cursor
		}
		if len(got) != len(want) {
			t.Errorf("listed %d of %d", len(got), len(want))
		}
		tg.want(t, 400, "GET", "/v1/tasks?cursor=nonsense", nil)
	})
}

func TestKeysAreRequired(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		for _, key := range []string{"", "Bearer", "Bearer wrong", "Basic " + tg.key} {
			r := tg.want(t, 401, "GET", "/v1/endpoints", nil, "Authorization", key)
			if r.header.Get("WWW-Authenticate") == "" || r.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%q: %v", key, r.header)
			}
		}
	})
}

func TestProblemNamesEveryFault(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		r := tg.want(t, 422, "POST", "/v1/tasks", obj{
			"endpoint": "nobody", "payload": 1, "delay": "soon", "colour": "red", "labels": obj{"a": 1},
		})
		var p struct {
			Code   string
			Errors []struct{ Pointer string }
		}
		if err := json.Unmarshal(r.raw, &p); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, e := range p.Errors {
			got[e.Pointer] = true
		}
		for _, want := range []string{"/endpoint", "/delay", "/colour", "/labels/a"} {
			if !got[want] {
				t.Errorf("%s is missing in %s", want, r.raw)
			}
		}
	})
}
