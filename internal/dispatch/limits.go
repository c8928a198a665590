package dispatch

import (
	"context"
	"sync"

	"github.com/taskgate/taskgate/internal/task"
)

// PoolOptions bound what runs at the same time. Zero values get defaults.
type PoolOptions struct {
	// Total is how many attempts run at once. It is soft: the guaranteed
	// minimum of each endpoint comes on top.
	Total int
	// PerEndpoint is the cap of one endpoint; 0 means a quarter of Total.
	PerEndpoint int
	// Bytes is how much payloads and answers may hold in memory together.
	// What runs is never stopped for it; new attempts wait. The payloads that
	// are in hand without a slot have as much again, less what answers take.
	Bytes int64
}

const (
	defaultTotal = 256
	defaultBytes = 64 << 20
	// guaranteed attempts of an endpoint run whatever the others do: no
	// endpoint, however slow, delays another.
	guaranteed    = 2
	shareOfTotal  = 4
	answerReserve = 16 << 10 // expected of each answer before it is read
	// answersMost times the bytes of answers stop even what is guaranteed.
	answersMost = 2
)

// Pool hands out the right to run an attempt. It is safe for concurrent use.
type Pool struct {
	opt PoolOptions

	mu     sync.Mutex
	inUse  int
	bytes  int64             // as reserved and read
	read   int64             // of answers
	lanes  map[laneKey]*lane // that run or wait
	uses   map[task.EndpointID]*use
	ring   []*lane                 // lanes with waiters, the next one first
	limits map[task.EndpointID]int // of endpoints that have one
}

// laneKey names an endpoint, or one target host of an endpoint whose tasks
// bring their own targets.
type laneKey struct {
	id   task.EndpointID
	host string
}

// lane is one endpoint's, or one of its hosts', part of the pool.
type lane struct {
	key     laneKey
	of      *use
	inUse   int
	waiters []*waiter
}

// use is what an endpoint has of the pool in all its lanes.
type use struct{ lanes, inUse int }

type waiter struct {
	slot    *Slot
	granted chan struct{}
}

// NewPool makes a pool.
func NewPool(opt PoolOptions) *Pool {
	if opt.Total <= 0 {
		opt.Total = defaultTotal
	}
	if opt.PerEndpoint <= 0 {
		opt.PerEndpoint = opt.Total / shareOfTotal
	}
	opt.PerEndpoint = max(opt.PerEndpoint, guaranteed)
	if opt.Bytes <= 0 {
		opt.Bytes = defaultBytes
	}
	return &Pool{
		opt: opt, lanes: make(map[laneKey]*lane), uses: make(map[task.EndpointID]*use),
		limits: make(map[task.EndpointID]int),
	}
}

// Bytes is how much payloads and answers may hold.
func (p *Pool) Bytes() int64 { return p.opt.Bytes }

// PerEndpoint is the most that one endpoint can run.
func (p *Pool) PerEndpoint() int { return p.opt.PerEndpoint }

// InUse is how many slots are out.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

// Limit allows the endpoint at most n attempts at once from now on. What runs
// is not ended for it.
func (p *Pool) Limit(id task.EndpointID, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits[id] = n
	p.grant()
}

// Unlimit takes the endpoint's limit away.
func (p *Pool) Unlimit(id task.EndpointID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.limits, id)
	p.grant()
}

// Held is the most that an endpoint with a limit may run before the limit is
// changed.
func (p *Pool) Held(id task.EndpointID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.limits[id]
	if u := p.uses[id]; u != nil {
		held = max(held, u.inUse)
	}
	return held
}

// Slot is the right to run one attempt. Release it once.
type Slot struct {
	pool  *Pool
	lane  *lane
	bytes int64
	read  int64
}

// Acquire waits for a slot of the endpoint, for a payload of n bytes. The
// error is ctx's cause.
func (p *Pool) Acquire(ctx context.Context, id task.EndpointID, n int) (*Slot, error) {
	return p.AcquireHost(ctx, id, "", n)
}

