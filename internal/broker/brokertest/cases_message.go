package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/broker"
)

// bytesComeBack: Meta and Body come back byte for byte.
func (s *suite) bytesComeBack(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	meta := rapid.SliceOfN(rapid.ByteRange(' ', '~'), 0, 256)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		w := wire(ep, n)
		w.Meta = string(meta.Draw(rt, "meta"))
		w.Body = rapid.SliceOfN(rapid.Byte(), 0, 4096).Draw(rt, "body")
		publish(t, s.driver, w)
		got := in.next()
		ack(t, got)
		same(t, got.Wire(), w)
	})
}

// bigBodies: up to what the API may be configured to take.
func (s *suite) bigBodies(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 1)
	for i, size := range []int{1<<20 + 1, 4 << 20, 0} {
		w := wire(ep, i)
		w.Body = bytes.Repeat([]byte{0, 255, '\n', '"', byte(i)}, size/5)
		publish(t, s.driver, w)
		got := in.next()
		same(t, got.Wire(), w)
		ack(t, got)
	}
}

// wireComesBack: a worker sees where a message was sent and when it was due.
func (s *suite) wireComesBack(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	w := wire(ep, 1)
	w.ETA = time.Now().Add(50 * time.Millisecond)
	publish(t, s.driver, w)
	got := in.next()
	ack(t, got)
	same(t, got.Wire(), w)
	if got.Wire().Endpoint != ep {
		t.Errorf("Endpoint = %q, want %q", got.Wire().Endpoint, ep)
	}
	if off := got.Wire().ETA.Sub(w.ETA); off < 0 || off > 2*time.Millisecond {
		t.Errorf("ETA came back %v off; later by at most 2 ms is allowed", off)
	}
}

// manyInFlight: any number of publishes at once, none lost, none doubled.
func (s *suite) manyInFlight(t *testing.T) {
	const n = 2000
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	begin := time.Now()
	ids := publishAll(t, s.driver, wires(ep, n))
	took := time.Since(begin)
	t.Logf("%d publishes at once: %v, %.0f/s", n, took.Round(time.Millisecond), n/took.Seconds())
	in := consume(t, s.driver, ep, 500)
	in.collect(ids)
	in.none()
}

// postpone: the same message again, once, not before its new time.
func (s *suite) postpone(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	w := wire(ep, 1)
	publish(t, s.driver, w)
	for _, wait := range []time.Duration{5 * time.Millisecond, 120 * time.Millisecond, 800 * time.Millisecond} {
		d := in.next()
		eta := time.Now().Add(wait)
		if err := d.Postpone(within(t), eta); err != nil {
			t.Fatalf("Postpone: %v", err)
		}
		again := in.next()
		same(t, again.Wire(), w)
		if again.at.Before(eta) {
			t.Errorf("postponed by %v, came %v early", wait, eta.Sub(again.at))
		}
		if err := again.Release(within(t)); err != nil {
			t.Fatalf("Release: %v", err)
		}
	}
	ack(t, in.next())
	in.none()
}

// doubt: a message in doubt comes again with the mark of a redelivery, by
// whichever way it goes back, and keeps it.
func (s *suite) doubt(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	for _, handBack := range []func(broker.Delivery) error{
		func(d broker.Delivery) error { return d.Release(within(t)) },
		func(d broker.Delivery) error { return d.Postpone(within(t), time.Now().Add(50*time.Millisecond)) },
	} {
		publish(t, s.driver, wire(ep, 1))
		first := in.next()
		if first.Redelivered() {
			t.Error("a first delivery is marked as a redelivery")
		}
		first.Doubt()
		if err := handBack(first); err != nil {
			t.Fatal(err)
		}
		again := in.next()
		if !again.Redelivered() {
			t.Error("the doubt got lost")
		}
		if err := again.Release(within(t)); err != nil {
			t.Fatal(err)
		}
		if again = in.next(); !again.Redelivered() {
			t.Error("the doubt got lost when the next worker gave it back")
		}
		ack(t, again)
	}
	in.none()
}

// postponeIntoThePast: a time that has passed means now.
func (s *suite) postponeIntoThePast(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 10)
	w := wire(ep, 1)
	w.ETA = time.Now().Add(-time.Hour)
	publish(t, s.driver, w)
	if err := in.next().Postpone(within(t), time.Now().Add(-time.Minute)); err != nil {
		t.Fatalf("Postpone: %v", err)
	}
	ack(t, in.next())
	in.none()
}

// Many more times than a message may fail, with neighbours at hand.
const often = 120

// postponeOften: postponing is no failed delivery.
func (s *suite) postponeOften(t *testing.T) {
	s.handBackOften(t, func(d broker.Delivery) error {
		return d.Postpone(within(t), time.Now().Add(time.Millisecond))
	})
}

// releaseOften: neither is giving back.
func (s *suite) releaseOften(t *testing.T) {
	s.handBackOften(t, func(d broker.Delivery) error { return d.Release(within(t)) })
}

