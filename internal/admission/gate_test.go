package admission_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/admission"
)

var small = admission.GateOptions{Limit: 4, Queue: 4, Patience: 500 * time.Millisecond, Haste: 50 * time.Millisecond}

// enter is one request in a goroutine of its own.
func enter(t *testing.T, g *admission.Gate, name string) <-chan bool {
	t.Helper()
	out := make(chan bool, 1)
	go func() { out <- g.Enter(t.Context(), name) }()
	synctest.Wait()
	return out
}

func answered(c <-chan bool) (in, ok bool) {
	select {
	case in = <-c:
		return in, true
	default:
		return false, false
	}
}

func wantIn(t *testing.T, what string, c <-chan bool) {
	t.Helper()
	if in, ok := answered(c); !ok || !in {
		t.Errorf("%s: in %v, answered %v", what, in, ok)
	}
}

func wantRefused(t *testing.T, what string, c <-chan bool) {
	t.Helper()
	if in, ok := answered(c); !ok || in {
		t.Errorf("%s: in %v, answered %v", what, in, ok)
	}
}

func wantWaiting(t *testing.T, what string, c <-chan bool) {
	t.Helper()
	if in, ok := answered(c); ok {
		t.Errorf("%s does not wait: in %v", what, in)
	}
}

func TestGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.NewGate(small)
		var all []<-chan bool
		for range 9 {
			all = append(all, enter(t, g, "a"))
		}
		for _, c := range all[:4] {
			wantIn(t, "one of the first", c)
		}
		for _, c := range all[4:8] {
			wantWaiting(t, "one of the next", c)
		}
		wantRefused(t, "one too many", all[8])
		if !g.Refuses("a") {
			t.Error("does not tell that it refuses")
		}
		g.Leave("a")
		synctest.Wait()
		wantIn(t, "the first that waited", all[4])
		wantWaiting(t, "the second", all[5])
		if g.Refuses("a") {
			t.Error("refuses though one may wait")
		}
		<-time.After(time.Second)
		synctest.Wait()
		for _, c := range all[5:8] {
			wantRefused(t, "one that waited long enough", c)
		}
		if in, waiting := g.Load(); in != 4 || waiting != 0 {
			t.Errorf("%d in, %d waiting", in, waiting)
		}
		for range 4 {
			g.Leave("a")
		}
		if in, waiting := g.Load(); in != 0 || waiting != 0 {
			t.Errorf("at the end %d in, %d waiting", in, waiting)
		}
	})
}

// Who floods has the places and the queue; who asks now and then is let in
// next, and the flood's latest makes room.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.NewGate(small)
		var flood []<-chan bool
		for range 8 {
			flood = append(flood, enter(t, g, "flood"))
		}
		if g.Refuses("calm") || !g.Refuses("flood") {
			t.Error("does not tell whom it refuses")
		}
		calm := enter(t, g, "calm")
		wantWaiting(t, "the calm one", calm)
		wantRefused(t, "the flood's latest", flood[7])
		g.Leave("flood")
		synctest.Wait()
		wantIn(t, "the calm one", calm)
		wantWaiting(t, "the flood's first", flood[4])
		g.Leave("calm")
		synctest.Wait()
		wantIn(t, "the flood's first", flood[4])
	})
}

func TestGateHastensWhenTheQueueStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.NewGate(small)
		for range 4 {
			enter(t, g, "a")
		}
		wait := func() time.Duration {
			begin := time.Now()
			if g.Enter(t.Context(), "a") {
				t.Error("is let in")
			}
			return time.Since(begin)
		}
		if got := wait(); got != small.Patience {
			t.Errorf("a burst waits for %s", got)
		}
		// One waits all the time.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 2 {
			go func() {
				for ctx.Err() == nil {
					g.Enter(ctx, "b")
				}
			}()
			<-time.After(small.Patience / 4)
		}
		<-time.After(small.Patience)
		if got := wait(); got != small.Haste {
			t.Errorf("beside a queue that stands one waits for %s", got)
		}
		// One that has nothing else here is not hurried for others' sake.
		begin := time.Now()
		if g.Enter(t.Context(), "calm") || time.Since(begin) != small.Patience {
			t.Errorf("a calm one waits for %s", time.Since(begin))
		}
	})
}

func TestGateForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.NewGate(small)
		for range 4 {
			enter(t, g, "a")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { done <- g.Enter(ctx, "b") }()
		synctest.Wait()
		cancel()
		if <-done {
			t.Error("let in")
		}
		if _, waiting := g.Load(); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
	})
}

// Whatever comes, no more than the limit are in, no more than the queue wait,
// and at the end all are gone.
func TestGateModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		callers := rapid.IntRange(1, 5).Draw(rt, "callers")
		n := rapid.IntRange(1, 60).Draw(rt, "requests")
		hold := time.Duration(rapid.IntRange(0, 200).Draw(rt, "hold ms")) * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			g := admission.NewGate(small)
			var in, most atomic.Int64
			var wg sync.WaitGroup
			for i := range n {
				name := string(rune('a' + i%callers))
				wg.Go(func() {
					if !g.Enter(t.Context(), name) {
						return
					}
					if now := in.Add(1); now > most.Load() {
						most.Store(now)
					}
					<-time.After(hold)
					in.Add(-1)
					g.Leave(name)
				})
				if i%7 == 0 {
					synctest.Wait()
					if _, waiting := g.Load(); waiting > small.Queue {
						t.Errorf("%d wait", waiting)
					}
				}
			}
			wg.Wait()
			if most.Load() > int64(small.Limit) {
				t.Errorf("%d were in", most.Load())
			}
			if a, b := g.Load(); a != 0 || b != 0 {
				t.Errorf("%d in, %d wait at the end", a, b)
			}
		})
	})
}

func TestBudget(t *testing.T) {
	b := admission.NewBudget(8)
	steps := []struct {
		by string
		n  int64
		ok bool
	}{
		{"a", 4, true},
		{"a", 2, true},
		{"a", 1, false}, // three quarters are its
		{"b", 3, false}, // there are two
		{"b", 2, true},
		{"c", 1, false},
		{"a", -4, true},
		{"b", 4, true},
		{"c", 1, false},
	}
	for i, s := range steps {
		if s.n < 0 {
			b.Give(s.by, -s.n)
			continue
		}
		if got := b.Take(s.by, s.n); got != s.ok {
			t.Errorf("step %d: %v", i, got)
		}
	}
	b.Give("a", 2)
	b.Give("b", 6)
	if held, limit := b.Held(); held != 0 || limit != 8 {
		t.Errorf("%d of %d", held, limit)
	}
	if !admission.NewBudget(8).Take("alone", 8) {
		t.Error("one thing that takes all is refused when there is nothing else")
	}
}
