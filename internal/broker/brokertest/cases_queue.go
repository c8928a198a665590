package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
)

// prefetchIsKept: never more unfinished deliveries than asked for.
func (s *suite) prefetchIsKept(t *testing.T) {
	const prefetch, n = 3, 30
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	publishAll(t, s.driver, wires(ep, n))
	in := consume(t, s.driver, ep, prefetch)
	held := in.take(prefetch)
	in.none()
	for i := prefetch; i < n; i++ {
		ack(t, held[0])
		held = append(held[1:], in.next())
		if len(in.ch) > 0 {
			t.Fatalf("%d deliveries unfinished, prefetch is %d", len(held)+len(in.ch), prefetch)
		}
	}
	for _, d := range held {
		ack(t, d)
	}
	in.none()
}

// roughOrder: what became due first comes first, but for a few neighbours.
func (s *suite) roughOrder(t *testing.T) {
	const n, rough = 60, 10
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	ws := wires(ep, n)
	for _, w := range ws {
		publish(t, s.driver, w)
	}
	in := consume(t, s.driver, ep, 1)
	place := map[string]int{}
	for i, w := range ws {
		place[w.ID] = i
	}
	for i := range n {
		d := in.next()
		ack(t, d)
		if off := place[d.Wire().ID] - i; off > rough || off < -rough {
			t.Errorf("message %d came at place %d", place[d.Wire().ID], i)
		}
	}
}

// consumersShare: two consumers of one endpoint get each message once between
// them, and both get some.
func (s *suite) consumersShare(t *testing.T) {
	const n = 40
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	a, b := consume(t, s.driver, ep, 1), consume(t, s.driver, ep, 1)
	publishAll(t, s.driver, wires(ep, n))
	got := map[string]bool{}
	for len(got) < n {
		var d received
		select {
		case d = <-a.ch:
		case d = <-b.ch:
		case <-time.After(patience):
			t.Fatalf("%d of %d came", len(got), n)
		}
		if id := d.Wire().ID; got[id] {
			t.Errorf("%s was delivered twice", id)
		} else {
			got[id] = true
		}
		ack(t, d)
	}
	a.none()
	b.none()
}

// declareTwice: idempotent, and what is in the queue stays.
func (s *suite) declareTwice(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	ids := publishAll(t, s.driver, wires(ep, 5))
	declare(t, s.driver, ep, ep)
	consume(t, s.driver, ep, 10).collect(ids)
}

// missingQueueHeld: a message without a queue is stored; the janitor makes
// the queue and it is delivered. Also a delayed one.
func (s *suite) missingQueueHeld(t *testing.T) {
	for _, delay := range []time.Duration{0, 400 * time.Millisecond} {
		ep := endpoint(t, fmt.Sprint("ep", delay))
		asked := s.fates.set(ep, hold)
		w := wire(ep, 1)
		if delay > 0 {
			w.ETA = time.Now().Add(delay)
		}
		publish(t, s.driver, w)
		if id := awaitAsked(t, asked); id != w.ID {
			t.Errorf("asked about %q", id)
		}
		in := consume(t, s.driver, ep, 10)
		d := in.next()
		same(t, d.Wire(), w)
		ack(t, d)
		in.none()
	}
}

// missingQueueDropped: the janitor removes what its callback has recorded.
func (s *suite) missingQueueDropped(t *testing.T) {
	ep := endpoint(t, "ep")
	asked := s.fates.set(ep, func(_ context.Context, w broker.Wire) (broker.Fate, error) {
		if w.ID == "" || w.Endpoint != ep || string(w.Body) != "body 7" || w.Meta != "meta 7" {
			t.Errorf("asked about %+v", w)
		}
		return broker.Drop, nil
	})
	publish(t, s.driver, wire(ep, 7))
	awaitAsked(t, asked)
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	in.none()
	if len(asked) > 0 {
		t.Error("asked twice about a dropped message")
	}
}

// fateFailsOnce: a fate that cannot be told yet is asked for again.
func (s *suite) fateFailsOnce(t *testing.T) {
	ep := endpoint(t, "ep")
	var calls atomic.Int32
	asked := s.fates.set(ep, func(context.Context, broker.Wire) (broker.Fate, error) {
		if calls.Add(1) == 1 {
			return broker.Hold, errors.New("the store is away")
		}
		return broker.Hold, nil
	})
	w := wire(ep, 1)
	publish(t, s.driver, w)
	awaitAsked(t, asked)
	awaitAsked(t, asked)
	in := consume(t, s.driver, ep, 10)
	ack(t, in.next())
	in.none()
}

