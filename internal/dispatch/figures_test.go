package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// fakeTallies adds up what it is told.
type fakeTallies struct {
	mu    sync.Mutex
	away  bool
	calls int
	told  map[task.EndpointID]task.Tally
}

func (f *fakeTallies) Tally(_ context.Context, _ string, _ time.Time, ts []task.EndpointTally, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.away {
		return errFake
	}
	if f.told == nil {
		f.told = make(map[task.EndpointID]task.Tally)
	}
	for _, t := range ts {
		sum := f.told[t.Endpoint]
		sum.Succeeded += t.Succeeded
		sum.InFlight = t.InFlight
		for i, n := range t.Took {
			sum.Took[i] += n
		}
		f.told[t.Endpoint] = sum
	}
	return nil
}

func (f *fakeTallies) of(ep task.Endpoint) (task.Tally, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told[ep.ID()], f.calls
}

func (m *meter) remembered() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.gauges)
}

func TestFiguresAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, store := endpoint("a", "http://a"), &fakeTallies{}
		var status atomic.Int64
		status.Store(200)
		w := newWorld(t, PoolOptions{}, func(ctx context.Context, _ *Request) *Answer {
			begun := time.Now()
			if !pause(ctx, 2500*time.Millisecond) {
				return &Answer{Reason: task.ReasonShutdown, Sent: true}
			}
			return &Answer{Status: int(status.Load()), Took: time.Since(begun)}
		}, ep)
		w.d.meter.store = store
		w.start(t)
		w.fill(ep, 0, 3)
		<-time.After(1500 * time.Millisecond)
		if got, _ := store.of(ep); got.InFlight != 3 || got.Took.Total() != 0 {
			t.Errorf("running: %d in flight, %d counted", got.InFlight, got.Took.Total())
		}
		<-time.After(2 * time.Second)
		status.Store(500)
		w.fill(ep, 10, 1)
		<-time.After(4 * time.Second)
		got, calls := store.of(ep)
		if p50 := got.Took.Quantile(0.5); got.InFlight != 0 || got.Succeeded != 3 || got.Took.Total() != 4 ||
			p50 < 2300*time.Millisecond || p50 > 2700*time.Millisecond {
			t.Errorf("ended: %d in flight, %d of %d succeeded, p50 %s", got.InFlight, got.Succeeded, got.Took.Total(), p50)
		}
		<-time.After(2 * meterIdle)
		if _, idle := store.of(ep); idle != calls || w.d.meter.remembered() != 0 {
			t.Errorf("idle: %d calls, %d endpoints remembered", idle-calls, w.d.meter.remembered())
		}

		// What the stop interrupts is no longer in flight, and nobody's failure.
		w.fill(ep, 20, 2)
		<-time.After(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = w.d.Stop(ctx)
		if got, _ = store.of(ep); got.InFlight != 0 || got.Took.Total() != 4 {
			t.Errorf("stopped: %d in flight, %d counted", got.InFlight, got.Took.Total())
		}
	})
}

// A level that does not change is said again before it is over; a store that
// is away costs nothing but figures.
func TestFiguresLevelAndOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeTallies{}
		m := newMeter(store, "me", slog.New(slog.DiscardHandler), time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.run(ctx) }()
		a := endpoint("a", "http://a")
		m.Begun(&a, 0)
		<-time.After(30 * time.Second)
		if _, calls := store.of(a); calls < 9 || calls > 12 {
			t.Errorf("%d calls in 30 s for a level that stays", calls)
		}
		store.mu.Lock()
		store.away = true
		store.mu.Unlock()
		m.Ended(&a, task.Outcome{Kind: task.KindSuccess, Took: time.Second}, task.Decision{}, true)
		<-time.After(2 * time.Second)
		store.mu.Lock()
		store.away = false
		store.mu.Unlock()
		m.Begun(&a, 0)
		m.Ended(&a, task.Outcome{Kind: task.KindRetry, Took: time.Second}, task.Decision{}, false)
		cancel()
		<-done
		if got, _ := store.of(a); got.InFlight != 0 || got.Took.Total() != 1 || got.Succeeded != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestMeterAllocatesNothing(t *testing.T) {
	m := newMeter(nil, "me", slog.New(slog.DiscardHandler), time.Now)
	a := endpoint("a", "http://a")
	m.Begun(&a, 0)
	n := testing.AllocsPerRun(100, func() {
		m.Begun(&a, 0)
		m.Ended(&a, task.Outcome{Kind: task.KindSuccess, Took: time.Second}, task.Decision{}, true)
	})
	if n != 0 {
		t.Errorf("%g allocations for an attempt", n)
	}
}
