package dispatch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func builtin() task.Endpoint { return *(&task.Project{Name: "default"}).Callbacks() }

// comesBack is a delivery that a queue delivers again when it was postponed.
type comesBack struct {
	*fakeDelivery
	w         *world
	name      string
	postponed *int
	mu        *sync.Mutex
}

func (c *comesBack) Postpone(_ context.Context, at time.Time) error {
	c.mu.Lock()
	*c.postponed++
	c.mu.Unlock()
	time.AfterFunc(time.Until(at), func() { c.w.putAny(c.name, c) })
	return nil
}

func (w *world) putAny(name string, d Delivery) {
	w.s.mu.Lock()
	c := w.s.consumers[name]
	w.s.mu.Unlock()
	c.deliver(d)
}

// callback is a delivery to a URL of its own.
func (w *world) callback(ep task.Endpoint, n int, url string) *fakeDelivery {
	m := message(n, ep.Name)
	m.CallbackOf, m.URL = "x", url
	d := deliveryOf(m)
	w.s.put(string(ep.ID()), d)
	return d
}

// byHost answers at once but for the hosts that hang, and counts what runs.
func byHost(mu *sync.Mutex, runs map[string]int, most map[string]int, hangs func(host string) bool) sendFunc {
	hang := hanging(nil)
	return func(ctx context.Context, r *Request) *Answer {
		host := hostOf(r.url())
		mu.Lock()
		runs[host]++
		most[host] = max(most[host], runs[host])
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			runs[host]--
		}()
		if hangs(host) {
			return hang(ctx, r)
		}
		return &Answer{Status: 200, Sent: true}
	}
}

// hostMost is what a lone host has of the usual places.
const hostMost = 8

// A receiver that hangs has its few places; what else there is for it comes
// again later, and another receiver of the project is not delayed.
func TestHangingReceiverDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := builtin()
		var mu sync.Mutex
		runs, most := map[string]int{}, map[string]int{}
		w := newWorld(t, PoolOptions{}, byHost(&mu, runs, most, func(h string) bool { return h == "slow.example" }), ep)
		w.start(t)
		synctest.Wait()
		var slow []*fakeDelivery
		for i := range 200 {
			slow = append(slow, w.callback(ep, i, "http://slow.example/hook"))
		}
		synctest.Wait()
		begin := time.Now()
		for i := range 100 {
			d := w.callback(ep, 1000+i, "http://FAST.example/hook")
			<-d.ended
			d.want(t, "ack")
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the fast one took %s", took)
		}
		later := 0
		for i, d := range slow {
			d.mu.Lock()
			if len(d.ends) == 1 && d.ends[0] == "postpone" {
				later++
				if wait := d.at.Sub(begin); wait < hostSoonest || wait > hostLatest*5/4 {
					t.Errorf("delivery %d comes again in %s", i, wait)
				}
			}
			d.mu.Unlock()
		}
		mu.Lock()
		if most["slow.example"] != hostMost || later != len(slow)-hostMost || most["fast.example"] != 1 {
			t.Errorf("%v ran at once, %d of %d come later", most, later, len(slow))
		}
		mu.Unlock()
		w.stop(t)
	})
}

// Many receivers that hang leave places for one that does not.
func TestManyHangingReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(64)
		now := time.Now()
		inHand := 0
		enter := func(host string) bool {
			_, ok := h.enter(laneKey{"ep", host}, now)
			if ok {
				inHand++
			}
			return ok
		}
		for i := range 15 {
			for range 20 {
				enter(fmt.Sprint("bad", i))
			}
		}
		if !enter("good") || inHand > 64 {
			t.Fatalf("%d in hand of 15 bad hosts", inHand)
		}
	})
}

// What a fast receiver cannot take at once is all delivered, soon, and is not
// moved around much.
func TestBurstForOneReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := builtin()
		takes := 10 * time.Millisecond
		w := newWorld(t, PoolOptions{}, func(context.Context, *Request) *Answer {
			<-time.After(takes)
			return &Answer{Status: 200, Sent: true}
		}, ep)
		w.start(t)
		synctest.Wait()
		const n = 2000
		var mu sync.Mutex
		moved := 0
		begin := time.Now()
		all := make([]*fakeDelivery, n)
		for i := range all {
			m := message(i, ep.Name)
			m.URL = "http://fast.example/"
			all[i] = deliveryOf(m)
			w.putAny(string(ep.ID()), &comesBack{all[i], w, string(ep.ID()), &moved, &mu})
			<-time.After(time.Millisecond) // as a broker hands them out
		}
		for _, d := range all {
			<-d.ended
			d.want(t, "ack")
		}
		best := n * takes / hostMost
		if took := time.Since(begin); took > 4*best+2*hostSoonest {
			t.Errorf("it took %s; %s would be the best", took, best)
		}
		if moved > 2*n {
			t.Errorf("%d moves of %d deliveries", moved, n)
		}
		w.stop(t)
	})
}

