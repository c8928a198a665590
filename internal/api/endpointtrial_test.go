package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

func TestTestEndpoint(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	w.trial = task.TrialResult{
		Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 503, Took: task.Duration(41 * time.Millisecond),
		Answer: []byte("down \xff"), State: task.Retrying, TaskReason: task.ReasonHandler5xx, NextIn: task.Duration(5 * time.Second),
	}
	a := c.send(t, "POST", "/v1/endpoints/emails/test", `{"payload":{"n": 1.50},"headers":{"X-B":"2","X-A":"1"}}`)
	a.wantStatus(t, 200)
	var got gen.EndpointTestResult
	decode(t, a.Body.Bytes(), &got)
	id := w.tried[0].ID
	want := gen.EndpointTestResult{
		Id: string(id), Verdict: "retry", Reason: new(gen.Reason("handler_5xx")), Status: new(503), DurationMs: 41, Answer: new("down \uFFFD"),
		Task: gen.EndpointTestTask{State: "retrying", Reason: new(gen.Reason("handler_5xx")), NextAttemptIn: new("5s")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wanted := task.Trial{
		ID: id, Project: project, Endpoint: "emails", Payload: []byte(`{"n": 1.50}`), Type: "application/json",
		Headers: []task.Header{{Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2"}},
	}
	if diff := cmp.Diff(wanted, w.tried[0]); diff != "" {
		t.Error(diff)
	}
	if _, ok := task.ParseID(string(id)); !ok || len(w.submitted) != 0 {
		t.Errorf("id %q, submitted %v", id, w.submitted)
	}
}

func TestTestEndpointPayloads(t *testing.T) {
	for _, tt := range []struct{ name, body, payload, kind string }{
		{"no body", "", "", ""},
		{"nothing", `{}`, "", ""},
		{"null", `{"payload":null}`, "null", "application/json"},
		{"other JSON", `{"payload":[1],"content_type":"application/ld+json; charset=utf-8"}`, "[1]", "application/ld+json; charset=utf-8"},
		{"text", `{"payload":"<a b=\"\u00e9\"/>","content_type":"text/xml"}`, `<a b="é"/>`, "text/xml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.trial = task.TrialResult{Kind: task.KindGone, State: task.Failed, Disables: true}
			a := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) { o.MaxPayload = 100 })).
				send(t, "POST", "/v1/endpoints/emails/test", tt.body)
			a.wantStatus(t, 200)
			if got := w.tried[0]; string(got.Payload) != tt.payload || got.Type != tt.kind {
				t.Errorf("sent %q as %q", got.Payload, got.Type)
			}
		})
	}
}

func TestTestEndpointFails(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	w.trial = task.TrialResult{Unknown: true} // deleted meanwhile
	c.send(t, "POST", "/v1/endpoints/emails/test", "").want(t, 404, "not_found")
	w.fail["try"] = task.Wrap(task.CodeUnavailable, errDown, "no dispatcher took the call; is one running?")
	c.send(t, "POST", "/v1/endpoints/emails/test", "").want(t, 503, "unavailable")
}