func (s *suite) handBackOften(t *testing.T, handBack func(broker.Delivery) error) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	in := consume(t, s.driver, ep, 2)
	ids := publishAll(t, s.driver, wires(ep, 2))
	for range often * len(ids) {
		if err := handBack(in.next()); err != nil {
			t.Fatal(err)
		}
	}
	in.collect(ids)
	in.none()
}

// publishCancelled: an ended context publishes nothing or is not sure.
func (s *suite) publishCancelled(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	notStored := map[string]bool{}
	for _, w := range wires(ep, 50) {
		err := s.driver.Publish(ctx, w)
		publishError(t, err)
		notStored[w.ID] = errors.Is(err, broker.ErrNotStored)
	}
	last := wire(ep, 9999)
	publish(t, s.driver, last)
	in := consume(t, s.driver, ep, 10)
	for {
		d := in.next()
		ack(t, d)
		if notStored[d.Wire().ID] {
			t.Errorf("%s was surely not stored, and is delivered", d.Wire().ID)
		}
		if d.Wire().ID == last.ID {
			return
		}
	}
}

// publishDeadline: Publish returns by its context's end.
func (s *suite) publishDeadline(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	const slack = time.Second // of a busy machine, not of the driver
	for i := range 40 {
		limit := time.Duration(i) * 100 * time.Microsecond
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		begin := time.Now()
		err := s.driver.Publish(ctx, wire(ep, i))
		cancel()
		if over := time.Since(begin) - limit; over > slack {
			t.Errorf("Publish returned %v after its deadline", over)
		}
		if err != nil {
			publishError(t, err)
		}
	}
}

// publishError checks the promise about errors: exactly one of the two.
func publishError(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, broker.ErrNotStored) == errors.Is(err, broker.ErrUnknown) {
		t.Errorf("Publish: %v; want exactly one of ErrNotStored and ErrUnknown in it", err)
	}
}

// same compares what travels.
func same(t *testing.T, got, want broker.Wire) {
	t.Helper()
	if got.ID != want.ID {
		t.Errorf("ID = %q, want %q", got.ID, want.ID)
	}
	if got.Meta != want.Meta {
		t.Errorf("Meta = %q, want %q", got.Meta, want.Meta)
	}
	if !bytes.Equal(got.Body, want.Body) {
		t.Errorf("Body of %d bytes came back as %d bytes, or changed", len(want.Body), len(got.Body))
	}
	if got.System != want.System {
		t.Errorf("System = %q, want %q", got.System, want.System)
	}
}

// canaries: they come back as they were sent, when they are due.
func (s *suite) canaries(t *testing.T) {
	in := consumeSystem(t, s.driver, broker.CanaryQueue, 10)
	w := systemWire(broker.CanaryQueue, 1)
	w.ETA, w.Meta = time.Now().Add(500*time.Millisecond), "mark"
	publish(t, s.driver, w)
	for { // those of the other cases are here, too
		got := in.next()
		if wire := got.Wire(); wire.ID == w.ID {
			if wire.System != broker.CanaryQueue || wire.Meta != "mark" || got.at.Before(w.ETA.Truncate(time.Millisecond)) {
				t.Errorf("%+v at %s, due %s", wire, got.at, w.ETA)
			}
			ack(t, got.Delivery)
			return
		}
		ack(t, got.Delivery)
	}
}

// systemQueues: each takes and gives, without being declared, and what its
// worker hands back returns to it.
func (s *suite) systemQueues(t *testing.T) {
	for _, q := range []broker.System{broker.Parked, broker.Quarantine, broker.Dead} {
		in := consumeSystem(t, s.driver, q, 5)
		var ids []string
		for i := range 10 {
			w := systemWire(q, i)
			publish(t, s.driver, w)
			ids = append(ids, w.ID)
		}
		in.collect(ids)
		s.systemHandBack(t, q, in)
		in.none()
		in.stop()
	}
}

func (s *suite) systemHandBack(t *testing.T, q broker.System, in *inbox) {
	t.Helper()
	w := systemWire(q, 99)
	publish(t, s.driver, w)
	first := in.next()
	same(t, first.Wire(), w)
	eta := time.Now().Add(300 * time.Millisecond)
	if err := first.Postpone(within(t), eta); err != nil {
		t.Fatalf("%s: Postpone: %v", q, err)
	}
	second := in.next()
	same(t, second.Wire(), w)
	if second.at.Before(eta) {
		t.Errorf("%s: postponed message came %v early", q, eta.Sub(second.at))
	}
	if err := second.Release(within(t)); err != nil {
		t.Fatalf("%s: Release: %v", q, err)
	}
	third := in.next()
	same(t, third.Wire(), w)
	ack(t, third)
}

func systemWire(q broker.System, i int) broker.Wire {
	return broker.Wire{ID: fmt.Sprint(q, i), System: q, Meta: "m", Body: []byte{byte(i)}}
}
