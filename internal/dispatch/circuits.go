package dispatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Circuits shares with the other dispatchers which endpoints are down.
type Circuits interface {
	// Circuits returns those that are not closed.
	Circuits(ctx context.Context) (map[task.EndpointID]task.StoredCircuit, error)
	// SwapCircuit writes a circuit if the stored one has the version; else ok
	// is false, and present is what is stored.
	SwapCircuit(ctx context.Context, id task.EndpointID, c task.Circuit, version int64) (present task.StoredCircuit, ok bool, err error)
}

// Times of the circuits.
const (
	circuitTick  = time.Second     // how exactly a probe's time is kept
	circuitLearn = 2 * time.Second // how often the others' are read
	circuitTime  = 2 * time.Second // bounds a round
	// proberLease is how long the right to probe outlives its prober. It is
	// renewed by half of it, also while nothing comes to probe with.
	proberLease = time.Minute
	// circuitsKept is from how many on those of receivers are tidied up.
	circuitsKept = 4096
)

// circuits keeps what is down from being called. An endpoint with an open
// circuit is not consumed, so that its backlog stays in its queue: nothing of
// it moves, and no attempt is used up. When the pause is over one of all
// dispatchers, which claims that in the store, consumes with a prefetch of one
// and lets one task through. Its success closes the circuit for everyone.
//
// A receiver of callbacks shares its queue with others, so what comes for it
// is postponed. Its circuit is this process's own.
//
// When the store is away each dispatcher goes by what it sees itself: there are
// then as many probes in a pause as there are dispatchers.
type circuits struct {
	store     Circuits // nil: there are no others
	endpoints Endpoints
	owner     string
	log       *slog.Logger
	now       func() time.Time
	changed   func() // consumers must follow
	kicks     chan struct{}

	mu      sync.Mutex
	byKey   map[laneKey]*circuit // that have failed of late, or are not closed
	failing bool                 // the store is
}

// circuit is one target's.
type circuit struct {
	task.Breaker

	probing bool // a probe of ours is under way
	// version is that of what is stored; unsaved: there is something newer.
	version int64
	unsaved bool
	// changes counts, so that a call of the store sees what came meanwhile.
	changes int
	// poked is the change of the endpoint that was answered by a probe.
	poked time.Time
}

func newCircuits(
	store Circuits, eps Endpoints, owner string, log *slog.Logger, now func() time.Time, changed func(),
) *circuits {
	return &circuits{
		store: store, endpoints: eps, owner: owner, log: log, now: now, changed: changed,
		kicks: make(chan struct{}, 1), byKey: make(map[laneKey]*circuit),
	}
}

// places is how many of n deliveries of the endpoint may be in hand.
func (c *circuits) places(ep *task.Endpoint, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.byKey[laneKey{id: ep.ID()}]
	if b == nil {
		return n
	}
	c.follow(b, ep)
	switch {
	case b.Closed():
		return n
	case b.ProbedBy(c.owner):
		return min(n, 1)
	}
	return 0
}

// follow takes what was changed of the endpoint since its circuit opened: what
// its owner did may have mended it.
func (c *circuits) follow(b *circuit, ep *task.Endpoint) {
	switch {
	case b.Closed():
	case ep.BreakerPolicy().Off && b.Reason != task.ReasonThrottled:
		b.Close()
		c.moved(b)
	case b.State == task.CircuitOpen && ep.UpdatedAt.After(b.At) && !ep.UpdatedAt.Equal(b.poked):
		b.poked, b.Next = ep.UpdatedAt, c.now()
		c.kick()
	}
}

// moved notes that the circuit is to be stored.
func (c *circuits) moved(b *circuit) {
	b.changes++
	b.unsaved = true
	c.kick()
}

func (c *circuits) kick() {
	select {
	case c.kicks <- struct{}{}:
	default:
	}
}

// pass is the leave to make one attempt.
type pass struct {
	of    *circuits
	ep    *task.Endpoint
	key   laneKey
	probe bool
	told  bool
}

