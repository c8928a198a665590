package e2e_test

import (
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// trial has the endpoint's handler called once.
func (tg *target) trial(t *testing.T, ep string, body client.EndpointTest) *client.EndpointTestResult {
	t.Helper()
	return got(tg.expect(t, 200).TestEndpointWithResponse(t.Context(), ep, body)).JSON200
}

// A test is one real call, also of a paused endpoint, that leaves nothing
// behind.
func TestEndpointIsTried(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, body(503, "text/plain", "down for maintenance"), body(200, "text/plain", "fine"), status(410))
		ep, secret := tg.register(t, h.URL, obj{"paused": true, "headers": obj{"X-From": "endpoint"}})
		r := tg.trial(t, ep, client.EndpointTest{Payload: []byte(`{"n":1.50}`), Headers: &client.Headers{"X-Mine": "test"}})
		if r.Verdict != client.VerdictRetry || *r.Reason != client.ReasonHandler5xx || *r.Status != 503 || *r.Answer != "down for maintenance" ||
			r.Task.State != client.TaskStateRetrying || *r.Task.NextAttemptIn != "200ms" || r.DurationMs > 5000 {
			t.Errorf("got %+v", r)
		}
		d := h.next(t)
		for name, want := range map[string]string{
			"Taskgate-Test": "true", "Taskgate-Attempt": "1", "Taskgate-Endpoint": ep, "Webhook-Id": r.Id, "X-From": "endpoint",
			"X-Mine": "test", "Content-Type": "application/json",
		} {
			if got := d.header.Get(name); got != want {
				t.Errorf("header %s: %q, want %q", name, got, want)
			}
		}
		if string(d.body) != `{"n":1.50}` {
			t.Errorf("body %q", d.body)
		}
		verify(t, secret, d)

		if r := tg.trial(t, ep, client.EndpointTest{}); r.Verdict != client.VerdictSuccess || r.Task.State != client.TaskStateSucceeded || r.Reason != nil {
			t.Errorf("got %+v", r)
		}
		if d := h.next(t); len(d.body) != 0 || d.header.Get("Content-Type") != "" {
			t.Errorf("got %q as %q", d.body, d.header.Get("Content-Type"))
		}
		r = tg.trial(t, ep, client.EndpointTest{Payload: []byte(`"<a/>"`), ContentType: new("text/xml")})
		if r.Verdict != client.VerdictGone || !*r.Task.DisablesEndpoint {
			t.Errorf("got %+v", r)
		}
		if d := h.next(t); string(d.body) != "<a/>" || d.header.Get("Content-Type") != "text/xml" {
			t.Errorf("got %q as %q", d.body, d.header.Get("Content-Type"))
		}

		left := tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil)
		tasks, _ := tg.want(t, 200, "GET", "/v1/tasks?endpoint="+ep, nil).obj["data"].([]any)
		if left.obj.str("disabled_reason") != "" || left.obj.obj("live").num("attempts_per_second") != 0 || len(tasks) != 0 {
			t.Errorf("left behind: %s, tasks %v", left.raw, tasks)
		}
		if tg.do(t, "GET", "/v1/tasks/"+r.Id, nil).status != 404 {
			t.Error("the test is a task")
		}
	})
}

// The guard holds for a test as for any delivery.
func TestEndpointTestIsGuarded(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, "http://127.0.0.1:1/", obj{"timeout": "2s"})
		if r := tg.trial(t, ep, client.EndpointTest{}); r.Verdict != client.VerdictRetry || *r.Reason != client.ReasonConnectError || r.Status != nil {
			t.Errorf("got %+v", r)
		}
		slow := serve(t, hang)
		tg.patch(t, ep, obj{"url": slow.URL, "timeout": "300ms"})
		if r := tg.trial(t, ep, client.EndpointTest{}); *r.Reason != client.ReasonTimeout || r.DurationMs < 300 || r.DurationMs > 3000 {
			t.Errorf("got %+v", r)
		}
	})
}

// Gateways call nobody: without a dispatcher a test says so.
func TestEndpointTestNeedsADispatcher(t *testing.T) {
	t.Parallel()
	needServices(t)
	gw, err := start("gateway", servicesEnv(namespace()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.stop)
	tg := &target{name: "gateway", bases: []string{gw.base}, key: adminKey}
	h := serve(t, status(200))
	ep, _ := tg.register(t, h.URL, nil)
	begin := time.Now()
	r := tg.want(t, 503, "POST", "/v1/endpoints/"+ep+"/test", nil)
	if took := time.Since(begin); r.obj.str("code") != "unavailable" || took > 10*time.Second || len(h.deliveries()) != 0 {
		t.Errorf("after %s: %s", took, r.raw)
	}
}
