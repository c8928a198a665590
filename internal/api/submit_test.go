package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

func last(w *world) lifecycle.Submission { return w.submitted[len(w.submitted)-1] }

func TestSubmit(t *testing.T) {
	w := newWorld()
	now := time.Now()
	c := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) { o.Now = func() time.Time { return now } }))
	a := c.send(t, "POST", "/v1/tasks", `{
		"endpoint": "emails", "payload": {"a": 1}, "delay": "1d2h", "expires_in": "30h", "timeout": "10s", "result_ttl": "7d",
		"retry": {"max_attempts": 3, "min_backoff": "1s", "schedule": ["1s", "2m"], "retry_on": ["409"], "jitter": 0},
		"labels": {"customer": "c_42"}, "headers": {"X-B": "2", "X-A": "ä"}}`,
		"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	a.wantStatus(t, 202)
	want := lifecycle.Submission{
		Project: project, Endpoint: "emails", Payload: []byte(`{"a": 1}`), ContentType: "application/json",
		RunAt: now.Add(26 * time.Hour), ExpiresAt: now.Add(30 * time.Hour), Timeout: 10 * time.Second, ResultTTL: 7 * 24 * time.Hour,
		Retry: &task.Retry{
			MaxAttempts: new(3), MinBackoff: new(task.Duration(time.Second)), Jitter: new(0.0),
			Schedule: []task.Duration{task.Duration(time.Second), task.Duration(2 * time.Minute)}, RetryOn: task.StatusSet{"409"},
		},
		Labels:  map[string]string{"customer": "c_42"},
		Headers: []task.Header{{Name: "X-A", Value: "ä"}, {Name: "X-B", Value: "2"}}, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	if diff := cmp.Diff(want, last(w)); diff != "" {
		t.Error(diff)
	}
	if got := a.Header().Get("Location"); got != "/v1/tasks/"+a.task.Id || a.task.Links.Self != got {
		t.Errorf("Location %q, links %+v", got, a.task.Links)
	}
	if a.task.State != "scheduled" || a.task.NextAttemptAt == nil {
		t.Errorf("got %s", a.Body)
	}
}

func TestSubmitPayloadBytes(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	for _, payload := range []string{
		`12345678901234567890`, `1.50`, `1e400`, `-0`, `{"b":1,"a":2}`, "{ \"a\" :\t1 ,\n\"b\":[ ] }", `"\u00e4\ud83d\ude00\/"`, `"<&>"`,
		`{"a":1,"a":2}`, `null`, `true`, `""`, `[1,[2,[3]]]`, `"}]\""`, `{"payload":{"payload":1}}`, `"\ud800"`, "\"\u2028\"",
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
	} {
		for _, form := range []string{`{"endpoint":"emails","payload":%s}`, `{ "payload" :  %s , "endpoint":"emails"}`, "{\"payload\":\n%s\n,\"endpoint\":\"emails\"}"} {
			c.send(t, "POST", "/v1/tasks", fmt.Sprintf(form, payload)).wantStatus(t, 202)
			if got := string(last(w).Payload); got != payload {
				t.Errorf("payload %s became %s", payload, got)
			}
		}
	}
	c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`).wantStatus(t, 202)
	if s := last(w); len(s.Payload) != 0 || s.ContentType != "" {
		t.Errorf("no payload became %q (%s)", s.Payload, s.ContentType)
	}
}

func TestSubmitWait(t *testing.T) {
	result := &task.Result{Status: 201, ContentType: "application/json; charset=utf-8", Body: []byte(`{"n": 12345678901234567890, "x": 1.50, "h": "<b>"}`)}
	t.Run("ends in time", func(t *testing.T) {
		w := newWorld()
		c := newClient(t, w.server(t))
		done := make(chan *answer)
		go func() {
			done <- c.send(t, "POST", "/v1/tasks?wait=50s", `{"endpoint":"emails"}`)
		}()
		w.waitFor(t, "wait")
		w.finish(result)
		a := <-done
		a.wantStatus(t, 200)
		if got := string(a.task.Result.Body); got != `{"n":12345678901234567890,"x":1.50,"h":"<b>"}` {
			t.Errorf("inline result %s", got)
		}
		if a.task.State != "succeeded" || a.task.Result.Size != len(result.Body) || a.task.Result.Status != 201 {
			t.Errorf("got %s", a.Body)
		}
	})
	t.Run("does not", func(t *testing.T) {
		c := newClient(t, newWorld().server(t))
		a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, "Prefer: respond-async", "Prefer: wait=0")
		a.wantStatus(t, 202)
		if a.Header().Get("Preference-Applied") != "wait=0" {
			t.Errorf("got %q", a.Header())
		}
	})
	t.Run("store away while waiting", func(t *testing.T) {
		w := newWorld()
		w.fail["wait"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
		c := newClient(t, w.server(t))
		c.send(t, "POST", "/v1/tasks?wait=1s", `{"endpoint":"emails"}`).wantStatus(t, 202)
	})
	t.Run("result unreadable", func(t *testing.T) {
		w := newWorld()
		w.fail["get result"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
		c := newClient(t, w.server(t))
		done := make(chan *answer)
		go func() { done <- c.send(t, "POST", "/v1/tasks?wait=50s", `{"endpoint":"emails"}`) }()
		w.waitFor(t, "wait")
		w.finish(result)
		(<-done).wantStatus(t, 202)
	})
	t.Run("longer than allowed", func(t *testing.T) {
		w := newWorld()
		c := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) { o.MaxWait = time.Second }))
		start := time.Now()
		a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, "Prefer: wait=3600")
		a.wantStatus(t, 202)
		if took := time.Since(start); took > 20*time.Second || a.Header().Get("Preference-Applied") != "wait=1" {
			t.Errorf("waited %s, %q", took, a.Header().Get("Preference-Applied"))
		}
	})
}

func TestSubmitIdempotent(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	const body = `{"endpoint":"emails","payload":1}`
	first := c.send(t, "POST", "/v1/tasks", body, `Idempotency-Key: "k-1"`)
	first.wantStatus(t, 202)
	if first.Header().Get("Idempotency-Replayed") != "" {
		t.Error("the first is no replay")
	}
	again := c.send(t, "POST", "/v1/tasks?wait=0s", body, `Idempotency-Key: k-1`)
	again.wantStatus(t, 202)
	if again.Header().Get("Idempotency-Replayed") != "true" || again.task.Id != first.task.Id {
		t.Errorf("got %s, %v", again.Body, again.Header())
	}
	c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails","payload":2}`, `Idempotency-Key: k-1`).want(t, 422, "idempotency_key_reused")
	c.send(t, "POST", "/v1/endpoints/emails/tasks", body, `Idempotency-Key: k-1`).want(t, 422, "idempotency_key_reused")
	if s := last(w); s.IdempotencyKey != "k-1" || s.Fingerprint == "" {
		t.Errorf("got %+v", s)
	}
}