// enter asks to make an attempt. Without leave, till is when to ask again.
func (c *circuits) enter(ep *task.Endpoint, key laneKey) (p *pass, till time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = &pass{of: c, ep: ep, key: key}
	b := c.byKey[key]
	if b == nil || b.Closed() {
		return p, till, true
	}
	now := c.now()
	if key.host != "" && b.Due(now) { // nobody else claims it
		b.Circuit = b.Claimed(c.owner, now, now.Add(proberLease))
	}
	if !b.ProbedBy(c.owner) || b.probing {
		return nil, again(&b.Circuit, now), false
	}
	b.probing, p.probe = true, true
	return p, till, true
}

// again is when to come again: after the pause, and not all at once.
func again(b *task.Circuit, now time.Time) time.Time {
	spread := max(b.Next.Sub(b.At), task.MinCoolDown)
	at := now
	if b.State == task.CircuitOpen && b.Next.After(now) {
		at = b.Next
	}
	return at.Add(task.MinCoolDown + rand.N(spread)) //nolint:gosec // no secret
}

// openTill tells of a receiver that is not called until then.
func (c *circuits) openTill(key laneKey, now time.Time) (till time.Time, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.byKey[key]
	if b == nil || b.Closed() || b.Due(now) || b.ProbedBy(c.owner) && !b.probing {
		return till, false
	}
	return again(&b.Circuit, now), true
}

// leave gives a pass back. A probe that was none leaves its place to another.
func (p *pass) leave() {
	if !p.probe || p.told {
		return
	}
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if b := p.of.byKey[p.key]; b != nil {
		b.probing = false
	}
}

// ended notes what the attempt came to.
func (p *pass) ended(o *task.Outcome) {
	c := p.of
	p.told = true
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.byKey[p.key]
	if b == nil {
		if h := o.Health(); h != task.HealthIll && h != task.HealthThrottled {
			return // what is well costs no memory
		}
		c.tidy()
		b = &circuit{poked: p.ep.UpdatedAt}
		c.byKey[p.key] = b
	}
	policy, before := p.ep.BreakerPolicy(), b.Circuit
	probe := p.probe && b.ProbedBy(c.owner)
	if p.probe {
		b.probing = false
	}
	if !b.Ended(policy, o, probe, c.now()) {
		if b.Idle(policy, c.now()) {
			delete(c.byKey, p.key)
		}
		return
	}
	c.tell(p.ep, p.key.host, &before, &b.Circuit)
	switch {
	case p.key.host == "":
		c.moved(b)
		c.changed()
	case b.Closed():
		delete(c.byKey, p.key)
	}
}

// tell writes a change into the log.
func (c *circuits) tell(ep *task.Endpoint, host string, before, after *task.Circuit) {
	log := c.log.With("project", ep.Project, "endpoint", ep.Name, "reason", after.Reason)
	if host != "" {
		log = log.With("host", host)
	}
	switch {
	case after.Closed() && !before.Closed():
		log.Info("circuit closed: it is called again", "reason", before.Reason, "since", before.Since)
	case after.Closed():
	case after.Reason == task.ReasonThrottled:
		log.Info("it asks for a pause: its tasks are held", "next", after.Next)
	case before.Closed():
		log.Warn("circuit opened: its tasks are held, but for probes", "next", after.Next)
	case after.State == task.CircuitOpen:
		log.Info("circuit stays open: the probe failed", "next", after.Next, "probes", after.Probes)
	}
}

// tidy keeps the memory bounded, however many receivers there are.
func (c *circuits) tidy() {
	if len(c.byKey) < circuitsKept {
		return
	}
	now := c.now()
	for key, b := range c.byKey {
		quiet := b.Closed() && !b.Busy(task.DefaultBreaker(), now)
		if key.host != "" && (quiet || now.Sub(b.Next) > task.MostReceiverCoolDown && !b.Closed()) {
			delete(c.byKey, key)
		}
	}
}

// run moves the circuits on until ctx ends, and then leaves to others what it
// was to probe.
func (c *circuits) run(ctx context.Context) {
	last := context.WithoutCancel(ctx)
	tick := time.NewTicker(circuitTick)
	defer tick.Stop()
	learned := c.now()
	for {
		select {
		case <-c.kicks:
		case <-tick.C:
		case <-ctx.Done():
			c.giveUp(last)
			return
		}
		if c.now().Sub(learned) >= circuitLearn {
			learned = c.now()
			c.learn(last)
		}
		c.round(last)
	}
}

