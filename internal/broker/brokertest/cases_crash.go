package brokertest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// confirmMeansStored: what Publish returned nil for outlives a crash that
// follows at once.
func confirmMeansStored(t *testing.T, h Harness) {
	ep, missing := endpoint(t, "ep"), endpoint(t, "missing")
	first := h.Open(t)
	declare(t, first, ep)
	ids := publishAll(t, first, wires(ep, 200))
	homeless := publishAll(t, first, wires(missing, 3))
	h.Kill(t, first)

	second := h.Open(t)
	defer closeDriver(t, second)
	consume(t, second, ep, 50).collect(ids)
	defer maintain(t, second, hold)()
	consume(t, second, missing, 50).collect(homeless)
}

// delayOutlivesRestart: what fell due while nobody ran comes at once
// afterwards; what did not comes at its time.
func delayOutlivesRestart(t *testing.T, h Harness) {
	ep := endpoint(t, "ep")
	first := h.Open(t)
	stop := maintain(t, first, hold)
	declare(t, first, ep)
	ws := delayed(wires(ep, 60), 3*time.Second)
	publishAll(t, first, ws)
	stop()
	h.Kill(t, first)

	second := h.Open(t)
	defer closeDriver(t, second)
	defer maintain(t, second, hold)()
	in := consume(t, second, ep, 50)
	in.measure(ws)
	in.none()
}

// workerDies: its unfinished deliveries come again, marked; the finished ones
// do not.
func workerDies(t *testing.T, h Harness) {
	ep := endpoint(t, "ep")
	first := h.Open(t)
	declare(t, first, ep)
	ids := publishAll(t, first, wires(ep, 10))
	in := consume(t, first, ep, 10)
	held := in.take(10)
	acked := map[string]bool{}
	for _, d := range held[:5] {
		ack(t, d)
		acked[d.Wire().ID] = true
	}
	flush(t, first)
	h.Kill(t, first)

	second := h.Open(t)
	defer closeDriver(t, second)
	got := consume(t, second, ep, 10)
	for seen := 0; seen < len(ids)-len(acked); {
		d := got.next()
		ack(t, d)
		if acked[d.Wire().ID] {
			if !d.Redelivered() {
				t.Errorf("%s came again after its ack without the mark", d.Wire().ID)
			}
			continue // a lost ack is allowed
		}
		seen++
		if !d.Redelivered() {
			t.Errorf("%s came again without the mark of a redelivery", d.Wire().ID)
		}
	}
	got.none()
}

// flush gives acknowledgements under way the time of a round trip.
func flush(t *testing.T, d broker.Driver) {
	t.Helper()
	ep := endpoint(t, "flush")
	declare(t, d, ep)
	publish(t, d, wire(ep, 1))
	in := consume(t, d, ep, 1)
	ack(t, in.next())
}

// redeliveredIsKept: the mark stays when the next worker hands the message
// back, since the dead worker may have begun it.
func redeliveredIsKept(t *testing.T, h Harness) {
	ep := endpoint(t, "ep")
	first := h.Open(t)
	declare(t, first, ep)
	publish(t, first, wire(ep, 1))
	consume(t, first, ep, 1).next()
	h.Kill(t, first)

	second := h.Open(t)
	defer closeDriver(t, second)
	defer maintain(t, second, hold)()
	in := consume(t, second, ep, 1)
	for _, handBack := range []func(broker.Delivery) error{
		func(d broker.Delivery) error { return d.Release(within(t)) },
		func(d broker.Delivery) error { return d.Postpone(within(t), time.Now().Add(400*time.Millisecond)) },
		func(d broker.Delivery) error { return d.Ack(within(t)) },
	} {
		d := in.next()
		if !d.Redelivered() {
			t.Error("the mark of a redelivery got lost")
		}
		if err := handBack(d); err != nil {
			t.Fatal(err)
		}
	}
	in.none()
}

// staleEndsHarmNobody: ending a delivery of a dead connection is ErrClosed
// and touches neither the message's new delivery nor its neighbours.
func staleEndsHarmNobody(t *testing.T, h Harness) {
	ep := endpoint(t, "ep")
	first := h.Open(t)
	declare(t, first, ep)
	ids := publishAll(t, first, wires(ep, 6))
	stale := consume(t, first, ep, 10).take(len(ids))
	h.Kill(t, first)

	second := h.Open(t)
	in := consume(t, second, ep, 10)
	in.take(len(ids))
	for i, d := range stale {
		var err error
		switch i % 3 {
		case 0:
			err = d.Ack(within(t))
		case 1:
			err = d.Release(within(t))
		case 2:
			err = d.Postpone(within(t), time.Now())
		}
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("end %d of a dead connection's delivery: %v, want ErrClosed", i%3, err)
		}
	}
	h.Kill(t, second)

	third := h.Open(t)
	defer closeDriver(t, third)
	again := consume(t, third, ep, 10)
	again.collect(ids)
	again.none()
}