// What was sent away comes in the order of places, not at once, and not after
// more than a while.
func TestHostSpreadsWhatItSendsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(64)
		key := laneKey{"ep", "slow"}
		for range hostMost {
			h.enter(key, time.Now())
		}
		<-time.After(15 * time.Second)
		for range hostMost {
			h.leave(key, 15*time.Second, time.Now())
			h.enter(key, time.Now())
		}
		var last time.Duration
		for range 1000 {
			wait, ok := h.enter(key, time.Now())
			if ok || wait < hostSoonest || wait > hostLatest*5/4 {
				t.Fatalf("%v, again in %s", ok, wait)
			}
			last = wait
		}
		if last < hostLatest {
			t.Errorf("the thousandth comes again in %s", last)
		}
		<-time.After(2 * hostLatest)
		for range hostMost {
			h.leave(key, time.Millisecond, time.Now())
		}
		if len(h.byKey) != 0 || len(h.inHand) != 0 {
			t.Errorf("left over: %v, %v", h.byKey, h.inHand)
		}
	})
}

func TestHostsAreForgotten(t *testing.T) {
	h := newHosts(64)
	now := time.Now()
	for i := range 3 * hostsKept {
		key := laneKey{"ep", fmt.Sprint(i)}
		if _, ok := h.enter(key, now); !ok {
			t.Fatal("no place")
		}
		for range hostMost {
			h.enter(key, now)
		}
		now = now.Add(time.Second)
		for h.byKey[key].inHand > 1 {
			h.leave(key, time.Second, now)
		}
		h.leave(key, time.Second, now)
	}
	if len(h.byKey) > hostsKept+1 {
		t.Errorf("%d hosts are kept", len(h.byKey))
	}
}

// The hosts of one endpoint take its share, not those of other endpoints.
func TestPoolHostsShareAsOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(PoolOptions{Total: 40, PerEndpoint: 20})
		take := func(host string) {
			go func() { _, _ = p.AcquireHost(ctx, "callbacks", host, 1) }()
			synctest.Wait()
		}
		for i := range 6 {
			for range 8 {
				take(fmt.Sprint("host", i))
			}
		}
		p.mu.Lock()
		first, all := p.lanes[laneKey{"callbacks", "host0"}].inUse, p.uses["callbacks"].inUse
		p.mu.Unlock()
		if first != 8 || all < 20 || all > 20+4*guaranteed {
			t.Errorf("%d run for the first host, %d for all", first, all)
		}
		for i := range 6 {
			p.mu.Lock()
			if n := p.lanes[laneKey{"callbacks", fmt.Sprint("host", i)}].inUse; n < guaranteed {
				t.Errorf("host %d has %d", i, n)
			}
			p.mu.Unlock()
		}
		var other []func() *Slot
		for range 20 {
			other = append(other, waiting(ctx, p, "other", 1))
		}
		if n := granted(other); n < 40-all {
			t.Errorf("another endpoint has %d of 40, the callbacks %d", n, all)
		}
		cancel()
		synctest.Wait()
	})
}

// A built-in endpoint has no URL: its tasks bring theirs. One receiver that
// is gone says nothing of the others.
func TestCallbackReceiverThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := builtin()
		var urls []string
		w := newWorld(t, PoolOptions{}, func(_ context.Context, r *Request) *Answer {
			urls = append(urls, r.url())
			return &Answer{Status: 410, Sent: true}
		}, ep)
		w.start(t)
		d := w.callback(ep, 1, "http://a.example/?x")
		<-d.ended
		d.want(t, "ack")
		synctest.Wait()
		if len(urls) != 1 || urls[0] != "http://a.example/?x" || w.eps.eps[ep.ID()].Disabled != "" {
			t.Errorf("called %q, disabled %q", urls, w.eps.eps[ep.ID()].Disabled)
		}
		if o := w.e.outcomes(); len(o) != 1 || o[0].Kind != task.KindGone {
			t.Errorf("settled %+v", o)
		}
		w.stop(t)
	})
}
