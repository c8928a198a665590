package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
)

// delays is a driver of canaries whose delays can stall.
type delays struct {
	broker.Driver

	mu      sync.Mutex
	h       broker.Handler
	refuse  int // subscriptions, first
	away    bool
	stalled map[time.Duration]bool
	sent    map[time.Duration]int
	waiting []broker.Wire
	acks    int
}

func (d *delays) ConsumeSystem(_ context.Context, q broker.System, _ int, h broker.Handler) (broker.Consumer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse--; d.refuse >= 0 || q != broker.CanaryQueue {
		return nil, errors.New("no such queue")
	}
	d.h = h
	return d, nil
}

func (d *delays) Stop(context.Context) error { return nil }

func (d *delays) Publish(_ context.Context, w broker.Wire) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delay := time.Until(w.ETA).Truncate(50 * time.Millisecond)
	d.sent[delay]++
	if d.away {
		return broker.ErrNotStored
	}
	if d.stalled[delay] {
		d.waiting = append(d.waiting, w)
		return nil
	}
	time.AfterFunc(time.Until(w.ETA), func() { d.h(canary{d: d, w: w}) })
	return nil
}

func (d *delays) stall(delay time.Duration, stalled bool) {
	d.mu.Lock()
	d.stalled[delay] = stalled
	waiting := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	for _, w := range waiting {
		d.h(canary{d: d, w: w})
	}
}

type canary struct {
	broker.Delivery
	d *delays
	w broker.Wire
}

func (c canary) Wire() broker.Wire { return c.w }
func (c canary) Ack(context.Context) error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.acks++
	return nil
}

func (d *delays) Close(context.Context) error { return nil }

func TestCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &delays{refuse: 2, stalled: map[time.Duration]bool{}, sent: map[time.Duration]int{}}
		q := broker.New(d)
		defer func() { _ = q.Close(t.Context()) }()
		c := broker.NewCanary(q, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		rung := func(i int) broker.CanaryState { return c.States()[i] }

		<-time.After(5 * time.Minute)
		synctest.Wait()
		for i, s := range c.States() {
			if s.Delay != broker.CanaryDelays()[i] || s.Stalled() || s.Late > 5*time.Millisecond || s.Arrived < 20 {
				t.Errorf("%+v", s)
			}
		}
		// Somebody else's, and what is no canary, change nothing.
		before := rung(0).Arrived
		for _, mark := range []string{"", "x 0 1", "a b c d"} {
			d.h(canary{d: d, w: broker.Wire{Meta: mark}})
		}
		if rung(0).Arrived != before {
			t.Error("took another's canary for its own")
		}

		eight := broker.CanaryDelays()[2]
		d.stall(eight, true)
		<-time.After(20 * time.Second)
		if s := rung(2); s.Stalled() {
			t.Errorf("too early: %+v", s)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if s := rung(2); !s.Stalled() || s.Late < time.Hour-time.Minute {
			t.Errorf("stalled: %+v", s)
		}
		for _, i := range []int{0, 1, 3} {
			if s := rung(i); s.Stalled() {
				t.Errorf("not stalled: %+v", s)
			}
		}
		d.mu.Lock()
		n := len(d.waiting)
		d.mu.Unlock()
		if n > 70 {
			t.Errorf("%d pile up in an hour", n)
		}
		d.stall(eight, false)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if s := rung(2); s.Stalled() {
			t.Errorf("it moves again: %+v", s)
		}

		// A broker that takes nothing is another trouble.
		d.mu.Lock()
		d.away = true
		d.mu.Unlock()
		<-time.After(10 * time.Minute)
		for _, s := range c.States() {
			if s.Stalled() {
				t.Errorf("the broker is away: %+v", s)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