// closeWaits: after Close nothing runs any more, nothing more is stored, and
// what was unfinished is delivered to whoever comes next.
func closeWaits(t *testing.T, h Harness) {
	ep := endpoint(t, "ep")
	first := h.Open(t)
	declare(t, first, ep)
	ids := publishAll(t, first, wires(ep, 20))
	in := consume(t, first, ep, 5)
	held := in.take(3)
	ack(t, held[0])
	closeDriver(t, first)
	for len(in.ch) > 0 {
		held = append(held, in.next())
	}
	calls := len(in.ch)
	for _, d := range held[1:] {
		if err := d.Ack(within(t)); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Ack after Close: %v, want ErrClosed", err)
		}
	}
	late := wire(ep, 5000)
	if err := first.Publish(within(t), late); !errors.Is(err, broker.ErrNotStored) {
		t.Errorf("Publish after Close: %v, want ErrNotStored", err)
	}
	if _, err := first.Consume(within(t), ep, 1, in.handle); err == nil {
		t.Error("Consume after Close succeeded")
	}
	if err := first.Ready(within(t)); err == nil {
		t.Error("Ready after Close is nil")
	}
	if err := first.Close(within(t)); err != nil {
		t.Errorf("second Close: %v", err)
	}

	second := h.Open(t)
	defer closeDriver(t, second)
	var rest []string
	for _, id := range ids {
		if id != held[0].Wire().ID {
			rest = append(rest, id)
		}
	}
	again := consume(t, second, ep, 10)
	again.collect(rest)
	again.none()
	if len(in.ch) != calls {
		t.Error("the handler was called after Close")
	}
}

// maintainEnds: with its context, and with its driver.
func maintainEnds(t *testing.T, h Harness) {
	d := h.Open(t)
	maintain(t, d, hold)()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Maintain(context.Background(), hold)
	}()
	closeDriver(t, d)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("Maintain did not end with its driver")
	}
}

// systemOutlivesRestart: system queues are as durable as the others.
func systemOutlivesRestart(t *testing.T, h Harness) {
	first := h.Open(t)
	var ids []string
	for i := range 5 {
		w := systemWire(broker.Parked, i)
		publish(t, first, w)
		ids = append(ids, w.ID)
	}
	consumeSystem(t, first, broker.Parked, 2).take(2)
	h.Kill(t, first)
	second := h.Open(t)
	defer closeDriver(t, second)
	consumeSystem(t, second, broker.Parked, 2).collect(ids)
}

// canariesVanish: those that nobody consumes are in nobody's way, and those of
// a process that ended, with canaries in its hands and on their way, do not
// come to the next.
func canariesVanish(t *testing.T, h Harness) {
	first := h.Open(t)
	publish(t, first, systemWire(broker.CanaryQueue, 1))
	in := consumeSystem(t, first, broker.CanaryQueue, 10)
	publish(t, first, systemWire(broker.CanaryQueue, 2))
	in.take(1)
	h.Kill(t, first)
	second := h.Open(t)
	defer closeDriver(t, second)
	defer maintain(t, second, hold)()
	own := consumeSystem(t, second, broker.CanaryQueue, 10)
	own.none()
	w := systemWire(broker.CanaryQueue, 3)
	publish(t, second, w)
	own.collect([]string{w.ID})
}

// tooManyDeliveries: a message that kills its workers goes to quarantine, and
// neighbours that were not in their hands are delivered as ever.
func tooManyDeliveries(t *testing.T, h Harness) {
	const limit = 3 // of the store that this case gets
	ep, other := endpoint(t, "poison"), endpoint(t, "other")
	d := h.Open(t)
	declare(t, d, ep, other)
	poison := wire(ep, 1)
	publish(t, d, poison)
	publish(t, d, wire(other, 2))
	deaths := 0
	for ; ; deaths++ {
		if deaths > limit+1 {
			t.Fatalf("still delivered after %d deaths, the limit is %d", deaths, limit)
		}
		if !tookAgain(t, d, ep) {
			break
		}
		h.Kill(t, d)
		d = h.Open(t)
	}
	if deaths < limit {
		t.Errorf("given up after %d deaths, the limit is %d", deaths, limit)
	}
	defer func() { closeDriver(t, d) }()
	in := consumeSystem(t, d, broker.Quarantine, 1)
	got := in.next()
	if got.Wire().ID != poison.ID || got.Wire().Meta != poison.Meta || !bytes.Equal(got.Wire().Body, poison.Body) {
		t.Errorf("in quarantine: %+v", got.Wire())
	}
	if !got.Redelivered() {
		t.Error("quarantined without the mark of a redelivery")
	}
	ack(t, got)
	in.none()
	consume(t, d, other, 1).collect([]string{wire(other, 2).ID})
}

// tookAgain reports whether the message is delivered once more, and leaves it
// unfinished. It is not when it is in quarantine, which is looked at without
// taking it out.
func tookAgain(t *testing.T, d broker.Driver, ep task.EndpointID) bool {
	t.Helper()
	work := consume(t, d, ep, 1)
	select {
	case <-work.ch:
		return true
	case <-time.After(2 * time.Second):
		return false
	}
}
