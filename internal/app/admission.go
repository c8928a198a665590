package app

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
	"github.com/taskgate/taskgate/internal/telemetry"
)

// Files that may be open are divided: connections of the API get most, and
// long-polls most of those, so that broker, store, the admin address and the
// embedded store's files always find some.
const (
	reservedFiles = 512 // or a quarter, where there are few
	// unlimitedFiles stands where the system does not say.
	unlimitedFiles = 1 << 20
	// mostPolls bounds them by memory rather than by files: each takes some
	// 40 KiB.
	mostPolls = 50_000
)

// connections is how many the API may have with so many open files.
func connections(files int) int { return max(files-min(reservedFiles, files/4), 1) }

// maxPolls leaves a tenth of the connections to what is no long-poll.
func maxPolls(configured, connections int) int {
	if configured > 0 {
		return configured
	}
	return max(1, min(mostPolls, connections-connections/10))
}

// bounded accepts no more than so many connections; more wait in the system's
// queue. When most are taken, those that are idle are closed.
func bounded(l net.Listener, srv *http.Server, most int) net.Listener {
	open := new(atomic.Int64)
	before := srv.ConnState
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateIdle:
			if open.Load() > int64(most-most/10) {
				_ = c.Close()
			}
		case http.StateActive:
		}
		if before != nil {
			before(c, s)
		}
	}
	return netutil.LimitListener(l, most)
}

// gatewaysName is under what gateways count each other: as what runs of an
// endpoint that no project can have.
const gatewaysName task.EndpointID = "$gateways"

const (
	countEvery = 2 * time.Second
	countTTL   = 7 * time.Second
)

// peers knows how many gateways there are, which rates are divided by while
// the store is away.
type peers struct {
	store *results.Store
	owner string
	n     atomic.Int64
}

func (p *peers) count() int { return max(1, int(p.n.Load())) }

// run keeps the number; without the store the last one holds.
func (p *peers) run(ctx context.Context) error {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		p.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *peers) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, countEvery)
	defer cancel()
	now := time.Now()
	here := []task.EndpointTally{{Endpoint: gatewaysName, Tally: task.Tally{InFlight: 1}}}
	if p.store.Tally(ctx, p.owner, now, here, countTTL) != nil {
		return
	}
	if f, err := p.store.Figures(ctx, []task.EndpointID{gatewaysName}, now); err == nil && len(f) == 1 {
		p.n.Store(int64(f[0].InFlight))
	}
}

// admissionFigures are those of the API, nil before it is there.
func (a *App) admissionFigures() *telemetry.AdmissionFigures {
	srv := a.api.Load()
	if srv == nil {
		return nil
	}
	l := srv.Load()
	return &telemetry.AdmissionFigures{
		Working: l.Working, Queued: l.Queued, Polls: l.Polls, MaxPolls: l.MaxPolls, Bodies: l.BodyBytes, MaxBodies: l.BodyBudget,
	}
}

// refusals are told apart from other answers.
var refusals = map[task.Code]bool{task.CodeRateLimited: true, task.CodeQuotaExceeded: true, task.CodeOverloaded: true}

func (o requests) refused(a *api.Access) {
	if refusals[a.Code] {
		o.m.Refused(string(a.Code))
	}
}

// quotasOf are a project's quotas.
func (a *App) quotasOf(b *backends, project string) task.Quotas {
	if p, ok := b.registry.Project(project); ok {
		return p.Quotas.Or(a.quotas())
	}
	return a.quotas()
}

// keeps decides about the payloads of failed tasks, and counts those that are
// not kept.
func (a *App) keeps(b *backends) func(ctx context.Context, project string, bytes int) bool {
	return func(ctx context.Context, project string, bytes int) bool {
		ok := b.quotas.Keeps(ctx, project, a.quotasOf(b, project), int64(bytes))
		if !ok {
			a.metrics.PayloadDropped(project)
		}
		return ok
	}
}

// roomy makes a bulk job wait while its project has as many tasks as it may
// have: that is the trouble of a moment, and no task's outcome.
type roomy struct {
	*lifecycle.Engine

	a *App
	b *backends
}

func (r roomy) RetryIf(ctx context.Context, project string, id task.ID, holds lifecycle.Condition) (*task.Snapshot, error) {
	if e := r.b.quotas.Admit(ctx, project, r.a.quotasOf(r.b, project), 0); e != nil {
		return nil, task.Errorf(task.CodeUnavailable, "the project's quota %s is used up", e.Quota)
	}
	return r.Engine.RetryIf(ctx, project, id, holds)
}
