package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/taskgate/taskgate/internal/task"
)

func ep(i int) task.EndpointID { return task.EndpointID(fmt.Sprintf("ep%d", i)) }

// waiting starts an Acquire and returns once it has been granted or surely
// waits.
func waiting(ctx context.Context, p *Pool, id task.EndpointID, n int) (slot func() *Slot) {
	var mu sync.Mutex
	var got *Slot
	go func() {
		s, err := p.Acquire(ctx, id, n)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			got = s
		}
	}()
	synctest.Wait()
	return func() *Slot {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func granted(slots []func() *Slot) (n int) {
	for _, s := range slots {
		if s() != nil {
			n++
		}
	}
	return n
}

func TestPoolCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(PoolOptions{Total: 16})
		var a []func() *Slot
		for range 10 {
			a = append(a, waiting(ctx, p, ep(1), 1))
		}
		if n := granted(a); n != 4 {
			t.Fatalf("%d run at once, want a quarter of 16", n)
		}
		a[0]().Release()
		if n := granted(a); n != 5 {
			t.Fatalf("%d granted after a release", n)
		}
		cancel()
		synctest.Wait()
		if n := granted(a); n != 5 || p.InUse() != 4 || len(p.ring) != 0 {
			t.Fatalf("%d granted, %d in use, %d in the ring after the waits ended", n, p.InUse(), len(p.ring))
		}
	})
}

// Any number of endpoints that never answer leave a healthy one its minimum.
func TestPoolHungEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(PoolOptions{Total: 8, PerEndpoint: 8, Bytes: 1 << 20})
		var hung []func() *Slot
		for i := range 50 {
			for range 20 {
				hung = append(hung, waiting(ctx, p, ep(i), 1<<20))
			}
		}
		before := granted(hung)
		if before < 50*guaranteed || p.InUse() < p.opt.Total {
			t.Fatalf("%d granted: not even the minimum", before)
		}
		for range 100 { // the healthy one works on, two at a time
			a, b := waiting(ctx, p, "healthy", 100), waiting(ctx, p, "healthy", 2<<20)
			if a() == nil || b() == nil {
				t.Fatal("delayed by others")
			}
			c := waiting(ctx, p, "healthy", 1)
			if c() != nil {
				t.Fatal("the pool is exhausted, and gave a third")
			}
			a().Release()
			if c() == nil {
				t.Fatal("its minimum is free, and it waits")
			}
			b().Release()
			c().Release()
		}
		if n := granted(hung); n != before {
			t.Fatalf("the hung ones got %d more", n-before)
		}
		cancel()
		synctest.Wait()
	})
}

func TestPoolFairShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(PoolOptions{Total: 20, PerEndpoint: 20})
		slots := make([][]func() *Slot, 3)
		for range 20 {
			slots[0] = append(slots[0], waiting(ctx, p, ep(0), 1))
		}
		if n := granted(slots[0]); n != 20 {
			t.Fatalf("alone it gets %d of 20", n)
		}
		for i := range 2 {
			for range 20 {
				slots[i+1] = append(slots[i+1], waiting(ctx, p, ep(i+1), 1))
			}
		}
		// As the first one's attempts end, the others get theirs.
		for _, s := range slots[0] {
			s().Release()
			synctest.Wait()
		}
		a, b := granted(slots[1]), granted(slots[2])
		if a != 10 || b != 10 {
			t.Fatalf("%d and %d, want 10 each", a, b)
		}
		cancel()
		synctest.Wait()
	})
}

func TestPoolBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(PoolOptions{Total: 100, PerEndpoint: 100, Bytes: 1 << 20})
		var slots []func() *Slot
		for range 10 {
			slots = append(slots, waiting(ctx, p, ep(1), 256<<10-answerReserve))
		}
		if n := granted(slots); n != 4 {
			t.Fatalf("%d of 256 KiB in 1 MiB", n)
		}
		slots[0]().Grow(256 << 10) // its answer is large
		slots[1]().Release()
		if n := granted(slots); n != 4 {
			t.Fatalf("%d: the answer's bytes do not count", n)
		}
		slots[0]().Release()
		if n := granted(slots); n != 6 {
			t.Fatalf("%d after it ended", n)
		}
		small := waiting(ctx, p, ep(2), 1)
		if small() == nil {
			t.Fatal("no minimum for others")
		}
		cancel()
		synctest.Wait()
	})
}

func TestPoolAcquireEnds(t *testing.T) {
	p := NewPool(PoolOptions{Total: 8})
	for range guaranteed {
		if _, err := p.Acquire(t.Context(), ep(1), 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrShutdown)
	s, err := p.Acquire(ctx, ep(1), 1)
	if s != nil || !errors.Is(err, ErrShutdown) {
		t.Fatalf("%v, %v", s, err)
	}
}

// A random crowd: the books balance in the end, and no bound is broken.
func TestPoolBalance(t *testing.T) {
	p := NewPool(PoolOptions{Total: 8, PerEndpoint: 4, Bytes: 1 << 20})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			for range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if rnd.IntN(3) == 0 {
					go cancel()
				}
				if s, err := p.Acquire(ctx, ep(rnd.IntN(5)), rnd.IntN(300<<10)); err == nil {
					s.Grow(rnd.IntN(1000))
					p.mu.Lock()
					if s.lane.inUse > 4 || p.inUse > 8+5*guaranteed {
						t.Errorf("%d of the endpoint, %d in all", s.lane.inUse, p.inUse)
					}
					p.mu.Unlock()
					s.Release()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if p.inUse != 0 || p.bytes != 0 || len(p.lanes) != 0 || len(p.uses) != 0 || len(p.ring) != 0 {
		t.Fatalf("left over: %+v", p)
	}
}
