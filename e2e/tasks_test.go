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

	"github.com/taskgate/taskgate/client"
)

func TestTaskIsDeliveredAndItsResultRead(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(200, "application/json", `{"ok": 1.50}`))
		ep, secret := tg.register(t, h.URL+"/hook?a=b", obj{"headers": obj{"X-From": "endpoint"}})
		r := got(tg.expect(t, 202).SubmitTaskWithResponse(t.Context(), nil, client.TaskSubmission{
			Endpoint: ep, Payload: json.RawMessage(`{"n":1}`),
			Headers: &client.Headers{"X-Mine": "task"}, Labels: &client.Labels{"tier": "gold"},
		}))
		id := r.JSON202.Id
		if at := r.Headers202.Location; at != "/v1/tasks/"+id {
			t.Errorf("Location %q", at)
		}
		done := tg.ends(t, id, "succeeded", "")
		if done.num("attempts") != 1 || done.obj("labels").str("tier") != "gold" || done.str("endpoint") != ep {
			t.Errorf("task: %v", done)
		}
		res := got(tg.expect(t, 200).GetTaskResultWithResponse(t.Context(), id, nil))
		if string(res.Body) != `{"ok": 1.50}` || res.ContentType() != "application/json" || res.Headers200.TaskgateStatus != 200 {
			t.Errorf("result %q as %q, status %d", res.Body, res.ContentType(), res.Headers200.TaskgateStatus)
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
		r := got(tg.expect(t, 202).SubmitRawTaskWithBodyWithResponse(t.Context(), ep,
			&client.SubmitRawTaskParams{Delay: new("50ms"), Label: []string{"a:b"}}, "application/x-thing; v=2", bytes.NewReader(raw)))
		d := h.next(t)
		if !bytes.Equal(d.body, raw) || d.header.Get("Content-Type") != "application/x-thing; v=2" {
			t.Errorf("delivered %q as %q", d.body, d.header.Get("Content-Type"))
		}
		done := tg.ends(t, r.JSON202.Id, "succeeded", "")
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
		if ids := tg.deadLetters(t, ep); len(ids) != 1 || ids[0] != id {
			t.Errorf("dead letters: %v", ids)
		}
		none := got(tg.expect(t, 409).GetTaskResultWithResponse(t.Context(), id, nil))
		if code := client.ProblemOf(none).Code; code != client.ProblemCodeNoResult {
			t.Errorf("code %s", code)
		}
		tg.retry(t, id)
		got := tg.ends(t, id, "succeeded", "")
		if got.num("attempts") != 3 || got.num("generation") != 2 {
			t.Errorf("replayed: %v", got)
		}
		if ids := tg.deadLetters(t, ep); len(ids) != 0 {
			t.Errorf("still a dead letter: %v", ids)
		}
	})
}

func (tg *target) deadLetters(t *testing.T, ep string) []string {
	t.Helper()
	r := got(tg.expect(t, 200).ListTasksWithResponse(t.Context(), &client.ListTasksParams{Endpoint: &ep, State: []client.TaskState{client.TaskStateFailed}}))
	return taskIDs(r.JSON200.Data)
}

func (tg *target) retry(t *testing.T, id string) {
	t.Helper()
	got(tg.expect(t, 202).RetryTaskWithResponse(t.Context(), id))
}

func taskIDs(tasks []client.Task) []string {
	ids := make([]string, len(tasks))
	for i, task := range tasks {
		ids[i] = task.Id
	}
	return ids
}

func TestLargePayloadSurvivesFailureForReplay(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(400), status(200))
		ep, _ := tg.register(t, h.URL, nil)
		big := strings.Repeat("x", 300_000)
		r := got(tg.expect(t, 202).SubmitRawTaskWithBodyWithResponse(t.Context(), ep, nil, "text/plain", strings.NewReader(big)))
		id := r.JSON202.Id
		tg.ends(t, id, "failed", "permanent_status")
		tg.retry(t, id)
		tg.ends(t, id, "succeeded", "")
		h.next(t)
		if d := h.next(t); string(d.body) != big {
			t.Errorf("replayed with %d bytes", len(d.body))
		}
		// Not kept beside a task that waits or succeeded.
		again := got(tg.expect(t, 409).RetryTaskWithResponse(t.Context(), id))
		if code := client.ProblemOf(again).Code; code != client.ProblemCodePayloadNotKept {
			t.Errorf("code %s", code)
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
		tg.cancel(t, waiting)
		tg.ends(t, waiting, "cancelled", "cancelled")
		if again := tg.cancel(t, waiting); again.State != client.TaskStateCancelled {
			t.Errorf("again: %v", again)
		}

		running := tg.submit(t, ep, nil).str("id")
		h.next(t)
		began := time.Now()
		tg.cancel(t, running)
		tg.ends(t, running, "cancelled", "cancelled")
		until(t, "the handler's request is aborted", func() bool { return h.idle() })
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("aborted after %v", took)
		}
		got(tg.expect(t, 404).CancelTaskWithResponse(t.Context(), "01jd3yv7q8k3w5n6p7r8s9tabc5"))
	})
}

