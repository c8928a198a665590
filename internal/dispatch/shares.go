package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Quotas shares limits with the other dispatchers.
type Quotas interface {
	// Grant renews the owner's part of each quota for ttl and returns it, in
	// the order of asks. All parts of a quota are never more than its limit.
	Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error)
}

// Times of a dispatcher's parts: one call each renewEvery, for all endpoints
// that have a limit.
const (
	renewEvery = 2 * time.Second
	renewTime  = 2 * time.Second
	shareTTL   = 5 * time.Second
)

// shares keeps this dispatcher's part of each endpoint's max_concurrency: the
// pool obeys it, and the endpoint's consumer takes no more.
//
// When the store is away the last parts stay: they add up to no more than the
// limit as long as nobody can be given any. Only a dispatcher that alone is
// cut off from the store may use its part beside the others, which share it
// after shareTTL. Without any part nothing runs: a limit is never taken for
// none.
type shares struct {
	quotas  Quotas // nil: there are no others
	owner   string
	pool    *Pool
	changed func() // consumers must follow
	log     *slog.Logger
	kicks   chan struct{} // renew now

	mu      sync.Mutex
	parts   map[task.EndpointID]*part
	failing bool
}

// part is what this dispatcher may run of one endpoint.
type part struct {
	limit, want, grant int
}

// limited is an endpoint with a limit.
type limited struct {
	limit    int
	consumed bool // false: paused or disabled
}

func newShares(q Quotas, owner string, pool *Pool, log *slog.Logger, changed func()) *shares {
	return &shares{
		quotas: q, owner: owner, pool: pool, log: log, changed: changed,
		kicks: make(chan struct{}, 1), parts: make(map[task.EndpointID]*part),
	}
}

// follow takes the endpoints that have a limit. A new one runs nothing until
// its part is known; a lower limit holds at once.
func (s *shares) follow(eps map[task.EndpointID]limited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ep := range eps {
		p := s.parts[id]
		if p == nil && !ep.consumed {
			continue
		}
		if p == nil {
			p = &part{}
			s.parts[id] = p
		}
		want := 0
		if ep.consumed {
			want = s.pool.PerEndpoint()
		}
		if p.limit != ep.limit || p.want != want {
			p.limit, p.want = ep.limit, want
			p.grant = min(p.grant, ep.limit)
			s.kick()
		}
		s.pool.Limit(id, p.grant)
	}
	for id := range s.parts {
		if _, ok := eps[id]; !ok { // what it held is given back after shareTTL
			delete(s.parts, id)
			s.pool.Unlimit(id)
		}
	}
}

// drain gives back what is not in use, from now on.
func (s *shares) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.parts {
		p.want, p.grant = 0, 0
		s.pool.Limit(id, 0)
	}
	s.kick()
}

// of is the part of an endpoint that has a limit.
func (s *shares) of(id task.EndpointID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[id]; p != nil {
		return p.grant
	}
	return 0
}

func (s *shares) kick() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// run renews the parts until ctx ends, and then gives back what is left. It
// must outlive every attempt: what runs counts.
func (s *shares) run(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	last := context.WithoutCancel(ctx)
	for {
		select {
		case <-s.kicks:
		case <-tick.C:
		case <-ctx.Done():
			s.renew(last) // after everything has ended
			return
		}
		s.renew(last)
	}
}

func (s *shares) renew(ctx context.Context) {
	ids, asks := s.asks()
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	grants, err := s.grant(ctx, asks)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !s.failing {
			s.log.WarnContext(ctx, "limits cannot be shared now; the last parts stay", "endpoints", len(ids), "error", err)
		}
		s.failing = true
		return
	}
	s.failing = false
	for i, id := range ids {
		s.apply(id, asks[i], grants[i])
	}
}

func (s *shares) grant(ctx context.Context, asks []task.QuotaAsk) ([]int, error) {
	if s.quotas != nil {
		return s.quotas.Grant(ctx, s.owner, asks, shareTTL)
	}
	out := make([]int, len(asks))
	for i, a := range asks {
		out[i] = min(a.Want, a.Limit)
	}
	return out, nil
}

func (s *shares) asks() (ids []task.EndpointID, asks []task.QuotaAsk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.parts {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b task.EndpointID) int { return strings.Compare(string(a), string(b)) })
	for _, id := range ids {
		p := s.parts[id]
		asks = append(asks, task.QuotaAsk{Name: string(id), Limit: p.limit, Want: p.want, Held: s.pool.Held(id)})
	}
	return ids, asks
}

// apply takes a part, unless the wish has changed since: another ask follows
// then. A part that became smaller is given back by the next ask.
func (s *shares) apply(id task.EndpointID, a task.QuotaAsk, grant int) {
	p := s.parts[id]
	switch {
	case p == nil || p.limit != a.Limit || p.want != a.Want:
		return
	case a.Want == 0 && a.Held == 0:
		delete(s.parts, id)
		s.pool.Unlimit(id)
		return
	}
	if grant == p.grant {
		return
	}
	if grant < p.grant {
		s.kick()
	}
	p.grant = grant
	s.pool.Limit(id, grant)
	s.changed()
}
