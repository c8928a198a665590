package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

func TestLiveFigures(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	}))
	w.endpoints["idle"] = task.Endpoint{
		Project: project, Name: "idle", Method: "POST", Result: task.ResultPolicy{MaxBytes: task.DefaultResultBytes},
	}
	w.put(task.Queued, nil)
	w.put(task.Queued, nil)
	w.put(task.Retrying, nil)
	w.put(task.Succeeded, nil)
	f := task.Figures{Tally: task.Tally{Succeeded: 999, InFlight: 3}}
	for ms := range 1000 {
		f.Took.Add(time.Duration(ms+1) * time.Millisecond)
	}
	w.figures = map[task.EndpointID]task.Figures{task.MakeEndpointID(project, "emails"): f}

	since := time.Now().UTC().Truncate(time.Second)
	w.circuits = map[task.EndpointID]task.StoredCircuit{task.MakeEndpointID(project, "emails"): {Version: 1, Circuit: task.Circuit{
		State: task.CircuitOpen, Reason: task.ReasonConnect, Since: since, Next: since.Add(time.Minute), Probes: 2,
	}}}

	busy := endpointOf(t, c.send(t, "GET", "/v1/endpoints/emails", ""))
	live := *busy.Live
	if ms := *live.OldestWaitingMs; *busy.Waiting != 3 || ms < 60_000 || ms > 120_000 {
		t.Errorf("%d wait, the oldest since %d ms", *busy.Waiting, ms)
	}
	if p50, p99 := *live.P50Ms, *live.P99Ms; p50 < 440 || p50 > 560 || p99 < 870 || p99 > 1120 {
		t.Errorf("p50 %g ms, p99 %g ms", p50, p99)
	}
	live.OldestWaitingMs, live.P50Ms, live.P99Ms = nil, nil, nil
	want := gen.EndpointLive{
		Depth: gen.EndpointDepth{Queued: 2, Retrying: 1}, InFlight: 3, OverSeconds: 250, AttemptsPerSecond: 4, SuccessRatio: new(0.999),
		Breaker: gen.EndpointBreaker{
			State: "open", Reason: new(gen.ReasonConnectError), Since: &since, NextProbeAt: new(since.Add(time.Minute)), FailedProbes: new(2),
		},
	}
	if diff := cmp.Diff(want, live); diff != "" {
		t.Error(diff)
	}

	var page gen.EndpointList
	decode(t, c.send(t, "GET", "/v1/endpoints", "").Body.Bytes(), &page)
	if len(page.Data) != 2 || page.Data[0].Live.InFlight != 3 {
		t.Fatalf("got %+v", page.Data)
	}
	if diff := cmp.Diff(gen.EndpointLive{OverSeconds: 250, Breaker: gen.EndpointBreaker{State: "closed"}}, *page.Data[1].Live); diff != "" {
		t.Error(diff)
	}

	// Without the store there is an endpoint all the same.
	for _, part := range []string{"figures", "circuits", "count"} {
		w.fail[part] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
		if ep := endpointOf(t, c.send(t, "GET", "/v1/endpoints/emails", "")); ep.Name != "emails" || ep.Live != nil || ep.Waiting != nil {
			t.Errorf("%s fail: got %+v", part, ep)
		}
		delete(w.fail, part)
	}
}
