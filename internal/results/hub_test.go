package results_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// rig is a running hub over a fake store, in a bubble of virtual time.
type rig struct {
	*testing.T
	f     *fake
	store *results.Store
	hub   *results.Hub
	stop  context.CancelFunc
	ended chan error
}

// inBubble runs do with a running hub and stops it.
func inBubble(t *testing.T, do func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		f := newFake()
		store := results.NewStore(f)
		ctx, cancel := context.WithCancel(t.Context())
		r := &rig{T: t, f: f, store: store, hub: results.NewHub(store, "g"), stop: cancel, ended: make(chan error, 1)}
		go func() { r.ended <- r.hub.Run(ctx) }()
		<-f.ready
		do(r)
		cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (r *rig) create(n int) task.NewTask {
	r.Helper()
	nt := newTask(n)
	if _, err := r.store.Create(r.Context(), nt); err != nil {
		r.Fatal(err)
	}
	return nt
}

func (r *rig) finish(nt task.NewTask) {
	r.Helper()
	reply, err := r.store.Swap(context.Background(), end(&task.Snapshot{Spec: nt.Spec, Record: nt.Record}, task.Cancelled))
	if err != nil || !reply.OK {
		r.Errorf("swap: %v, %v", reply.OK, err)
	}
}

type answer struct {
	snap *task.Snapshot
	err  error
	took time.Duration
}

// wait starts a wait; its answer comes by the channel.
func (r *rig) wait(ctx context.Context, id task.ID, d time.Duration) <-chan answer {
	out := make(chan answer, 1)
	start := time.Now()
	go func() {
		snap, err := r.hub.Wait(ctx, id, start.Add(d))
		out <- answer{snap, err, time.Since(start)}
	}()
	return out
}

func (r *rig) want(a answer, state task.State, took time.Duration) {
	r.Helper()
	if a.err != nil || a.snap == nil || a.snap.State != state || a.took != took {
		r.Fatalf("got %+v after %v, %v; want %s after %v", a.snap, a.took, a.err, state, took)
	}
}

func TestHubUnknownID(t *testing.T) {
	inBubble(t, func(r *rig) {
		if a := <-r.wait(r.Context(), newTask(1).Spec.ID, time.Minute); a.snap != nil || a.err != nil || a.took != 0 {
			r.Fatalf("got %+v", a)
		}
	})
}

func TestHubFinalAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		r.finish(nt)
		r.want(<-r.wait(r.Context(), nt.Spec.ID, time.Minute), task.Cancelled, 0)
	})
}

func TestHubHint(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		first, second := r.wait(r.Context(), nt.Spec.ID, time.Minute), r.wait(r.Context(), nt.Spec.ID, time.Minute)
		synctest.Wait()
		time.AfterFunc(3*time.Second, func() {
			r.finish(nt)
			r.f.fn("no such id")
			r.f.fn(string(nt.Spec.ID))
		})
		r.want(<-first, task.Cancelled, 3*time.Second)
		r.want(<-second, task.Cancelled, 3*time.Second)
		if awaits, _, reads := r.f.counts(); awaits != 1 || reads != 1 {
			r.Errorf("%d registrations and %d reads for two waiters of one task", awaits, reads)
		}
	})
}

// The answer of a registration can come after that of the read which saw the
// end; the older one must not win.
func TestHubOvertakenRegistration(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.f.late = make(chan struct{})
		nt := r.create(1)
		a := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		synctest.Wait() // registered, the answer is on its way
		r.finish(nt)
		r.f.fn(string(nt.Spec.ID))
		synctest.Wait() // the end has been read
		close(r.f.late)
		r.want(<-a, task.Cancelled, 0)
	})
}

func TestHubLostHint(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		got := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		time.AfterFunc(3*time.Second, func() { r.finish(nt) })
		r.want(<-got, task.Cancelled, 10*time.Second)
	})
}

func TestHubReset(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		got := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		time.AfterFunc(3*time.Second, func() {
			r.finish(nt)
			r.f.reset()
		})
		r.want(<-got, task.Cancelled, 3*time.Second)
	})
}

func TestHubDeadline(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		got := r.wait(r.Context(), nt.Spec.ID, 7*time.Second)
		// A change that wakes nobody shows at the deadline.
		time.AfterFunc(time.Second, func() {
			next := nt.Record.Started(&task.Message{Gen: 1, Seq: 1}, task.Lease{Token: "x"}, false, false, epoch)
			if _, err := r.store.Swap(r.Context(), task.Change{Expect: nt.Record.Version, Next: next, Spec: &nt.Spec}); err != nil {
				r.Error(err)
			}
		})
		r.want(<-got, task.Running, 7*time.Second)
	})
}

func TestHubContextEnds(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		ctx, cancel := context.WithCancelCause(r.Context())
		other := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		synctest.Wait()
		got := r.wait(ctx, nt.Spec.ID, time.Minute)
		synctest.Wait()
		why := errors.New("client went away")
		cancel(why)
		if a := <-got; !errors.Is(a.err, why) {
			r.Errorf("got %v", a.err)
		}
		r.want(<-other, task.Queued, time.Minute)
	})
}

