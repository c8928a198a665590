package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// Bounds of the housekeeping.
const (
	routerPrefetch  = 256
	routerHolds     = 128 // of these, at most so many wait for their last moments
	janitorPrefetch = 64
	moveTime        = 10 * time.Second // one try to move a message on
	fateTime        = 10 * time.Second // one question for a fate
	// bounceRung (ms) is where a message waits that cannot get to its target
	// now: nothing may hold a place of the router's or the janitor's meanwhile.
	bounceRung = firstRung << 4
	// declaredFor is how long the janitor trusts its own declaration.
	declaredFor = time.Second
)

type fateFunc = func(context.Context, broker.Wire) (broker.Fate, error)

// Maintain implements [broker.Driver].
func (d *Driver) Maintain(ctx context.Context, fate func(context.Context, broker.Wire) (broker.Fate, error)) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.spawn(func() {
		select {
		case <-d.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	m := &maintainer{d: d, ctx: ctx, fate: fate, holds: make(chan struct{}, routerHolds), declared: map[task.EndpointID]time.Time{}}
	defer m.wg.Wait()
	err := m.work(d.names.due(), routerPrefetch, m.route, func() error {
		return m.work(d.names.unroutable(), janitorPrefetch, m.tidy, func() error {
			<-ctx.Done()
			return nil
		})
	})
	if ctx.Err() != nil {
		return nil // it may have ended before it began
	}
	return err
}

// work has do work off a queue for as long as during runs.
func (m *maintainer) work(queue string, prefetch int, do func(*delivery), during func() error) error {
	c, err := m.d.startConsumer(m.ctx, &consumer{
		queue: queue, declare: m.d.declareAll, prefetch: prefetch,
		handle:   func(x *delivery) { m.wg.Go(func() { do(x) }) },
		giveBack: m.putBack,
	})
	if err != nil {
		return err
	}
	defer func() { _ = c.Stop(context.WithoutCancel(m.ctx)) }() // ends with the connection at the latest
	return during()
}

// maintainer is one run of [Driver.Maintain].
type maintainer struct {
	d     *Driver
	ctx   context.Context
	fate  fateFunc
	holds chan struct{}
	wg    sync.WaitGroup

	mu       sync.Mutex
	declared map[task.EndpointID]time.Time
}

// route moves a message from due to where it belongs now: up the ladder again,
// or to its target when its time has come. The last moments it waits here, so
// that it comes on time; unacknowledged, so nothing is lost with us.
func (m *maintainer) route(x *delivery) {
	if x.foreign != nil {
		m.bury(x)
		return
	}
	key := x.parcel.keyAt(m.d.opts.Now())
	if key == dueKey {
		key = m.holdUntil(x.parcel.wire.ETA, x.parcel.key())
	}
	m.move(x, x.parcel, key)
}

// holdUntil waits for eta and then names the target; or the first rung, when
// too many wait already or this maintainer ends.
func (m *maintainer) holdUntil(eta time.Time, target string) string {
	select {
	case m.holds <- struct{}{}:
		defer func() { <-m.holds }()
	default:
		return rungKey(firstRung)
	}
	for {
		left := ceilMillis(eta) - m.d.opts.Now().UnixMilli()
		if left <= 0 {
			return target
		}
		select {
		case <-time.After(time.Duration(left) * time.Millisecond):
		case <-m.ctx.Done():
			return rungKey(firstRung)
		}
	}
}

// move publishes a message and removes the delivery, and tries until that is
// done or the delivery is no longer ours. A target that refuses gets it again
// after a hop, so that it blocks no others.
func (m *maintainer) move(x *delivery, p parcel, key string) {
	for attempt := 0; ; attempt++ {
		// Not m's context: what it has in hand, it moves; Stop waits.
		ctx, cancel := context.WithTimeout(m.d.ctx, moveTime)
		err := m.d.send(ctx, &p, key)
		cancel()
		switch {
		case err == nil, p.wire.System == broker.CanaryQueue: // nothing waits for a canary
			_ = x.Ack(m.d.ctx) // if it is lost, the message comes again, marked
			return
		case x.sub.ch.IsClosed():
			return
		case errors.Is(err, errRefused):
			key = rungKey(bounceRung)
		case errors.Is(err, broker.ErrUnknown):
			p.redelivered = true // it may be there already
		}
		select {
		case <-time.After(backoff(attempt)):
		case <-m.ctx.Done():
			x.requeue()
			return
		}
	}
}

// putBack returns what was prefetched when the maintainer stopped.
func (m *maintainer) putBack(x *delivery) {
	if m.d.killed.Load() {
		return
	}
	x.requeue()
}

// tidy works off a message that found no queue.
func (m *maintainer) tidy(x *delivery) {
	p := x.parcel
	key := p.keyAt(m.d.opts.Now())
	switch {
	case x.foreign != nil:
		m.bury(x)
	case p.wire.System == broker.CanaryQueue: // its process has ended
		_ = x.Ack(m.d.ctx)
	case p.wire.System != "" || key != p.key():
		// A part of the fixed topology was missing.
		m.bounceUnless(x, m.d.repair(m.ctx), key)
	default:
		m.decide(x)
	}
}

// decide asks for an endpoint's message what is to become of it.
func (m *maintainer) decide(x *delivery) {
	ctx, cancel := context.WithTimeout(m.ctx, fateTime)
	defer cancel()
	w := x.parcel.wire
	fate, err := m.fate(ctx, w)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // a verdict after the end may not be recorded
	}
	if err == nil && fate == broker.Drop {
		_ = x.Ack(ctx) // if it is lost, the question comes again
		return
	}
	if err == nil {
		err = m.declareOnce(ctx, w.Endpoint)
	}
	m.bounceUnless(x, err, x.parcel.key())
}

// bounceUnless moves a message to key, or lets it wait when that makes no
// sense yet.
func (m *maintainer) bounceUnless(x *delivery, err error, key string) {
	if err != nil {
		if m.ctx.Err() == nil {
			m.d.log.Warn("message without a queue has to wait", "id", x.parcel.wire.ID, "error", err)
		}
		key = rungKey(bounceRung)
	}
	m.move(x, x.parcel, key)
}

// bury moves what was never published by us to the dead.
func (m *maintainer) bury(x *delivery) {
	m.d.log.Error("foreign message in our queues, moving it to the dead", "id", x.parcel.wire.ID, "error", x.foreign)
	p := x.parcel
	p.wire.Endpoint, p.wire.System = "", broker.Dead
	m.move(x, p, p.key())
}

// declareOnce declares an endpoint's queue, but not for each of its messages.
func (m *maintainer) declareOnce(ctx context.Context, ep task.EndpointID) error {
	m.mu.Lock()
	fresh := time.Since(m.declared[ep]) < declaredFor
	m.mu.Unlock()
	if fresh {
		return nil
	}
	if err := m.d.Declare(ctx, ep); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for old, at := range m.declared {
		if time.Since(at) > declaredFor {
			delete(m.declared, old)
		}
	}
	m.declared[ep] = time.Now()
	return nil
}

// repair declares the fixed topology again.
func (d *Driver) repair(ctx context.Context) error {
	return d.administer(ctx, d.declareAll)
}
