package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

// full is an endpoint with every field set.
func full() task.Endpoint {
	return task.Endpoint{
		Project: project, Name: "full", URL: "https://a.example/x", Method: "PUT", Headers: map[string]string{"X-A": "1", "X-B": "2"},
		Timeout: task.Duration(90 * time.Second), Labels: map[string]string{"team": "a", "tier": "1"}, Paused: true,
		Retry: &task.Retry{
			MaxAttempts: new(5), MinBackoff: new(task.Duration(2 * time.Hour)), MaxBackoff: new(task.Duration(4 * time.Hour)),
			Multiplier: new(2.5), FailOn: task.StatusSet{"409"},
		},
		MaxConcurrency: 7, Breaker: &task.CircuitBreaker{Off: true, MinAttempts: new(5)},
		Result:       task.ResultPolicy{MaxBytes: 10, KeepHeaders: []string{"X-A"}, Discard: true},
		SealedSecret: task.SealedSecret{Current: []byte("sealed:whsec_old")}, Disabled: task.ReasonGone,
	}
}

func TestPatchEndpoint(t *testing.T) {
	for _, tt := range []struct {
		name, patch string
		want        func(ep *task.Endpoint)
	}{
		{"nothing", `{}`, func(*task.Endpoint) {}},
		{"a field", `{"timeout":"5s"}`, func(ep *task.Endpoint) { ep.Timeout = task.Duration(5 * time.Second) }},
		{
			"fields to their defaults", `{"method":null,"timeout":null,"headers":null,"labels":null,"retry":null,"result":null,"paused":null,"max_concurrency":null,"circuit_breaker":null}`,
			func(ep *task.Endpoint) {
				*ep = task.Endpoint{
					Project: project, Name: "full", URL: ep.URL, Method: "POST", Timeout: task.Duration(task.DefaultTimeout),
					Result: task.ResultPolicy{MaxBytes: task.DefaultResultBytes}, SealedSecret: ep.SealedSecret, Disabled: ep.Disabled,
				}
			},
		},
		{"members within", `{"headers":{"X-A":null,"X-C":"3"},"labels":{"tier":"2"},"result":{"max_bytes":20,"oversize":null},
			"retry":{"min_backoff":"1s","max_attempts":null,"fail_on":["410"]}}`, func(ep *task.Endpoint) {
			ep.Headers, ep.Labels["tier"] = map[string]string{"X-B": "2", "X-C": "3"}, "2"
			ep.Result.MaxBytes, ep.Result.Discard = 20, false
			ep.Retry.MaxAttempts, ep.Retry.MinBackoff, ep.Retry.FailOn = nil, new(task.Duration(time.Second)), task.StatusSet{"410"}
		}},
		{"a limit", `{"max_concurrency":10000}`, func(ep *task.Endpoint) { ep.MaxConcurrency = 10_000 }},
		{"the circuit breaker", `{"circuit_breaker":{"enabled":true,"min_attempts":null,"cool_down":"5s"}}`, func(ep *task.Endpoint) {
			ep.Breaker = &task.CircuitBreaker{CoolDown: new(task.Duration(5 * time.Second))}
		}},
		{"paused", `{"paused":false}`, func(ep *task.Endpoint) { ep.Paused = false }},
		{"secret", `{"secret":"whsec_new"}`, func(ep *task.Endpoint) { ep.SealedSecret.Current = []byte("sealed:whsec_new") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.endpoints["full"] = full()
			c := newClient(t, w.server(t))
			a := c.send(t, "PATCH", "/v1/endpoints/full", tt.patch, mergePatch)
			a.wantStatus(t, 200)
			if shown := endpointOf(t, a).Secret; (shown != nil) != (tt.name == "secret") {
				t.Errorf("got %s", a.Body)
			}
			want, got := full(), w.endpoints["full"]
			tt.want(&want)
			got.CreatedAt, got.UpdatedAt = time.Time{}, time.Time{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a patch leaves behind is judged as a whole; its faults point into it.
func TestPatchMeetsWhatIsThere(t *testing.T) {
	w := newWorld()
	w.endpoints["full"] = full()
	c := newClient(t, w.server(t))
	a := c.send(t, "PATCH", "/v1/endpoints/full", `{"retry":{"max_backoff":"1h"},"timeout":"x","labels":{"a b":"1"}}`, mergePatch)
	a.want(t, 422, "invalid", "/labels/a b", "/retry/min_backoff", "/timeout")
	if diff := cmp.Diff(full(), w.endpoints["full"]); diff != "" {
		t.Error(diff)
	}
	if got := c.send(t, "PATCH", "/v1/endpoints/full", `{}`).Header().Get("Accept"); got != "application/merge-patch+json" {
		t.Errorf("Accept: %q", got)
	}
}
