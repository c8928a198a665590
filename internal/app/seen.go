package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
	"github.com/taskgate/taskgate/internal/telemetry"
)

func newLogger(cfg config.Config, level slog.Level, w io.Writer) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == config.LogText {
		return slog.New(telemetry.LogHandler(slog.NewTextHandler(w, opt)))
	}
	return slog.New(telemetry.LogHandler(slog.NewJSONHandler(w, opt)))
}

// newMetrics makes the metrics, which exist before anything is measured.
func newMetrics(cfg config.Config) *telemetry.Metrics {
	return telemetry.NewMetrics(telemetry.MetricsOptions{
		Role: string(cfg.Role), Version: Version(), MaxEndpoints: cfg.MetricsEndpoints,
	})
}

// publishes tells of what the broker was given.
type publishes struct{ *telemetry.Metrics }

func (p publishes) Published(kind broker.Kind, took time.Duration, err error) {
	p.Metrics.Published(string(kind), took, err)
}

func (a *App) newQueue(d broker.Driver) *broker.Queue {
	return broker.New(d, broker.WithLogger(a.log), broker.WithObserver(publishes{a.metrics}),
		broker.WithCorrupt(func(string) { a.metrics.Corrupt() }))
}

func (a *App) newStore(d results.Driver) *results.Store {
	return results.NewStore(results.Observe(d, a.metrics, a.storeTrace()))
}

// requests tells of the API's requests.
type requests struct {
	m *telemetry.Metrics
	t *telemetry.Tracer // nil: none
}

// traced reports whether requests to the route have spans: health and the
// contract are asked for all the time, and say nothing.
func (o requests) traced(route string) bool { return o.t != nil && strings.HasPrefix(route, "/v1/") }

func (o requests) Begin(r *http.Request, id, route string) context.Context {
	o.m.RequestBegun()
	ctx := r.Context()
	if o.traced(route) {
		ctx = o.t.Request(r, id, route)
	}
	return telemetry.WithRequest(ctx, id)
}

func (o requests) End(ctx context.Context, a *api.Access) {
	o.m.RequestEnded(a.Route, a.Method, a.Status, a.Took)
	o.refused(a)
	if o.traced(a.Route) {
		o.t.RequestEnded(ctx, a.Status, a.Code, a.Project, a.Key)
	}
}

// operators are what operators decide, where somebody else may decide too.
type operators struct {
	*registry.Registry

	audit *slog.Logger
}

// DisableEndpoint does what a handler asked for by its answer.
func (o operators) DisableEndpoint(ctx context.Context, called *task.Endpoint, why task.Reason) error {
	held, err := o.Registry.DisableEndpoint(ctx, called, why)
	outcome := "done"
	switch {
	case err != nil:
		outcome = string(task.CodeOf(err))
	case !held:
		return nil
	}
	audit(ctx, o.audit, "disableEndpoint", "handler", called.Project, called.Name, outcome, slog.String("reason", string(why)))
	return err
}

// audit writes what the API has no part in. by stands where the API names a
// key.
func audit(ctx context.Context, to *slog.Logger, what, by, project, target, outcome string, more ...slog.Attr) {
	to.LogAttrs(ctx, slog.LevelInfo, "audit", append([]slog.Attr{
		slog.Bool("audit", true), slog.String("operation", what), slog.String("target", target), slog.String("outcome", outcome),
		slog.String("key", by), slog.String("project", project),
	}, more...)...)
}

// keeper tells of housekeeping.
type keeper struct {
	*lifecycle.Engine

	m *telemetry.Metrics
}

func (k keeper) Sweep(ctx context.Context, projects []string) (lifecycle.Swept, error) {
	swept, err := k.Engine.Sweep(ctx, projects)
	k.m.Swept(swept.Leader, swept.Abandoned, swept.Expired, swept.Callbacks, err)
	return swept, err
}