// A repeat that comes after its expires_at is a repeat; it says so only of what
// was accepted, and only if nothing else is wrong with it.
func TestSubmitRepeatedTooLate(t *testing.T) {
	now := time.Now()
	c := newClient(t, newWorld().server(t, func(_ *api.Deps, o *api.Options) { o.Now = func() time.Time { return now } }))
	ends := now.Add(time.Minute).UTC().Format(time.RFC3339)
	body := `{"endpoint":"emails","expires_at":"` + ends + `"}`
	raw := "/v1/endpoints/emails/tasks?expires_at=" + ends
	first := c.send(t, "POST", "/v1/tasks", body, "Idempotency-Key: a")
	first.wantStatus(t, 202)
	firstRaw := c.send(t, "POST", raw, "text", "Idempotency-Key: b")
	firstRaw.wantStatus(t, 202)
	now = now.Add(time.Hour)
	again := c.send(t, "POST", "/v1/tasks", body, "Idempotency-Key: a")
	againRaw := c.send(t, "POST", raw, "text", "Idempotency-Key: b")
	if again.task.Id != first.task.Id || againRaw.task.Id != firstRaw.task.Id || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s, %d %s", again.Code, again.Body, againRaw.Code, againRaw.Body)
	}
	c.send(t, "POST", "/v1/tasks", body).want(t, 422, "invalid", "/expires_at")
	c.send(t, "POST", "/v1/tasks", body, "Idempotency-Key: never seen").want(t, 422, "invalid", "/expires_at")
	c.send(t, "POST", raw, "text", "Idempotency-Key: never seen").want(t, 400, "invalid_parameter", "expires_at")
	c.send(t, "POST", "/v1/tasks", strings.Replace(body, "emails", "nope", 1), "Idempotency-Key: a").
		want(t, 422, "invalid", "/endpoint", "/expires_at")
	// What was always wrong is not excused by a key.
	c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails","expires_in":"1s","delay":"2s"}`, "Idempotency-Key: a").want(t, 422, "invalid", "/expires_in")
}

func TestSubmitFails(t *testing.T) {
	for _, c := range []struct {
		err    *task.Error
		status int
		retry  string
	}{
		{task.Wrap(task.CodeNotAccepted, errDown, "nothing was accepted"), 503, "2"},
		{&task.Error{Code: task.CodeOutcomeUnknown, Detail: "repeat", TaskID: "01kad2t5m6f0q9v3zj8y4w7xhc7", Err: errDown}, 503, "10"},
		{task.Wrap(task.CodeUnavailable, errDown, "the store is away"), 503, "5"},
		{task.Errorf(task.CodeInProgress, "being accepted"), 409, "2"},
		{task.Wrap(task.CodeInternal, errDown, "secret insides 10.0.0.7"), 500, ""},
	} {
		t.Run(string(c.err.Code), func(t *testing.T) {
			w := newWorld()
			w.fail["accept"] = fmt.Errorf("wrapped: %w", c.err)
			a := newClient(t, w.server(t)).send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
			a.want(t, c.status, string(c.err.Code))
			if got := a.Header().Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q", got)
			}
			if c.err.TaskID != "" && (a.problem.TaskId == nil || *a.problem.TaskId != string(c.err.TaskID)) {
				t.Errorf("got %s", a.Body)
			}
			if c.status >= 500 && !strings.Contains(w.logged.String(), "connection refused") {
				t.Error("the cause is not in the log")
			}
		})
	}
}

