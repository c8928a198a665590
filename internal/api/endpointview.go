package api

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// viewEndpoint shows an endpoint, never its stored secret.
func (s *Server) viewEndpoint(ctx context.Context, ep *task.Endpoint) gen.Endpoint {
	return s.viewEndpoints(ctx, []task.Endpoint{*ep})[0]
}

// viewEndpoints shows endpoints. The registry answers without the store; so
// does this, without what only the store knows.
func (s *Server) viewEndpoints(ctx context.Context, eps []task.Endpoint) []gen.Endpoint {
	out := make([]gen.Endpoint, len(eps))
	for i := range eps {
		out[i] = s.viewConfigured(&eps[i])
	}
	known, err := s.live(ctx, eps)
	if err != nil {
		s.opt.Logger.DebugContext(ctx, "endpoints shown without figures", "error", err)
		return out
	}
	for i := range known {
		out[i].Waiting = new(known[i].depths.Total())
		out[i].Live = known[i].view(s.opt.Now())
	}
	return out
}

func (s *Server) viewConfigured(ep *task.Endpoint) gen.Endpoint {
	out := gen.Endpoint{
		Name: ep.Name, Url: ep.URL, Method: gen.EndpointMethod(ep.Method), Headers: ep.Headers,
		Timeout: task.Duration(ep.TimeoutFor(&task.Spec{})).String(), Retry: viewRetry(ep.Retry),
		MaxConcurrency: unlessZero(ep.MaxConcurrency), CircuitBreaker: viewCircuitBreaker(ep.Breaker), Source: viewSource(ep.Source),
		Result: viewResultPolicy(&ep.Result), Labels: ep.Labels, Auth: viewAuth(ep.Auth), Paused: ep.Paused,
		Signature: new(schemeOf(&ep.SealedSecret)), PublicKeys: ep.SealedSecret.PublicAt(s.opt.Now()),
		DisabledReason: viewReason(ep.Disabled), CreatedAt: ep.CreatedAt.UTC(), UpdatedAt: ep.UpdatedAt.UTC(),
	}
	if until := ep.SealedSecret.PreviousUntil; until.After(s.opt.Now()) {
		out.PreviousSecretUntil = viewTime(until)
	}
	return out
}

// live is what the store knows of an endpoint.
type live struct {
	depths  task.Depths
	figures task.Figures
	circuit task.Circuit
}

const (
	liveTime   = 2 * time.Second // for a whole page
	liveAtOnce = 8
)

// live asks the store: once for the figures and the circuits of all endpoints,
// and for each one's depth, some at a time.
func (s *Server) live(ctx context.Context, eps []task.Endpoint) ([]live, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	ids := make([]task.EndpointID, len(eps))
	for i := range eps {
		ids[i] = eps[i].ID()
	}
	figures, err := s.Results.Figures(ctx, ids, s.opt.Now())
	if err != nil {
		return nil, err
	}
	circuits, err := s.Results.Circuits(ctx)
	if err != nil {
		return nil, err
	}
	out, errs := make([]live, len(eps)), make([]error, len(eps))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(len(eps), liveAtOnce) {
		wg.Go(func() {
			for i := range next {
				out[i].figures, out[i].circuit = figures[i], circuits[ids[i]].Circuit
				if out[i].depths, errs[i] = s.Results.Depths(ctx, eps[i].Project, ids[i]); errs[i] != nil {
					cancel() // the others would fail as slowly
				}
			}
		})
	}
	for i := range eps {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (l *live) view(now time.Time) *gen.EndpointLive {
	f := &l.figures
	count := func(s task.State) int { return l.depths[s].Tasks }
	out := &gen.EndpointLive{
		Depth: gen.EndpointDepth{
			Scheduled: count(task.Scheduled), Queued: count(task.Queued), Running: count(task.Running),
			Retrying: count(task.Retrying), Awaiting: count(task.Awaiting),
		},
		InFlight: f.InFlight, OverSeconds: max(int(f.Over/time.Second), 1), Breaker: viewCircuit(&l.circuit),
	}
	if oldest := l.depths[task.Queued].Oldest; !oldest.IsZero() {
		out.OldestWaitingMs = new(max(now.Sub(oldest), 0).Milliseconds())
	}
	n := f.Took.Total()
	if n == 0 {
		return out
	}
	out.AttemptsPerSecond = rounded(float64(n) / float64(out.OverSeconds))
	out.SuccessRatio = new(rounded(float64(f.Succeeded) / float64(n)))
	out.P50Ms, out.P99Ms = inMillis(f.Took.Quantile(0.5)), inMillis(f.Took.Quantile(0.99))
	return out
}

func viewCircuit(c *task.Circuit) gen.EndpointBreaker {
	if c.Closed() {
		return gen.EndpointBreaker{State: gen.EndpointBreakerState(task.CircuitClosed)}
	}
	out := gen.EndpointBreaker{
		State: gen.EndpointBreakerState(c.State), Reason: viewReason(c.Reason), Since: viewTime(c.Since),
		FailedProbes: unlessZero(c.Probes),
	}
	if c.State == task.CircuitOpen {
		out.NextProbeAt = viewTime(c.Next)
	}
	return out
}

// rounded spares people digits that mean nothing.
func rounded(v float64) float64 {
	const places = 1e4
	return math.Round(v*places) / places
}

func inMillis(d time.Duration) *float64 {
	const perTenth = float64(time.Millisecond / 10)
	return new(math.Round(float64(d)/perTenth) / 10)
}
