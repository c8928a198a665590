package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Figures of the manager.
const (
	recheckEvery      = 5 * time.Second
	heldCheck         = time.Second
	heldQuarantine    = time.Minute
	quarantineTimeout = 10 * time.Second
	quarantineAtOnce  = 1 // a message that kills its worker dies alone
	parkedAtOnce      = 16
	parkedWait        = 5 * time.Second
	parkedCorrupt     = 10 * time.Minute
)

// Manager consumes the queue of each deliverable endpoint, once, and the
// queues that every installation has. It hands what comes to the handler.
type Manager struct {
	source    Source
	endpoints Endpoints
	engine    Engine
	handler   *Handler
	pool      *Pool
	hosts     *hosts
	shares    *shares
	circuits  *circuits
	held      *holdings
	log       *slog.Logger
	nudges    chan struct{} // look at the registry again

	// Set by run, before anything is consumed; they end in this order.
	work  context.Context //nolint:containedctx // bounds attempts: outlives the consumers whose callbacks need it
	last  context.Context //nolint:containedctx // bounds every last step
	tasks group           // goroutines of deliveries
	lines group           // goroutines of lines
}

// run keeps the consumers as the registry wants them until intake ends, and
// returns when all of them have stopped. Deliveries go on: see tasks.
func (m *Manager) run(intake context.Context) {
	held := make(map[task.EndpointID]*line)
	m.startSystem(intake)
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for intake.Err() == nil {
		changed := m.endpoints.Changes() // before looking: no change is missed
		m.reconcile(intake, held)
		select {
		case <-changed:
		case <-m.nudges:
		case <-tick.C:
		case <-intake.Done():
		}
	}
	m.lines.close()
	m.lines.wait(context.WithoutCancel(intake)) // bounded: each stop is
	m.shares.drain()
}

func (m *Manager) startSystem(intake context.Context) {
	m.start(intake, "quarantine", func(ctx context.Context, l *line) (Consumer, error) {
		return m.source.ConsumeQuarantine(ctx, quarantineAtOnce, func(d Delivery) { m.accept(l, func() { m.quarantined(d) }) })
	})
	m.start(intake, "parked", func(ctx context.Context, l *line) (Consumer, error) {
		return m.source.ConsumeParked(ctx, parkedAtOnce, func(p Parked) { m.accept(l, func() { m.parked(p) }) })
	})
}

// start runs a line. consume gets the line for its handler.
func (m *Manager) start(
	intake context.Context, name string, consume func(ctx context.Context, l *line) (Consumer, error),
) *line {
	ctx, cancel := context.WithCancel(intake)
	l := &line{name: name, log: m.log, cancel: cancel, stopped: make(chan struct{})}
	m.lines.run(func() {
		defer cancel()
		l.run(ctx, func(ctx context.Context) (Consumer, error) { return consume(ctx, l) })
		m.nudge() // it may be wanted again
	})
	return l
}

// reconcile starts and stops lines. A line that is stopping stays in held
// until it has: there is never a second one beside it.
func (m *Manager) reconcile(intake context.Context, held map[task.EndpointID]*line) {
	wanted := m.wanted()
	for id, l := range held {
		if wanted[id] != l.prefetch {
			l.cancel()
		}
		select {
		case <-l.stopped:
			delete(held, id)
		default:
		}
	}
	for id, prefetch := range wanted {
		if held[id] == nil && prefetch > 0 && m.held.room(id, prefetch) {
			held[id] = m.startEndpoint(intake, id, prefetch)
		}
	}
}

// wanted says of each deliverable endpoint how many deliveries to hold: as
// many as may run, so that none waits here while another dispatcher is free,
// and as memory has room for. One whose circuit is open keeps its backlog in its queue.
func (m *Manager) wanted() map[task.EndpointID]int {
	wanted, limits := make(map[task.EndpointID]int), make(map[task.EndpointID]limited)
	eps := m.endpoints.Endpoints("")
	for i := range eps {
		ep := &eps[i]
		places := 0
		if ep.Deliverable() {
			places = m.circuits.places(ep, m.pool.PerEndpoint())
			wanted[ep.ID()] = places
		}
		if ep.MaxConcurrency > 0 {
			// Who is not to probe leaves its part to who is.
			limits[ep.ID()] = limited{limit: ep.MaxConcurrency, consumed: places > 0}
		}
	}
	m.shares.follow(limits)
	for id, l := range limits {
		if l.consumed {
			wanted[id] = min(wanted[id], m.shares.of(id))
		}
	}
	m.held.places(wanted)
	return wanted
}

func (m *Manager) startEndpoint(intake context.Context, id task.EndpointID, prefetch int) *line {
	live, cancel := context.WithCancel(intake)
	l := m.start(live, string(id), func(ctx context.Context, l *line) (Consumer, error) {
		return m.source.Consume(ctx, id, prefetch, func(d Delivery) {
			m.accept(l, func() { m.deliver(live, l, id, d) })
		})
	})
	l.prefetch = prefetch
	l.cancel = cancel // ends the waits for a slot, too
	return l
}

