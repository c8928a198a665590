package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

func endpointOf(t *testing.T, a *answer) gen.Endpoint {
	t.Helper()
	var ep gen.Endpoint
	decode(t, a.Body.Bytes(), &ep)
	return ep
}

func TestPutEndpoint(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://a.example/x","method":"PUT","timeout":"90s","headers":{"X-A":"1"},
		"retry":{"schedule":["1s","1d"],"fail_on":["409"],"multiplier":2.5},"result":{"max_bytes":10,"keep_headers":["x-a"],"oversize":"discard"},
		"labels":{"team":"a"},"paused":true,"max_concurrency":3,
		"circuit_breaker":{"enabled":false,"failure_ratio":0.5,"min_attempts":5,"window":"10s","cool_down":"1m"}}`)
	a.wantStatus(t, 201)
	ep := endpointOf(t, a)
	if a.Header().Get("Location") != "/v1/endpoints/new" || ep.Secret == nil || *ep.Secret != "whsec_generated" {
		t.Errorf("got %s", a.Body)
	}
	stored := w.endpoints["new"]
	stored.CreatedAt, stored.UpdatedAt = time.Time{}, time.Time{}
	want := task.Endpoint{
		Project: project, Name: "new", URL: "https://a.example/x", Method: "PUT", Headers: map[string]string{"X-A": "1"},
		Timeout: task.Duration(90 * time.Second), Labels: map[string]string{"team": "a"}, Paused: true,
		MaxConcurrency: 3,
		Breaker: &task.CircuitBreaker{
			Off: true, FailureRatio: new(0.5), MinAttempts: new(5),
			Window: new(task.Duration(10 * time.Second)), CoolDown: new(task.Duration(time.Minute)),
		},
		Retry: &task.Retry{
			Schedule: []task.Duration{task.Duration(time.Second), task.Duration(24 * time.Hour)},
			FailOn:   task.StatusSet{"409"}, Multiplier: new(2.5),
		},
		Result: task.ResultPolicy{MaxBytes: 10, KeepHeaders: []string{"X-A"}, Discard: true}, SealedSecret: task.SealedSecret{Current: []byte("sealed:whsec_generated")},
	}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Error(diff)
	}
	// What is shown can be put again.
	shown := endpointOf(t, c.send(t, "GET", "/v1/endpoints/new", ""))
	if shown.Secret != nil || shown.Timeout != "1m30s" || !slices.Equal(shown.Retry.Schedule, []string{"1s", "1d"}) || !shown.Paused || *shown.MaxConcurrency != 3 ||
		*shown.CircuitBreaker.Enabled || *shown.CircuitBreaker.FailureRatio != 0.5 || *shown.CircuitBreaker.CoolDown != "1m" {
		t.Errorf("got %+v", shown)
	}
	if i, j := slices.Index(w.log, "declare queue"), slices.Index(w.log, "update endpoint"); i < 0 || j < i {
		t.Errorf("the queue must be there first: %v", w.log)
	}
}

func TestPutEndpointDefaultsAndReplace(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://a.example/"}`)
	a.wantStatus(t, 201)
	ep := endpointOf(t, a)
	if ep.Method != http.MethodPost || ep.Timeout != "30s" || *ep.Result.MaxBytes != 1<<20 || *ep.Result.Oversize != "fail" || ep.Paused {
		t.Errorf("got %s", a.Body)
	}
	c.send(t, "POST", "/v1/endpoints/new/pause", "").wantStatus(t, 200)
	stored := w.endpoints["new"]
	stored.Disabled = task.ReasonGone
	w.endpoints["new"] = stored

	a = c.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://b.example/"}`)
	a.wantStatus(t, 200)
	ep = endpointOf(t, a)
	if ep.Secret != nil || !ep.Paused || ep.DisabledReason == nil || ep.Url != "https://b.example/" {
		t.Errorf("secret, pause and disabling stay: %s", a.Body)
	}
	if got := string(w.endpoints["new"].SealedSecret.Current); got != "sealed:whsec_generated" {
		t.Errorf("secret %s", got)
	}
	a = c.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://b.example/","secret":"whsec_mine","paused":false}`)
	a.wantStatus(t, 200)
	if ep = endpointOf(t, a); *ep.Secret != "whsec_mine" || ep.Paused {
		t.Errorf("got %s", a.Body)
	}
	if got := string(w.endpoints["new"].SealedSecret.Current); got != "sealed:whsec_mine" {
		t.Errorf("secret %s", got)
	}
}

