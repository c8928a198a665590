package e2e_test

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/telemetry/otlptest"
)

// tree is one trace as it was received.
type tree struct {
	t     *testing.T
	spans []otlptest.Span
}

func traceOf(t *testing.T, r *otlptest.Receiver, id string) *tree {
	t.Helper()
	return &tree{t, slices.DeleteFunc(r.Spans(), func(s otlptest.Span) bool { return s.Trace != id })}
}

func (tr *tree) named(name string) []otlptest.Span {
	return slices.DeleteFunc(slices.Clone(tr.spans), func(s otlptest.Span) bool { return s.Name != name })
}

// connected fails the test unless every span descends from root.
func (tr *tree) connected(root string) {
	tr.t.Helper()
	known := map[string]bool{root: true}
	for _, s := range tr.spans {
		known[s.ID] = true
	}
	for i := range tr.spans {
		if s := &tr.spans[i]; !known[s.Parent] {
			tr.t.Errorf("a span is not connected: %v", s)
		}
	}
}

// below fails the test unless the span has a child of each name.
func (tr *tree) below(s otlptest.Span, names ...string) {
	tr.t.Helper()
	for _, name := range names {
		if !slices.ContainsFunc(tr.named(name), func(c otlptest.Span) bool { return c.Parent == s.ID }) {
			tr.t.Errorf("%q has no child %q", s.Name, name)
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// A task that is submitted by a caller with a trace, fails once, succeeds and
// is replayed later, is one connected story across processes: request,
// publish, attempts, settlements, callback, and what handlers get.
func TestTraces(t *testing.T) {
	t.Parallel()
	r := otlptest.New(t)
	env := with("TASKGATE_OTLP_ENDPOINT="+r.URL, "TASKGATE_TRACE_CALLERS=continue")
	installations(t, env, func(t *testing.T, in *installation) {
		h := serve(t, status(500), body(200, "text/plain", "ok"))
		ep := in.lasting(t, h.URL)
		trace, caller := randomHex(16), randomHex(8)
		hook := serve(t, status(204))
		task := obj{"endpoint": ep, "payload": "PAYLOAD-SECRET", "callback": obj{"url": hook.URL + "/CALLBACK-SECRET"}}
		id := in.want(t, http.StatusAccepted, "POST", "/v1/tasks", task,
			"traceparent", "00-"+trace+"-"+caller+"-01").obj.str("id")
		in.ends(t, id, "succeeded", "")
		hook.next(t)
		in.want(t, http.StatusAccepted, "POST", "/v1/tasks/"+id+"/retry", nil)
		in.ends(t, id, "succeeded", "")
		in.stop()

		tr := traceOf(t, r, trace)
		tr.connected(caller)
		roots := tr.named("POST /v1/tasks")
		if len(roots) != 1 || roots[0].Parent != caller || roots[0].Kind != "SERVER" || roots[0].Attrs["taskgate.task.id"] != id {
			t.Fatalf("the request's spans are %v", roots)
		}
		root := roots[0]
		tr.below(root, "store create", "publish", "store accepted")
		attempts, deliveries := tr.named("attempt "+ep), h.deliveries()
		if len(attempts) != 3 || len(deliveries) != 3 {
			t.Fatalf("%d attempts traced, %d delivered", len(attempts), len(deliveries))
		}
		for i, a := range attempts {
			want := map[string]string{
				"taskgate.task.id": id, "taskgate.attempt.number": []string{"1", "2", "3"}[i], "taskgate.attempt.settled": "true",
				"http.response.status_code": []string{"500", "200", "200"}[i], "taskgate.task.state": []string{"retrying", "succeeded", "succeeded"}[i],
				"taskgate.attempt.reason": []string{"handler_5xx", "", ""}[i], "server.address": "127.0.0.1",
			}
			for k, v := range want {
				if a.Attrs[k] != v {
					t.Errorf("attempt %d: %s is %q, want %q", i+1, k, a.Attrs[k], v)
				}
			}
			if a.Parent != root.ID || !slices.Equal(a.Links, []string{root.Ref()}) || a.Kind != "CLIENT" || a.Failed != (i == 0) {
				t.Errorf("attempt %d: %+v", i+1, a)
			}
			if got := deliveries[i].header.Get("Traceparent"); got != "00-"+a.Ref()+"-01" {
				t.Errorf("attempt %d: the handler got %s", i+1, got)
			}
			tr.below(a, "settle")
		}
		// The callback: a task of its own in the same story.
		told := tr.named("attempt $callbacks")
		if len(told) == 0 {
			t.Fatal("the callback was not traced")
		}
		if a := told[0]; a.Parent != root.ID || !slices.Equal(a.Links, []string{root.Ref()}) || a.Attrs["taskgate.task.id"] == id || a.Failed {
			t.Errorf("the callback: %+v", a)
		}
		if got := hook.deliveries()[0].header.Get("Traceparent"); got != "00-"+told[0].Ref()+"-01" {
			t.Errorf("the receiver of the callback got %s", got)
		}
		settles := tr.named("settle")
		tr.below(settles[0], "publish", "store swap") // the retry
		tr.below(settles[1], "store swap", "publish") // the callback
		if in.name == "services" && (root.Service != "taskgate-gateway" || attempts[0].Service != "taskgate-dispatcher") {
			t.Errorf("made by %s and %s", root.Service, attempts[0].Service)
		}
		if strings.Contains(r.Raw(), "SECRET") {
			t.Error("the payload is in a trace")
		}
		tells := func(line string) bool {
			return strings.Contains(line, `"attempt ended"`) && strings.Contains(line, `"task":"`+id+`"`) && strings.Contains(line, `"trace":"`+trace+`"`)
		}
		if !slices.ContainsFunc(in.lines(), tells) {
			t.Errorf("no line of the log names the trace: %q", in.lines())
		}
	})
}