// nudge asks for a look at the registry.
func (m *Manager) nudge() {
	select {
	case m.nudges <- struct{}{}:
	default:
	}
}

// accept gives a delivery its goroutine; the prefetch bounds how many there
// are. After the end of everything it stays unfinished in the queue's eyes.
func (m *Manager) accept(l *line, f func()) {
	work := func() { m.handler.panics(m.last, m.log, "delivery", f) }
	if !m.tasks.run(work) {
		m.log.Debug("delivery after the end, left to the queue", "consumer", l.name)
	}
}

// deliver waits for a slot and works a delivery of an endpoint. live ends
// when the endpoint is paused, disabled or deleted, or at shutdown: what has
// not begun then goes back.
func (m *Manager) deliver(live context.Context, l *line, id task.EndpointID, d Delivery) {
	n := len(d.Message().Payload)
	m.held.enter(id, n)
	defer m.held.leave(id, n)
	host := hostOf(d.Message().URL)
	if host != "" {
		key, came := laneKey{id, host}, m.handler.now()
		if at, open := m.circuits.openTill(key, came); open {
			m.handler.postpone(m.last, m.log.With("task", d.Message().ID), d, at)
			return
		}
		if wait, ok := m.hosts.enter(key, came); !ok {
			m.handler.postpone(m.last, m.log.With("task", d.Message().ID), d, came.Add(wait))
			return
		}
		defer func() { m.hosts.leave(key, m.handler.now().Sub(came), m.handler.now()) }()
	}
	for {
		slot, err := m.pool.AcquireHost(live, id, host, len(d.Message().Payload))
		if err != nil {
			break
		}
		if m.try(slot, laneKey{id, host}, d) {
			return
		}
		// The registry is ahead of the consumer. Giving it back now would
		// bring it back now.
		m.nudge()
		if !pause(live, heldCheck) {
			break
		}
	}
	<-l.stopped
	m.handler.finish(m.last, m.log.With("task", d.Message().ID), "release", d.Release)
}

// try handles the delivery unless its endpoint takes none now.
func (m *Manager) try(slot *Slot, key laneKey, d Delivery) bool {
	defer slot.Release()
	ep, _, ok := m.endpoints.EndpointByID(key.id)
	if !ok || !ep.Deliverable() {
		return false
	}
	pass, till, ok := m.circuits.enter(ep, key)
	switch {
	case ok:
		defer pass.leave()
		m.handler.Handle(m.work, m.last, Job{Delivery: d, Endpoint: ep, Reading: slot.Grow, Ended: pass.ended})
	case key.host != "": // of a queue that goes on being consumed
		m.handler.postpone(m.last, m.log.With("task", d.Message().ID), d, till)
	default:
		return false
	}
	return true
}

// quarantined works a message that was delivered too often: alone, outside of
// the pool, and briefly.
func (m *Manager) quarantined(d Delivery) {
	msg := d.Message()
	m.log.Warn("working a quarantined message", "task", msg.ID, "endpoint", msg.Endpoint)
	ep, _, ok := m.endpoints.EndpointByID(msg.EndpointID())
	if ok && ep.MaxConcurrency > 0 {
		slot := m.quarantineSlot(msg)
		if ok = slot != nil; ok {
			defer slot.Release()
		}
	}
	var pass *pass
	if ok && ep.Deliverable() {
		pass, _, ok = m.circuits.enter(ep, laneKey{ep.ID(), hostOf(msg.URL)})
	}
	if !ok || !ep.Deliverable() {
		// Its endpoint's own queue holds it from then on.
		log := m.log.With("task", msg.ID)
		m.handler.postpone(m.last, log, d, m.handler.now().Add(heldQuarantine))
		return
	}
	defer pass.leave()
	m.handler.Handle(m.work, m.last, Job{Delivery: d, Endpoint: ep, MaxTimeout: quarantineTimeout, Ended: pass.ended})
}

// quarantineSlot waits a moment for a slot of an endpoint that has a limit;
// nil when there is none.
func (m *Manager) quarantineSlot(msg *task.Message) *Slot {
	id := msg.EndpointID()
	if m.shares.of(id) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.work, quarantineTimeout)
	defer cancel()
	slot, err := m.pool.Acquire(ctx, id, len(msg.Payload))
	if err != nil {
		return nil
	}
	return slot
}

// parked applies a settlement whose store was away.
func (m *Manager) parked(p Parked) {
	h := m.handler
	err := error(task.Errorf(task.CodeInternal, "panic"))
	h.panics(m.last, m.log, "apply parked settlement", func() { err = m.engine.ApplyParked(m.last, p.Body()) })
	switch task.CodeOf(err) {
	case "":
		h.finish(m.last, m.log, "acknowledge settlement", p.Ack)
	case task.CodeUnavailable:
		h.postpone(m.last, m.log, p, h.now().Add(parkedWait))
	default:
		// Kept, and loud: dropping it would lose an outcome silently.
		m.log.Error("parked settlement cannot be applied", "bytes", len(p.Body()), "error", err)
		h.postpone(m.last, m.log, p, h.now().Add(parkedCorrupt))
	}
}
