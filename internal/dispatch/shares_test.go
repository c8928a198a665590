package dispatch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// fakeQuotas parts each limit evenly among the owners that live, and holds
// what they say they hold.
type fakeQuotas struct {
	mu    sync.Mutex
	away  bool
	calls int
	held  map[string]map[string]int // by quota and owner
	till  map[string]time.Time      // by owner
}

func quotasOf() *fakeQuotas {
	return &fakeQuotas{held: map[string]map[string]int{}, till: map[string]time.Time{}}
}

func (q *fakeQuotas) Grant(_ context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	if q.away {
		return nil, errFake
	}
	q.till[owner] = time.Now().Add(ttl)
	out := make([]int, len(asks))
	for i, a := range asks {
		if q.held[a.Name] == nil {
			q.held[a.Name] = map[string]int{}
		}
		held := q.held[a.Name]
		held[owner] = 0
		others := 0
		for o, n := range held {
			if !time.Now().Before(q.till[o]) {
				delete(held, o)
			}
			others += n
		}
		first := slices.Min(slices.Collect(maps.Keys(held))) == owner
		share := a.Limit / len(held)
		if first {
			share = a.Limit - share*(len(held)-1)
		}
		out[i] = max(0, min(a.Want, share, a.Limit-others))
		held[owner] = max(out[i], a.Held)
		if held[owner] == 0 && a.Want == 0 {
			delete(held, owner)
		}
	}
	return out, nil
}

func (q *fakeQuotas) holders(ep task.Endpoint) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.held[string(ep.ID())])
}

func (q *fakeQuotas) leave(away bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.away = away
}

// handler counts what runs at once, over all dispatchers that it is given to.
type crowd struct {
	mu        sync.Mutex
	now, most int
	takes     time.Duration
}

func (c *crowd) send(ctx context.Context, _ *Request) *Answer {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	if !pause(ctx, c.takes) {
		return &Answer{Reason: classify(ctx.Err(), context.Cause(ctx), nil), Sent: true}
	}
	return &Answer{Status: 200}
}

// running is how many run now; since what ran most since the last look.
func (c *crowd) running() (now, most int) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	most, c.most = c.most, c.now
	return c.now, most
}

func limitedTo(n int) task.Endpoint {
	ep := endpoint("a", "http://a")
	ep.MaxConcurrency = n
	return ep
}

// sharing makes a dispatcher that shares its limits.
func sharing(t *testing.T, q *fakeQuotas, owner string, c *crowd, ep task.Endpoint) *world {
	t.Helper()
	w := newWorld(t, PoolOptions{Total: 64}, c.send, ep)
	w.d.shares.quotas, w.d.shares.owner = q, owner
	return w
}

func (w *world) fill(ep task.Endpoint, from, n int) {
	for i := range n {
		w.put(ep, from+i)
	}
}

func TestLimitHoldsOverAllDispatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, q, c := limitedTo(5), quotasOf(), &crowd{takes: 500 * time.Millisecond}
		a, b := sharing(t, q, "a", c, ep), sharing(t, q, "b", c, ep)
		a.fill(ep, 0, 400)
		b.fill(ep, 1000, 400)
		a.start(t)
		if now, _ := c.running(); now != 5 || a.s.prefetch[string(ep.ID())] != 5 {
			t.Errorf("alone: %d run, prefetch %d", now, a.s.prefetch[string(ep.ID())])
		}
		b.start(t)
		<-time.After(4 * renewEvery)
		c.running()
		<-time.After(time.Minute / 4)
		if now, most := c.running(); now != 5 || most > 5 || a.s.prefetch[string(ep.ID())] != 3 || b.s.prefetch[string(ep.ID())] != 2 {
			t.Errorf("together: %d run, %d at most; prefetches %v %v", now, most, a.s.prefetch, b.s.prefetch)
		}
		if calls := q.calls; calls > 40 {
			t.Errorf("%d calls of the store for %d attempts", calls, len(a.e.outcomes())+len(b.e.outcomes()))
		}
		a.stop(t)
		<-time.After(2 * renewEvery)
		if now, most := c.running(); now != 5 || most > 5 || q.holders(ep) != 1 {
			t.Errorf("one left: %d run, %d at most, %d hold a part", now, most, q.holders(ep))
		}
		b.stop(t)
		if q.holders(ep) != 0 {
			t.Error("a part is held after the stop")
		}
	})
}

func TestLimitChangesWithoutRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, c := limitedTo(0), &crowd{takes: time.Second}
		w := sharing(t, quotasOf(), "a", c, ep)
		w.fill(ep, 0, 1000)
		w.start(t)
		if now, _ := c.running(); now != 16 {
			t.Fatalf("without a limit %d run", now)
		}
		limit := func(n int) {
			w.eps.change(func() { w.eps.eps[ep.ID()].MaxConcurrency = n })
			if now, most := c.running(); now > max(n, most) {
				t.Errorf("limit %d: %d run at once", n, now)
			}
			<-time.After(3 * time.Second)
			c.running()
			<-time.After(3 * time.Second)
		}
		for _, n := range []int{4, 1, 9} {
			limit(n)
			if now, most := c.running(); now != n || most > n {
				t.Errorf("limit %d: %d run, %d at most", n, now, most)
			}
		}
		limit(0)
		if now, _ := c.running(); now != 16 {
			t.Errorf("the limit is gone: %d run", now)
		}
		for _, o := range w.e.outcomes() {
			if o.Kind != task.KindSuccess {
				t.Fatalf("an attempt was interrupted: %+v", o)
			}
		}
		w.stop(t)
	})
}

// The store goes away: the last part stays, a lower limit holds, and a limit
// that nobody has a part of yet lets nothing run.
func TestLimitWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, q, c := limitedTo(6), quotasOf(), &crowd{takes: time.Second}
		w := sharing(t, q, "a", c, ep)
		w.fill(ep, 0, 1000)
		w.start(t)
		c.running()
		q.leave(true)
		<-time.After(time.Minute)
		if now, most := c.running(); now != 6 || most > 6 {
			t.Errorf("away: %d run, %d at most", now, most)
		}
		w.eps.change(func() { w.eps.eps[ep.ID()].MaxConcurrency = 2 })
		<-time.After(2 * time.Second)
		c.running()
		<-time.After(2 * time.Second)
		if now, most := c.running(); now != 2 || most > 2 {
			t.Errorf("away, lowered: %d run, %d at most", now, most)
		}
		w.eps.change(func() { w.eps.eps[ep.ID()].MaxConcurrency = 0 })
		<-time.After(2 * time.Second)
		w.eps.change(func() { w.eps.eps[ep.ID()].MaxConcurrency = 3 })
		<-time.After(time.Minute)
		if now, _ := c.running(); now != 0 || w.s.consuming(string(ep.ID())) {
			t.Errorf("no part is known: %d run", now)
		}
		q.leave(false)
		<-time.After(renewEvery + time.Second)
		if now, _ := c.running(); now != 3 {
			t.Errorf("back: %d run", now)
		}
		w.stop(t)
	})
}

func TestPausedAndDrainedGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, q, c := limitedTo(4), quotasOf(), &crowd{takes: 10 * time.Second}
		w := sharing(t, q, "a", c, ep)
		w.d.grace = time.Minute
		w.fill(ep, 0, 20)
		w.start(t)
		c.running()
		w.eps.pause(ep.ID(), true)
		<-time.After(3 * renewEvery)
		q.mu.Lock()
		held := q.held[string(ep.ID())]["a"]
		q.mu.Unlock()
		if now, _ := c.running(); now != 4 || held != 4 {
			t.Errorf("paused: %d run, %d held", now, held)
		}
		<-time.After(3*renewEvery + time.Second)
		w.d.shares.mu.Lock()
		parts := len(w.d.shares.parts)
		w.d.shares.mu.Unlock()
		if q.holders(ep) != 0 || parts != 0 {
			t.Errorf("paused and idle, and a part is held: %v", q.held)
		}
		w.eps.pause(ep.ID(), false)
		<-time.After(time.Second)
		if now, most := c.running(); now != 4 || most > 4 {
			t.Errorf("resumed: %d run, %d at most", now, most)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- w.d.Stop(t.Context()) }()
		<-time.After(2 * shareTTL / 3)
		q.mu.Lock()
		held = q.held[string(ep.ID())]["a"]
		q.mu.Unlock()
		if held != 4 {
			t.Errorf("draining: %d held", held)
		}
		if err := <-stopped; err != nil || q.holders(ep) != 0 {
			t.Errorf("stopped: %v, %v", err, q.held)
		}
	})
}

// A quarantined message counts, too; without a slot its own queue gets it.
func TestQuarantineObeysTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, c := limitedTo(2), &crowd{takes: 30 * time.Second}
		w := sharing(t, quotasOf(), "a", c, ep)
		w.fill(ep, 0, 1)
		w.start(t)
		c.running()
		first, second := deliveryOf(message(100, "a")), deliveryOf(message(101, "a"))
		w.s.put("quarantine", first)
		c.running()
		w.s.put("quarantine", second)
		<-time.After(quarantineTimeout - time.Second)
		if now, most := c.running(); now != 2 || most > 2 {
			t.Errorf("%d run, %d at most", now, most)
		}
		w.eps.change(func() { w.eps.eps[ep.ID()].MaxConcurrency = 1 })
		<-time.After(time.Minute)
		first.want(t, "ack")
		second.want(t, "postpone")
		w.stop(t)
	})
}