func TestPauseAndResume(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	if ep := endpointOf(t, c.send(t, "POST", "/v1/endpoints/emails/pause", "")); !ep.Paused {
		t.Errorf("got %+v", ep)
	}
	stored := w.endpoints["emails"]
	stored.Disabled = task.ReasonGone
	w.endpoints["emails"] = stored
	if ep := endpointOf(t, c.send(t, "GET", "/v1/endpoints/emails", "")); *ep.DisabledReason != "endpoint_gone" {
		t.Errorf("got %+v", ep)
	}
	if ep := endpointOf(t, c.send(t, "POST", "/v1/endpoints/emails/resume", "")); ep.Paused || ep.DisabledReason != nil {
		t.Errorf("got %+v", ep)
	}
	w.fail["update endpoint"] = task.Wrap(task.CodeUnavailable, errDown, "the registry is away")
	c.send(t, "POST", "/v1/endpoints/emails/pause", "").want(t, 503, "unavailable")
}

func TestDeleteEndpoint(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	live := w.put(task.Queued, nil)
	c.send(t, "DELETE", "/v1/endpoints/emails", "").want(t, 409, "endpoint_has_tasks")
	if _, ok := w.endpoints["emails"]; !ok {
		t.Fatal("deleted all the same")
	}

	// Interrupted after the first step, then repeated.
	w.fail["cancel endpoint"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
	c.send(t, "DELETE", "/v1/endpoints/emails?force=cancel", "").want(t, 503, "unavailable")
	delete(w.fail, "cancel endpoint")
	w.mu.Lock()
	live.State = task.Queued
	w.mu.Unlock()
	c.send(t, "DELETE", "/v1/endpoints/emails", "").want(t, 404, "not_found")
	w.log = nil
	c.send(t, "DELETE", "/v1/endpoints/emails?force=cancel", "").wantStatus(t, 204)
	if !slices.Equal(w.log, []string{"count", "cancel endpoint", "delete queue", "cancel endpoint"}) || live.State != task.Cancelled {
		t.Errorf("did %v, task %s", w.log, live.State)
	}

	c = newClient(t, w.server(t)) // with the endpoint again
	w.log = nil
	c.send(t, "DELETE", "/v1/endpoints/emails", "").wantStatus(t, 204)
	if !slices.Equal(w.log, []string{"count", "delete endpoint", "delete queue", "cancel endpoint"}) {
		t.Errorf("did %v", w.log)
	}
}

func TestListEndpoints(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	w.put(task.Queued, nil)
	for i := range 5 {
		name := fmt.Sprintf("e%d", i)
		w.endpoints[name] = task.Endpoint{
			Project: project, Name: name, Method: "POST", SealedSecret: task.SealedSecret{Current: []byte("hush")},
			Result: task.ResultPolicy{MaxBytes: task.DefaultResultBytes},
		}
	}
	var names []string
	target := "/v1/endpoints?limit=2"
	for pages := 0; target != ""; pages++ {
		if pages > 3 {
			t.Fatal("the list does not end")
		}
		a := c.send(t, "GET", target, "")
		a.wantStatus(t, 200)
		if strings.Contains(a.Body.String(), "hush") || strings.Contains(a.Body.String(), "secret") {
			t.Errorf("a secret leaves: %s", a.Body)
		}
		var page gen.EndpointList
		decode(t, a.Body.Bytes(), &page)
		for _, ep := range page.Data {
			names = append(names, fmt.Sprintf("%s:%d", ep.Name, *ep.Waiting))
		}
		target = ""
		if page.NextCursor != nil {
			target = "/v1/endpoints?limit=2&cursor=" + *page.NextCursor
		}
	}
	if want := []string{"e0:0", "e1:0", "e2:0", "e3:0", "e4:0", "emails:1"}; !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

func TestEndpointsWithoutStore(t *testing.T) {
	w := newWorld()
	w.fail["count"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
	c := newClient(t, w.server(t))
	if ep := endpointOf(t, c.send(t, "GET", "/v1/endpoints/emails", "")); ep.Name != "emails" || ep.Waiting != nil {
		t.Errorf("got %+v", ep)
	}
	c.send(t, "DELETE", "/v1/endpoints/emails", "").want(t, 503, "unavailable")
}