// AcquireHost is Acquire for a target host of an endpoint whose tasks bring
// their own: each host has the guaranteed minimum, and all together have the
// share of one endpoint.
func (p *Pool) AcquireHost(ctx context.Context, id task.EndpointID, host string, n int) (*Slot, error) {
	w := p.enqueue(laneKey{id, host}, int64(n)+answerReserve)
	select {
	case <-w.granted:
		return w.slot, nil
	case <-ctx.Done():
	}
	if !p.withdraw(w) { // granted at the same moment
		w.slot.Release()
	}
	return nil, context.Cause(ctx)
}

func (p *Pool) enqueue(key laneKey, n int64) *waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[key]
	if l == nil {
		l = p.open(key)
	}
	w := &waiter{slot: &Slot{pool: p, lane: l, bytes: n}, granted: make(chan struct{})}
	if len(l.waiters) == 0 {
		p.ring = append(p.ring, l)
	}
	l.waiters = append(l.waiters, w)
	p.grant()
	return w
}

func (p *Pool) open(key laneKey) *lane {
	u := p.uses[key.id]
	if u == nil {
		u = &use{}
		p.uses[key.id] = u
	}
	u.lanes++
	l := &lane{key: key, of: u}
	p.lanes[key] = l
	return l
}

// withdraw takes back a wait. false: it was granted already.
func (p *Pool) withdraw(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := w.slot.lane
	for i, other := range l.waiters {
		if other != w {
			continue
		}
		l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
		if len(l.waiters) == 0 {
			p.leaveRing(l)
		}
		p.forget(l)
		p.grant() // one endpoint less may leave more for the others
		return true
	}
	return false
}

// Grow counts n more bytes held by the attempt. It never waits: an attempt
// that has begun is best ended soon.
func (s *Slot) Grow(n int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.bytes += int64(n)
	s.read += int64(n)
	s.pool.bytes += int64(n)
	s.pool.read += int64(n)
}

// Read is how many bytes of answers are in memory.
func (p *Pool) Read() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read
}

// Release gives the slot back.
func (s *Slot) Release() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse--
	p.bytes -= s.bytes
	p.read -= s.read
	s.lane.inUse--
	s.lane.of.inUse--
	p.forget(s.lane)
	p.grant()
}

func (p *Pool) forget(l *lane) {
	if l.inUse > 0 || len(l.waiters) > 0 {
		return
	}
	delete(p.lanes, l.key)
	if l.of.lanes--; l.of.lanes == 0 {
		delete(p.uses, l.key.id)
	}
}

// grant gives to one endpoint after the other, one slot each, until a whole
// round gives nothing.
func (p *Pool) grant() {
	for refused := 0; len(p.ring) > 0 && refused < len(p.ring); {
		l := p.ring[0]
		p.ring = append(p.ring[1:], l)
		if !p.fits(l, l.waiters[0].slot) {
			refused++
			continue
		}
		refused = 0
		p.give(l)
	}
}

func (p *Pool) give(l *lane) {
	w := l.waiters[0]
	l.waiters = l.waiters[1:]
	if len(l.waiters) == 0 {
		p.leaveRing(l)
	}
	l.inUse++
	l.of.inUse++
	p.inUse++
	p.bytes += w.slot.bytes
	close(w.granted)
}

func (p *Pool) leaveRing(l *lane) {
	for i, other := range p.ring {
		if other == l {
			p.ring = append(p.ring[:i], p.ring[i+1:]...)
			return
		}
	}
}

// fits decides whether the endpoint may run one more now.
func (p *Pool) fits(l *lane, s *Slot) bool {
	if limit, ok := p.limits[l.key.id]; ok && l.of.inUse >= limit {
		return false
	}
	if l.inUse < guaranteed {
		// Also the guaranteed minimum ends somewhere: answers of very many
		// endpoints that trickle.
		return p.read < answersMost*p.opt.Bytes || p.inUse == 0
	}
	return l.of.inUse < p.share() && p.inUse < p.opt.Total && p.bytes+s.bytes <= p.opt.Bytes
}

// share is an endpoint's cap now: lowered when several endpoints are busy.
func (p *Pool) share() int {
	return max(guaranteed, min(p.opt.PerEndpoint, p.opt.Total/max(len(p.uses), 1)))
}