func TestSubmitRaw(t *testing.T) {
	w := newWorld()
	now := time.Now()
	c := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) { o.Now = func() time.Time { return now } }))
	body := "\x00\xff{ not json"
	c.send(t, "POST", "/v1/endpoints/emails/tasks?delay=5m&timeout=9s&max_attempts=4&min_backoff=2s&label=source:github&label=a:b:c"+
		"&forward=X-GitHub-*,X-Hub-Signature-256&forward=Authoriz*&idempotency_header=X-GitHub-Delivery", body,
		"Content-Type: text/x-odd; v=1", "Content-Encoding: gzip", "X-GitHub-Event: push", "X-GitHub-Delivery: d-1",
		"X-Hub-Signature-256: sha256=ab", "X-Other: no", "Taskgate-Expires-In: 1h", "Taskgate-Label-Tier: gold",
		"Taskgate-Header-X-Extra: yes", "Taskgate-Attempt: 1", "Webhook-Id: x").wantStatus(t, 202)
	want := lifecycle.Submission{
		Project: project, Endpoint: "emails", Payload: []byte(body), ContentType: "text/x-odd; v=1",
		RunAt: now.Add(5 * time.Minute), ExpiresAt: now.Add(time.Hour), Timeout: 9 * time.Second,
		Retry:  &task.Retry{MaxAttempts: new(4), MinBackoff: new(task.Duration(2 * time.Second))},
		Labels: map[string]string{"source": "github", "a": "b:c", "tier": "gold"},
		Headers: []task.Header{
			{Name: "Content-Encoding", Value: "gzip"},
			{Name: "X-Extra", Value: "yes"},
			{Name: "X-Github-Delivery", Value: "d-1"},
			{Name: "X-Github-Event", Value: "push"},
			{Name: "X-Hub-Signature-256", Value: "sha256=ab"},
		},
		IdempotencyKey: "emails\x00x-github-delivery\x00d-1", Fingerprint: last(w).Fingerprint,
	}
	if diff := cmp.Diff(want, last(w)); diff != "" {
		t.Error(diff)
	}
	c.send(t, "POST", "/v1/endpoints/emails/tasks", "").wantStatus(t, 202)
	if s := last(w); s.ContentType != "application/octet-stream" || len(s.Payload) != 0 || s.Retry != nil {
		t.Errorf("got %+v", s)
	}
	json := `{ "kept" : 1.50 }`
	c.send(t, "POST", "/v1/endpoints/emails/tasks", json).wantStatus(t, 202)
	if s := last(w); s.ContentType != "application/json" || string(s.Payload) != json {
		t.Errorf("got %+v", s)
	}
}

func TestFingerprintOfOptions(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	const path = "/v1/endpoints/emails/tasks"
	c.send(t, "POST", path+"?delay=1m&timeout=5s", "x", "Idempotency-Key: k").wantStatus(t, 202)
	c.send(t, "POST", path+"?timeout=5s&delay=1m&wait=0s", "x", "Idempotency-Key: k").wantStatus(t, 202)
	c.send(t, "POST", path+"?delay=2m&timeout=5s", "x", "Idempotency-Key: k").want(t, 422, "idempotency_key_reused")
	c.send(t, "POST", path+"?delay=1m", "x", "Idempotency-Key: k", "Taskgate-Timeout: 5s").want(t, 422, "idempotency_key_reused")
	c.send(t, "POST", path+"?delay=1m&timeout=5s", "x", "Idempotency-Key: k", "Content-Type: text/plain").want(t, 422, "idempotency_key_reused")
}

func TestInlineResults(t *testing.T) {
	big := `"` + strings.Repeat("x", 64<<10) + `"`
	for _, c := range []struct {
		name, media, body string
		inline            bool
	}{
		{"JSON", "application/json", `{"a":1}`, true},
		{"problem", "application/problem+json", `[1]`, true},
		{"null", "application/json", `null`, true},
		{"text", "text/plain", `{"a":1}`, false},
		{"no type", "", `{"a":1}`, false},
		{"not JSON", "application/json", `{"a":`, false},
		{"not UTF-8", "application/json", "\"\xff\"", false},
		{"empty", "application/json", ``, false},
		{"large", "application/json", big, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			id := w.put(task.Succeeded, &task.Result{Status: 200, ContentType: c.media, Body: []byte(c.body)}).ID
			a := newClient(t, w.server(t)).send(t, "GET", "/v1/tasks/"+string(id), "")
			a.wantStatus(t, 200)
			var v struct{ Result map[string]json.RawMessage }
			decode(t, a.Body.Bytes(), &v)
			body, inline := v.Result["body"]
			if inline != c.inline || inline && string(body) != c.body {
				t.Errorf("got %s", a.Body)
			}
			if a.task.Result.Size != len(c.body) {
				t.Errorf("size %d", a.task.Result.Size)
			}
		})
	}
}
