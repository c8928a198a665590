package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

type world struct {
	d   *Dispatcher
	e   *fakeEngine
	k   *fakeKeeper
	s   *fakeSource
	eps *fakeEndpoints
}

// newWorld makes a dispatcher; send nil means real requests.
func newWorld(t *testing.T, pool PoolOptions, send sendFunc, eps ...task.Endpoint) *world {
	t.Helper()
	w := &world{e: &fakeEngine{}, k: &fakeKeeper{}, s: sourceOf(), eps: endpointsOf(eps...)}
	d, err := New(
		Deps{Engine: w.e, Keeper: w.k, Endpoints: w.eps, Source: w.s, Secrets: noSecrets},
		Options{Pool: pool, Grace: time.Second, Sender: SenderOptions{Guard: NewGuard(loopback())}},
	)
	if err != nil {
		t.Fatal(err)
	}
	w.d = d
	if send != nil {
		d.handler.sender = send
	}
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	w.d.Start(t.Context())
}

func (w *world) stop(t *testing.T) {
	t.Helper()
	if err := w.d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func (w *world) put(ep task.Endpoint, n int) *fakeDelivery {
	d := deliveryOf(message(n, ep.Name))
	w.s.put(string(ep.ID()), d)
	return d
}

func TestDispatchDelivers(t *testing.T) {
	srv := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	a, b := endpoint("a", srv.URL), endpoint("b", srv.URL)
	w := newWorld(t, PoolOptions{}, nil, a, b)
	var ds []*fakeDelivery
	for i := range 50 {
		ds = append(ds, w.put(a, i), w.put(b, 100+i))
	}
	w.start(t)
	for i := range 50 {
		ds = append(ds, w.put(a, 200+i))
	}
	for _, d := range ds {
		<-d.ended
		d.want(t, "ack")
	}
	w.stop(t)
	for _, o := range w.e.outcomes() {
		if o.Kind != task.KindSuccess || string(o.Result.Body) != "{}" {
			t.Fatalf("%+v", o)
		}
	}
	if w.d.pool.InUse() != 0 || w.k.beats == 0 {
		t.Error("slots left over, or no heartbeat")
	}
}

// 40 endpoints that hang do not delay one that works.
func TestDispatchHungNeighbours(t *testing.T) {
	var hung []task.Endpoint
	for i := range 40 {
		hung = append(hung, endpoint(fmt.Sprintf("hung%d", i), "http://hung"))
	}
	good := endpoint("good", "http://good")
	begun := make(chan task.ID, 10_000)
	hang := hanging(begun)
	w := newWorld(t, PoolOptions{Total: 16}, func(ctx context.Context, r *Request) *Answer {
		if r.Endpoint.Name == "good" {
			return &Answer{Status: 200}
		}
		return hang(ctx, r)
	}, append(hung, good)...)
	w.start(t)
	n := 0
	for _, ep := range hung {
		for range 8 {
			n++
			w.put(ep, n)
		}
	}
	for range 40 * guaranteed {
		<-begun
	}
	for range 200 {
		n++
		<-w.put(good, n).ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no grace
	if err := w.d.Stop(ctx); !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
}

// The registry says paused, and its notice has not reached the manager: a
// delivery is held and not turned round and round.
func TestStopWithinGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		release := make(chan struct{})
		w := newWorld(t, PoolOptions{Total: 8}, func(context.Context, *Request) *Answer {
			<-release
			return &Answer{Status: 200}
		}, ep)
		w.start(t)
		var ds []*fakeDelivery
		for i := range 5 {
			ds = append(ds, w.put(ep, i))
		}
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- w.d.Stop(t.Context()) }()
		synctest.Wait()
		if n := w.s.waiting(string(ep.ID())); n != 3 || len(stopped) != 0 {
			t.Errorf("%d unstarted went back, stopped: %v", n, len(stopped))
		}
		<-time.After(lifecycle.HeartbeatTTL) // it drains: its leases must live
		w.k.mu.Lock()
		since := time.Since(w.k.lastBeat)
		w.k.mu.Unlock()
		if since > lifecycle.HeartbeatInterval {
			t.Errorf("no heartbeat for %s", since)
		}
		close(release)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		done := 0
		for _, d := range ds {
			done += len(d.ended)
		}
		if done != 2 || len(w.e.outcomes()) != 2 {
			t.Errorf("%d ended", done)
		}
	})
}