// deleteQueue: the fate of each message it held is asked, twice is no error,
// and it can come back.
func (s *suite) deleteQueue(t *testing.T) {
	ep := endpoint(t, "ep")
	asked := s.fates.set(ep, func(context.Context, broker.Wire) (broker.Fate, error) { return broker.Drop, nil })
	declare(t, s.driver, ep)
	held := map[string]bool{}
	for _, id := range publishAll(t, s.driver, wires(ep, 20)) {
		held[id] = true
	}
	for range 2 {
		if err := s.driver.Delete(within(t), ep); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	for len(held) > 0 {
		delete(held, awaitAsked(t, asked))
	}
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	in.none()
	w := wire(ep, 100)
	publish(t, s.driver, w)
	in.collect([]string{w.ID})
}

// deleteUnknown: deleting what never existed is no error.
func (s *suite) deleteUnknown(t *testing.T) {
	if err := s.driver.Delete(within(t), endpoint(t, "never")); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// stop: after Stop the handler is not called; what was handed out stays
// valid; what was not goes to others, once.
func (s *suite) stop(t *testing.T) {
	const n, prefetch = 30, 10
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	ids := publishAll(t, s.driver, wires(ep, n))

	var stopped atomic.Bool
	in := newInbox(t)
	c, err := s.driver.Consume(within(t), ep, prefetch, func(d broker.Delivery) {
		if stopped.Load() {
			t.Error("the handler was called after Stop had returned")
		}
		in.handle(d)
	})
	in.started(c, err)
	held := in.take(4)
	in.stop()
	stopped.Store(true)
	for len(in.ch) > 0 { // handed out while Stop was under way
		held = append(held, in.next())
	}

	rest := map[string]bool{}
	for _, id := range ids {
		rest[id] = true
	}
	for _, d := range held {
		delete(rest, d.Wire().ID)
	}
	var restIDs []string
	for id := range rest {
		restIDs = append(restIDs, id)
	}
	other := consume(t, s.driver, ep, 100)
	other.collect(restIDs)
	for i, d := range held {
		if i%2 == 0 {
			ack(t, d)
			continue
		}
		if err := d.Release(within(t)); err != nil {
			t.Fatalf("Release after Stop: %v", err)
		}
		ack(t, other.next())
	}
	other.none()
	if err := c.Stop(within(t)); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

// depth: what waits, due and undelivered.
func (s *suite) depth(t *testing.T) {
	const n = 7
	ep := endpoint(t, "ep")
	of := func(ctx context.Context) (broker.Depth, error) { return s.driver.Depth(ctx, ep) }
	declare(t, s.driver, ep)
	awaitDepth(t, of, 0)
	later := wire(ep, 1000)
	later.ETA = time.Now().Add(time.Hour)
	publish(t, s.driver, later)
	ids := publishAll(t, s.driver, wires(ep, n))
	awaitDepth(t, of, n)
	in := consume(t, s.driver, ep, n)
	in.collect(ids)
	awaitDepth(t, of, 0)
}

// systemDepth: the same of the queues that every installation has.
func systemDepth(t *testing.T, h Harness) {
	d := h.Open(t)
	t.Cleanup(func() { closeDriver(t, d) })
	for i, q := range []broker.System{broker.Parked, broker.Quarantine, broker.Dead} {
		of := func(ctx context.Context) (broker.Depth, error) { return d.DepthSystem(ctx, q) }
		awaitDepth(t, of, 0)
		for n := range i + 1 {
			publish(t, d, broker.Wire{ID: fmt.Sprint("system ", n), System: q, Body: []byte("x")})
		}
		awaitDepth(t, of, int64(i+1))
	}
}

// stats: consumers count while they are alive.
func stats(t *testing.T, h Harness) {
	d := h.Open(t)
	t.Cleanup(func() { closeDriver(t, d) })
	want := func(consumers int) {
		t.Helper()
		if got := d.Stats(); got.Consumers != consumers || got.Blocked {
			t.Errorf("stats say %+v, want %d consumers", got, consumers)
		}
	}
	want(0)
	a, b := endpoint(t, "a"), endpoint(t, "b")
	declare(t, d, a, b)
	first := consume(t, d, a, 1)
	consume(t, d, b, 1)
	consumeSystem(t, d, broker.Parked, 1)
	want(3)
	first.stop()
	want(2)
	for link, n := range d.Stats().Connects {
		if n != 1 {
			t.Errorf("link %s: %d connections", link, n)
		}
	}
}

// awaitDepth asks until the answer fits: brokers count with a delay.
func awaitDepth(t *testing.T, of func(context.Context) (broker.Depth, error), want int64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		got, err := of(within(t))
		if err != nil {
			t.Fatalf("Depth: %v", err)
		}
		if got.Ready == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("Depth = %d, want %d", got.Ready, want)
		}
	}
}

// slowHandsHurtNobody: an endpoint whose worker holds everything that it may
// does not delay another one.
func (s *suite) slowHandsHurtNobody(t *testing.T) {
	slow, fast := endpoint(t, "slow"), endpoint(t, "fast")
	declare(t, s.driver, slow, fast)
	publishAll(t, s.driver, wires(slow, 300))
	stuck := consume(t, s.driver, slow, 100)
	held := stuck.take(100)
	in := consume(t, s.driver, fast, 1)
	in.collect(publishAll(t, s.driver, wires(fast, 20)))
	for _, d := range held {
		ack(t, d)
	}
}

// ready: nil while a publish has a fair chance.
func (s *suite) ready(t *testing.T) {
	if err := s.driver.Ready(within(t)); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// manyEndpoints: each gets its own, and nothing else.
func (s *suite) manyEndpoints(t *testing.T) {
	const n = 30
	in := make([]*inbox, n)
	for i := range in {
		ep := endpoint(t, fmt.Sprint(i))
		declare(t, s.driver, ep)
		in[i] = consume(t, s.driver, ep, 5)
	}
	for i := range in {
		publish(t, s.driver, wire(endpoint(t, fmt.Sprint(i)), i))
	}
	for i, b := range in {
		b.collect([]string{wire("", i).ID})
	}
}