// polled tells of a long-poll that waited.
func polled(m *telemetry.Metrics, wait func() (*task.Snapshot, error)) (*task.Snapshot, error) {
	m.PollBegun()
	s, err := wait()
	outcome := "timeout"
	switch {
	case task.CodeOf(err) == task.CodeUnavailable:
		outcome = "failed"
	case err != nil:
		outcome = "left"
	case s != nil && s.State.Final():
		outcome = "woken"
	}
	m.PollEnded(outcome)
	return s, err
}

// systemQueues are those whose depth is worth an alert.
var systemQueues = []broker.System{broker.Parked, broker.Quarantine, broker.Dead}

// pull has the metrics ask the backends for what nobody counts.
func (a *App) pull(b *backends) {
	a.metrics.Pull(telemetry.Sources{
		Own: func() telemetry.Figures {
			f := b.own()
			f.Admission = a.admissionFigures()
			return f
		},
		Shared: func(ctx context.Context) telemetry.Figures { return b.shared(ctx, a.health, a.cfg.MetricsBacklog) },
		Known: func(project, endpoint string) bool {
			_, _, ok := b.registry.EndpointByID(task.MakeEndpointID(project, endpoint))
			return ok
		},
	})
}

// own are this process's figures.
func (b *backends) own() telemetry.Figures {
	st, reg := b.queue.Stats(), b.registry.Status()
	f := telemetry.Figures{
		Broker: &telemetry.BrokerFigures{Connects: st.Connects, Blocked: st.Blocked, Consumers: st.Consumers},
		Registry: &telemetry.RegistryFigures{
			Version: reg.Version, Age: time.Since(reg.Synced), Endpoints: reg.Endpoints,
		},
	}
	if b.canary != nil {
		for _, s := range b.canary.States() {
			f.Delays = append(f.Delays, telemetry.Delay{Delay: s.Delay, Late: s.Late, Arrived: s.Arrived})
		}
	}
	if b.redis != nil {
		f.Store = storeFigures(b.redis.Stats())
	}
	return f
}

func storeFigures(st redisdb.Stats) *telemetry.StoreFigures {
	return &telemetry.StoreFigures{
		Connects: st.Dials, Failures: st.Failures, Timeouts: st.Timeouts, Busy: st.Busy, Idle: st.Idle,
	}
}

// asksAtOnce bounds the questions that one look at the metrics asks.
const asksAtOnce = 8

// shared are the installation's figures. What cannot be read in time is left
// out.
func (b *backends) shared(ctx context.Context, h *health, backlog bool) telemetry.Figures {
	f := telemetry.Figures{Up: make(map[string]bool), System: make(map[string]int64)}
	for _, o := range h.all(ctx) {
		f.Up[o.name] = o.err == nil
	}
	for _, q := range systemQueues {
		if n, err := b.queue.SystemDepth(ctx, q); err == nil {
			f.System[string(q)] = n
		}
	}
	f.Broken = b.broken(ctx)
	if backlog {
		f.Endpoints = b.backlogs(ctx)
	}
	return f
}

// broken are the endpoints whose circuits are not closed.
func (b *backends) broken(ctx context.Context) []telemetry.Broken {
	circuits, err := b.store.Circuits(ctx)
	if err != nil {
		return nil
	}
	var out []telemetry.Broken
	for id, c := range circuits {
		if ep, _, ok := b.registry.EndpointByID(id); ok {
			out = append(out, telemetry.Broken{Project: ep.Project, Endpoint: ep.Name, Reason: c.Reason})
		}
	}
	return out
}

func (b *backends) backlogs(ctx context.Context) []telemetry.Backlog {
	eps := b.registry.Endpoints("")
	found := make([]*telemetry.Backlog, len(eps))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(asksAtOnce, len(eps)) {
		wg.Go(func() {
			for i := range next {
				ep := &eps[i]
				depths, err := b.store.Depths(ctx, ep.Project, ep.ID())
				if err == nil {
					found[i] = &telemetry.Backlog{Project: ep.Project, Endpoint: ep.Name, States: depths}
				}
			}
		})
	}
	for i := range eps {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	out := make([]telemetry.Backlog, 0, len(found))
	for _, f := range found {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out
}