func TestStopInterrupts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		w := newWorld(t, PoolOptions{}, hanging(nil), ep)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- w.d.Run(ctx) }()
		synctest.Wait()
		d := w.put(ep, 1)
		synctest.Wait()
		begin := time.Now()
		cancel()
		if err := <-ran; !errors.Is(err, errInterrupted) {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %s, the grace is 1s", took)
		}
		d.want(t, "ack")
		o := w.e.outcomes()
		if len(o) != 1 || o[0].Kind != task.KindInterrupted || o[0].Reason != task.ReasonShutdown || !o[0].Unanswered {
			t.Errorf("%+v", o)
		}
	})
}

// When nothing takes the outcome, stopping ends all the same, and the
// delivery stays with the queue.
func TestStopWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		w := newWorld(t, PoolOptions{}, hanging(nil), ep)
		w.e.settle = func(task.Outcome) (task.Decision, error) { return task.Decision{}, errFake }
		w.start(t)
		d := deliveryOf(message(1, ep.Name))
		d.m.Timeout = task.Duration(time.Hour)
		w.s.put(string(ep.ID()), d)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := w.d.Stop(ctx); !errors.Is(err, errInterrupted) {
			t.Error(err)
		}
		if took := time.Since(begin); took > settleGrace+finishTime {
			t.Errorf("it took %s", took)
		}
		if len(d.ends) > 0 && d.ends[0] == "ack" {
			t.Error("acknowledged without a settlement")
		}
	})
}

func TestStopTwiceAndUnstarted(t *testing.T) {
	w := newWorld(t, PoolOptions{}, answering(200))
	w.stop(t)
	w.stop(t)
	w.start(t) // too late
	if w.k.beats != 0 {
		t.Error("started after its stop")
	}
}

func TestAbort(t *testing.T) {
	ep := endpoint("a", server(t, func(_ http.ResponseWriter, r *http.Request) { gone(r) }).URL)
	begun := make(chan struct{})
	w := newWorld(t, PoolOptions{}, nil, ep)
	sender := w.d.handler.sender
	w.d.handler.sender = sendFunc(func(ctx context.Context, r *Request) *Answer {
		close(begun)
		return sender.Send(ctx, r)
	})
	w.start(t)
	d := w.put(ep, 1)
	<-begun
	w.d.Abort(d.m.ID)
	<-d.ended
	w.stop(t)
	if o := w.e.outcomes(); o[0].Reason != task.ReasonCancelled {
		t.Errorf("%+v", o)
	}
}

func TestSweeperGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PoolOptions{}, answering(200), endpoint("a", "x"), endpoint("b", "x"))
		w.k.fail = true
		w.start(t)
		<-time.After(time.Minute)
		synctest.Wait()
		w.stop(t)
		if w.k.beats < 20 || w.k.sweeps < 12 || w.k.notes < 12 || len(w.k.projects) != 1 {
			t.Errorf("%d beats, %d sweeps, %d notes, projects %v", w.k.beats, w.k.sweeps, w.k.notes, w.k.projects)
		}
	})
}

// Two dispatchers in one process do not share anything.
func TestTwoDispatchers(t *testing.T) {
	var n atomic.Int64
	srv := server(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	ep := endpoint("a", srv.URL)
	a, b := newWorld(t, PoolOptions{}, nil, ep), newWorld(t, PoolOptions{}, nil, ep)
	a.start(t)
	b.start(t)
	da, db := a.put(ep, 1), b.put(ep, 1)
	<-da.ended
	<-db.ended
	a.stop(t)
	b.stop(t)
	if n.Load() != 2 {
		t.Errorf("%d requests", n.Load())
	}
}