// TestHubLeaderGoesAway: who registers for everybody may leave; the next one
// takes over.
func TestHubLeaderGoesAway(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		gate := make(chan struct{})
		r.f.gate = gate
		ctx, cancel := context.WithCancel(r.Context())
		leader := r.wait(ctx, nt.Spec.ID, time.Minute)
		synctest.Wait()
		follower := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		synctest.Wait()
		cancel()
		if a := <-leader; !errors.Is(a.err, context.Canceled) {
			r.Errorf("leader got %v", a.err)
		}
		close(gate)
		r.want(<-follower, task.Queued, time.Minute)
	})
}

func TestHubStoreAway(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		long, short := r.wait(r.Context(), nt.Spec.ID, time.Minute), r.wait(r.Context(), nt.Spec.ID, 15*time.Second)
		synctest.Wait()
		r.f.fail(results.ErrUnavailable)
		if a := <-short; task.CodeOf(a.err) != task.CodeUnavailable || a.took != 15*time.Second {
			r.Errorf("got %v after %v", a.err, a.took)
		}
		if a := <-r.wait(r.Context(), newTask(2).Spec.ID, time.Minute); task.CodeOf(a.err) != task.CodeUnavailable {
			r.Errorf("got %v", a.err)
		}
		r.f.fail(nil)
		r.finish(nt)
		r.want(<-long, task.Cancelled, 20*time.Second)
	})
}

// TestHubStoreEmptied: a known task that the store has lost is waited for
// until its message has made it again.
func TestHubStoreEmptied(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		got := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		time.AfterFunc(5*time.Second, func() {
			r.f.mu.Lock()
			defer r.f.mu.Unlock()
			delete(r.f.rows, nt.Spec.ID)
		})
		time.AfterFunc(15*time.Second, func() {
			again := r.create(1)
			r.finish(again)
		})
		r.want(<-got, task.Cancelled, 20*time.Second)
	})
}

func TestHubStops(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		got := r.wait(r.Context(), nt.Spec.ID, time.Minute)
		synctest.Wait()
		r.stop()
		r.want(<-got, task.Queued, 0)
		r.want(<-r.wait(r.Context(), nt.Spec.ID, time.Minute), task.Queued, 0)
		if err := r.hub.Run(r.Context()); err == nil {
			r.Error("a hub ran twice")
		}
	})
}

// TestHubRenews: a registration that many waits in a row share does not end.
func TestHubRenews(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		long := r.wait(r.Context(), nt.Spec.ID, 5*time.Minute)
		r.want(<-long, task.Queued, 5*time.Minute)
		if awaits, _, _ := r.f.counts(); awaits < 4 {
			r.Errorf("registered %d times in 5 minutes; a registration lasts 90 s", awaits)
		}
	})
}

func TestHubForgetsWhoLeft(t *testing.T) {
	inBubble(t, func(r *rig) {
		nt := r.create(1)
		r.want(<-r.wait(r.Context(), nt.Spec.ID, time.Second), task.Queued, time.Second)
		_, _, before := r.f.counts()
		<-time.After(time.Minute)
		if _, _, after := r.f.counts(); after != before {
			r.Errorf("%d reads for nobody", after-before)
		}
	})
}

func TestHubWithoutRun(t *testing.T) {
	f := newFake()
	store := results.NewStore(f)
	nt := newTask(1)
	if _, err := store.Create(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	snap, err := results.NewHub(store, "g").Wait(t.Context(), nt.Spec.ID, time.Now())
	if err != nil || snap == nil || snap.State != task.Queued {
		t.Fatalf("got %+v, %v", snap, err)
	}
}

// TestHubManyWaiters: what 20,000 parked long-polls cost.
func TestHubManyWaiters(t *testing.T) {
	waiters := 20_000
	if raceDetector {
		waiters = 4_000 // it makes goroutines several times as dear
	}
	inBubble(t, func(r *rig) {
		tasks := make([]task.NewTask, waiters)
		for i := range tasks {
			tasks[i] = r.create(i)
		}
		goroutines, heap := runtime.NumGoroutine(), heapNow()
		var wg sync.WaitGroup
		start := time.Now()
		for i := range tasks {
			wg.Go(func() {
				want, state := time.Minute, task.Queued
				if i%2 == 0 {
					want, state = 20*time.Second, task.Cancelled // its hint is lost at 15 s
				}
				snap, err := r.hub.Wait(context.Background(), tasks[i].Spec.ID, start.Add(time.Minute))
				if took := time.Since(start); err != nil || snap.State != state || took != want {
					r.Errorf("waiter %d: %v, %v after %v", i, snap, err, took)
				}
			})
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - goroutines; n > waiters+2 {
			r.Errorf("%d goroutines for %d waiters", n, waiters)
		}
		r.Logf("%d bytes per parked waiter, its goroutine not counted", (heapNow()-heap)/int64(waiters))
		_, calls, _ := r.f.counts()
		<-time.After(10 * time.Second) // one re-check
		synctest.Wait()
		_, after, _ := r.f.counts()
		if n := after - calls; n > waiters/500+1 {
			r.Errorf("%d reads for one re-check", n)
		}
		<-time.After(5 * time.Second)
		for i := 0; i < waiters; i += 2 {
			r.finish(tasks[i])
		}
		wg.Wait()
	})
}

func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
