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

// backlogs is a queue with an endless backlog for each endpoint, that keeps to
// the prefetch and counts what is in hands.
type backlogs struct {
	*fakeSource

	payload map[task.EndpointID][]byte

	mu         sync.Mutex
	bytes, top int
	number     int
	done       map[task.EndpointID]int
}

type endless struct {
	b        *backlogs
	id       task.EndpointID
	prefetch int
	h        func(Delivery)
	inHand   int
	stopped  bool
}

type taken struct {
	*fakeDelivery
	c *endless
}

func (b *backlogs) Consume(_ context.Context, id task.EndpointID, prefetch int, h func(Delivery)) (Consumer, error) {
	c := &endless{b: b, id: id, prefetch: prefetch, h: h}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.fill()
	return c, nil
}

func (c *endless) fill() {
	for c.inHand < c.prefetch && !c.stopped {
		c.inHand++
		c.b.number++
		m := message(c.b.number, "x")
		m.Payload = c.b.payload[c.id]
		c.b.bytes += len(m.Payload)
		c.b.top = max(c.b.top, c.b.bytes)
		c.h(&taken{deliveryOf(m), c})
	}
}

func (c *endless) Stop(context.Context) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.stopped = true
	return nil
}

func (t *taken) end(done int) error {
	b := t.c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	t.c.inHand--
	b.bytes -= len(t.m.Payload)
	b.done[t.c.id] += done
	t.c.fill()
	return nil
}

func (t *taken) Ack(context.Context) error                 { return t.end(1) }
func (t *taken) Release(context.Context) error             { return t.end(0) }
func (t *taken) Postpone(context.Context, time.Time) error { return t.end(0) }

// peak is the most that was in hands since the last look.
func (b *backlogs) peak() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	top := b.top
	b.top = b.bytes
	return top
}

func holding64(t *testing.T, endpoints, size int) (*world, *backlogs) {
	t.Helper()
	b := &backlogs{fakeSource: sourceOf(), payload: map[task.EndpointID][]byte{}, done: map[task.EndpointID]int{}}
	var eps []task.Endpoint
	for i := range endpoints {
		ep := endpoint(fmt.Sprint("e", i), "http://e")
		eps = append(eps, ep)
		b.payload[ep.ID()] = make([]byte, size)
	}
	w := newWorld(t, PoolOptions{Total: 256, Bytes: 64 << 20}, func(ctx context.Context, _ *Request) *Answer {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
		return &Answer{Status: 200, Sent: true}
	}, eps...)
	w.d.manager.source = b
	return w, b
}

// Whatever the backlogs and the payloads, what is in hands stays within the
// budget, and every endpoint gets on.
func TestHeldBytesAreBounded(t *testing.T) {
	for _, r := range []struct{ endpoints, size, first, most int }{
		{1, 1 << 20, 64, 64},     // what its share of the places may hold
		{50, 1 << 20, 128, 64},   // each has its part
		{300, 1 << 20, 364, 300}, // one of each
		{20, 8 << 20, 484, 160},  // at first they are taken for smaller ones
	} {
		t.Run(fmt.Sprint(r.endpoints, " of ", r.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, b := holding64(t, r.endpoints, r.size)
				w.start(t)
				<-time.After(10 * time.Second)
				if top := b.peak() >> 20; top > r.first {
					t.Errorf("%d MiB in hands at first", top)
				}
				<-time.After(2 * time.Minute)
				if top := b.peak() >> 20; top > r.most {
					t.Errorf("%d MiB in hands", top)
				}
				b.mu.Lock()
				least := 1 << 30
				for id := range b.payload {
					least = min(least, b.done[id])
				}
				b.mu.Unlock()
				if least < 5 {
					t.Errorf("an endpoint has done %d tasks in two minutes", least)
				}
				w.stop(t)
			})
		})
	}
}

// Small payloads do not pay for large ones: they hold what they always do.
func TestSmallPayloadsKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := holding64(t, 40, 1<<20)
		small := endpoint("e7", "http://e")
		b.payload[small.ID()] = make([]byte, 200)
		w.start(t)
		<-time.After(30 * time.Second)
		wanted := w.d.manager.wanted()
		if n := wanted[small.ID()]; n != w.d.pool.PerEndpoint() {
			t.Errorf("the small one holds %d", n)
		}
		large := 0
		for id, n := range wanted {
			if id != small.ID() {
				large += n
			}
		}
		if large > 64 {
			t.Errorf("the large ones hold %d MiB", large)
		}
		w.stop(t)
	})
}

// What answers take of the budget, payloads leave; and a budget that answers
// fill lets nothing new begin.
func TestAnswersCount(t *testing.T) {
	answers := int64(0)
	now := time.Now()
	h := newHoldings(64<<20, func() int64 { return answers }, func() time.Time { return now }, func() {})
	h.enter("a", 1<<20)
	ask := func() int {
		wanted := map[task.EndpointID]int{"a": 64}
		h.places(wanted)
		return wanted["a"]
	}
	if n := ask(); n != 64 {
		t.Errorf("%d without answers", n)
	}
	answers = 40 << 20
	if n := ask(); n != 16 {
		t.Errorf("%d beside 40 MiB of answers", n)
	}
	answers = 1 << 40
	if n := ask(); n != 16 {
		t.Errorf("%d of the quarter that is always left", n)
	}
	answers = 0
	if n := ask(); n != 16 {
		t.Errorf("%d at once", n)
	}
	now = now.Add(heldCalm)
	if n := ask(); n != 64 {
		t.Errorf("%d after a while", n)
	}

	p := NewPool(PoolOptions{Bytes: 1 << 20})
	first, err := p.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	first.Grow(2 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := p.Acquire(ctx, "b", 0); err == nil && s != nil {
		t.Error("another begins although answers fill the memory")
	}
	first.Release()
	second, err := p.Acquire(t.Context(), "b", 0)
	if err != nil || p.Read() != 0 {
		t.Fatalf("%v, %d bytes of answers", err, p.Read())
	}
	second.Release()
}