func (tg *target) cancel(t *testing.T, id string) *client.Task {
	t.Helper()
	return got(tg.expect(t, 200).CancelTaskWithResponse(t.Context(), id)).JSON200
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		tg.pause(t, ep)
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
		tg.retry(t, id)
		tg.ends(t, id, "succeeded", "")
	})
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		key := "k-" + namespace()
		first := tg.submitWithKey(t, 202, ep, key, `1`)
		again := tg.submitWithKey(t, 202, ep, `"`+key+`"`, `1`)
		if again.JSON202.Id != first.JSON202.Id || again.Headers202.IdempotencyReplayed == nil {
			t.Errorf("repeat: %+v %+v", again.JSON202, again.Headers202)
		}
		other := tg.submitWithKey(t, 422, ep, key, `2`)
		if code := client.ProblemOf(other).Code; code != client.ProblemCodeIdempotencyKeyReused {
			t.Errorf("code %s", code)
		}
		tg.ends(t, first.JSON202.Id, "succeeded", "")
		if n := len(h.deliveries()); n != 1 {
			t.Errorf("%d deliveries", n)
		}
	})
}

func (tg *target) submitWithKey(t *testing.T, status int, ep, key, payload string) *client.SubmitTaskResponse {
	t.Helper()
	return got(tg.expect(t, status).SubmitTaskWithResponse(t.Context(), &client.SubmitTaskParams{IdempotencyKey: &key},
		client.TaskSubmission{Endpoint: ep, Payload: json.RawMessage(payload)}))
}

func TestSubmitAndWait(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(200, "application/json", `[1]`))
		ep, _ := tg.register(t, h.URL, nil)
		task := client.TaskSubmission{Endpoint: ep, Payload: json.RawMessage(`null`)}
		r := got(tg.expect(t, 200).SubmitTaskWithResponse(t.Context(), &client.SubmitTaskParams{Wait: new("20s")}, task))
		if r.JSON200.State != client.TaskStateSucceeded || string(r.JSON200.Result.Body) != `[1]` {
			t.Errorf("answer: %s", r.Body)
		}
		r = got(tg.expect(t, 200).SubmitTaskWithResponse(t.Context(), &client.SubmitTaskParams{Prefer: new("wait=20")}, task))
		if applied := r.Headers200.PreferenceApplied; applied == nil || *applied != "wait=20" {
			t.Errorf("Preference-Applied %v", applied)
		}
		slow, _ := tg.register(t, serve(t, hang).URL, nil)
		began := time.Now()
		r = got(tg.expect(t, 202).SubmitTaskWithResponse(t.Context(), &client.SubmitTaskParams{Wait: new("300ms")}, client.TaskSubmission{Endpoint: slow}))
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("waited only %v", took)
		}
		got(tg.expect(t, 202).GetTaskResultWithResponse(t.Context(), r.JSON202.Id, nil))
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
		seen := map[string]bool{}
		page := client.ListTasksParams{Endpoint: &ep, State: []client.TaskState{client.TaskStateScheduled}, Limit: new(3)}
		for {
			r := got(tg.expect(t, 200).ListTasksWithResponse(t.Context(), &page))
			for _, id := range taskIDs(r.JSON200.Data) {
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
			}
			if page.Cursor = r.JSON200.NextCursor; page.Cursor == nil {
				break
			}
		}
		if len(seen) != len(want) {
			t.Errorf("listed %d of %d", len(seen), len(want))
		}
		got(tg.expect(t, 400).ListTasksWithResponse(t.Context(), &client.ListTasksParams{Cursor: new("nonsense")}))
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