// learn reads what the others know.
func (c *circuits) learn(ctx context.Context) {
	if c.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, circuitTime)
	defer cancel()
	all, err := c.store.Circuits(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away(ctx, err) {
		return
	}
	for id, stored := range all {
		key := laneKey{id: id}
		if b := c.byKey[key]; b == nil || !b.unsaved && b.version != stored.Version {
			c.adopt(key, stored)
		}
	}
	for key, b := range c.byKey {
		if _, ok := all[key.id]; !ok && key.host == "" && b.version > 0 && !b.unsaved {
			c.adopt(key, task.StoredCircuit{})
		}
	}
}

// away notes how the store fares.
func (c *circuits) away(ctx context.Context, err error) bool {
	if err != nil && !c.failing {
		c.log.WarnContext(ctx, "circuits cannot be shared now; each dispatcher goes by its own", "error", err)
	}
	c.failing = err != nil
	return c.failing
}

// adopt takes what is stored for the truth. Its times are of another's clock:
// a pause is not longer here than it was there.
func (c *circuits) adopt(key laneKey, stored task.StoredCircuit) {
	ep, _, ok := c.endpoints.EndpointByID(key.id)
	if !ok {
		delete(c.byKey, key)
		return
	}
	b := c.byKey[key]
	if b == nil {
		b = &circuit{}
		c.byKey[key] = b
	}
	now, before := c.now(), b.Circuit
	b.Breaker = task.Breaker{Circuit: stored.Circuit}
	if pause := b.Next.Sub(b.At); b.Next.Sub(now) > pause {
		b.Next = now.Add(pause)
	}
	if b.Until.Sub(now) > proberLease {
		b.Until = now.Add(proberLease)
	}
	b.version, b.unsaved = stored.Version, false
	b.changes++
	b.probing = b.probing && b.ProbedBy(c.owner)
	if before.Closed() != b.Closed() {
		c.tell(ep, "", &before, &b.Circuit)
	}
	if b.Closed() {
		delete(c.byKey, key)
	}
	c.changed()
}

// step is one thing to store.
type step struct {
	key     laneKey
	want    task.Circuit
	version int64
	changes int
	claim   bool
}

// round stores what is new and claims what is due.
func (c *circuits) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, circuitTime)
	defer cancel()
	for _, s := range c.steps(c.now()) {
		c.do(ctx, s)
	}
}

func (c *circuits) steps(now time.Time) (out []step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, b := range c.byKey {
		if key.host != "" {
			continue
		}
		ep, _, known := c.endpoints.EndpointByID(key.id)
		if !known {
			delete(c.byKey, key)
			continue
		}
		s := step{key: key, want: b.Circuit, version: b.version, changes: b.changes}
		renew := b.ProbedBy(c.owner) && b.Until.Sub(now) < proberLease/2
		if s.claim = ep.Deliverable() && (b.Due(now) || renew); s.claim {
			s.want = b.Claimed(c.owner, now, now.Add(proberLease))
		}
		if s.claim || b.unsaved {
			out = append(out, s)
		}
	}
	return out
}

// do takes one step. Without the store it is taken here alone, and stored
// when the store is back.
func (c *circuits) do(ctx context.Context, s step) {
	present, ok, err := task.StoredCircuit{Circuit: s.want}, true, error(nil)
	if c.store != nil {
		present, ok, err = c.store.SwapCircuit(ctx, s.key.id, s.want, s.version)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.byKey[s.key]
	if c.away(ctx, err); b == nil {
		return
	}
	if err == nil && !ok { // another was faster
		c.adopt(s.key, present)
		return
	}
	if err == nil {
		b.version = present.Version
	}
	if b.changes != s.changes { // an attempt ended meanwhile: the next round stores that
		return
	}
	b.unsaved = err != nil
	if s.claim {
		b.Circuit = s.want
		c.changed()
	}
	if b.Closed() && !b.unsaved && b.version == 0 {
		delete(c.byKey, s.key)
	}
}

// giveUp returns the right to probe.
func (c *circuits) giveUp(ctx context.Context) {
	c.mu.Lock()
	for key, b := range c.byKey {
		if key.host == "" && b.ProbedBy(c.owner) {
			b.Circuit = b.Returned(c.now())
			b.Next = b.Next.Add(circuitTick) // not by ourselves, in the round that stores it
			c.moved(b)
		}
	}
	c.mu.Unlock()
	c.round(ctx)
}
