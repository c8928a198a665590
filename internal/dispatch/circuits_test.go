package dispatch

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// fakeCircuits is a store that several dispatchers share.
type fakeCircuits struct {
	mu    sync.Mutex
	byID  map[task.EndpointID]task.StoredCircuit
	away  bool
	calls int
}

func circuitsOf() *fakeCircuits {
	return &fakeCircuits{byID: map[task.EndpointID]task.StoredCircuit{}}
}

func (f *fakeCircuits) Circuits(context.Context) (map[task.EndpointID]task.StoredCircuit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.away {
		return nil, errFake
	}
	return maps.Clone(f.byID), nil
}

func (f *fakeCircuits) SwapCircuit(
	_ context.Context, id task.EndpointID, c task.Circuit, version int64,
) (task.StoredCircuit, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	present := f.byID[id]
	switch {
	case f.away:
		return present, false, errFake
	case present.Version != version:
		return present, false, nil
	case c.Closed():
		delete(f.byID, id)
		return task.StoredCircuit{}, true, nil
	}
	f.byID[id] = task.StoredCircuit{Circuit: c, Version: version + 1}
	return f.byID[id], true, nil
}

func (f *fakeCircuits) state(ep task.Endpoint) task.CircuitState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byID[ep.ID()].State
}

func (f *fakeCircuits) leave(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

// patient is a handler that can be made to fail, and counts its calls.
type patient struct {
	status atomic.Int64
	calls  atomic.Int64
	header http.Header
}

func (p *patient) send(context.Context, *Request) *Answer {
	p.calls.Add(1)
	return &Answer{Status: int(p.status.Load()), Header: p.header, Sent: true, Took: time.Millisecond}
}

// during counts the calls of a while.
func (p *patient) during(d time.Duration) int64 {
	before := p.calls.Load()
	<-time.After(d)
	synctest.Wait()
	return p.calls.Load() - before
}

func breaking(name string) task.Endpoint {
	ep := endpoint(name, "http://"+name)
	ep.Breaker = &task.CircuitBreaker{MinAttempts: new(5), CoolDown: new(task.Duration(10 * time.Second))}
	return ep
}

// sharingCircuits is a dispatcher beside others.
func sharingCircuits(t *testing.T, f Circuits, owner string, p *patient, eps ...task.Endpoint) *world {
	t.Helper()
	w := newWorld(t, PoolOptions{Total: 8}, p.send, eps...)
	w.d.breaks.store, w.d.breaks.owner = f, owner
	return w
}

// An endpoint that is down is called once in each pause; its backlog waits in
// its queue and keeps its attempts; its neighbour goes on; and when it is well
// again everything is done.
func TestDeadEndpointIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep, good := circuitsOf(), &patient{}, breaking("a"), endpoint("good", "http://good")
		p.status.Store(500)
		w := sharingCircuits(t, f, "me", p, ep, good)
		sick := w.d.handler.sender
		w.d.handler.sender = sendFunc(func(ctx context.Context, r *Request) *Answer {
			if r.Endpoint.Name == "good" {
				return &Answer{Status: 200}
			}
			return sick.Send(ctx, r)
		})
		var ds []*fakeDelivery
		for i := range 300 {
			ds = append(ds, w.put(ep, i))
		}
		w.start(t)
		first := p.during(9 * time.Second)
		if first < 5 || first > 5+int64(guaranteed) {
			t.Fatalf("%d calls until it was taken for dead", first)
		}
		if w.s.consuming(string(ep.ID())) || w.s.waiting(string(ep.ID())) != 300-int(first) || f.state(ep) != task.CircuitOpen {
			t.Fatalf("consuming %v, %d wait, %s", w.s.consuming(string(ep.ID())), w.s.waiting(string(ep.ID())), f.state(ep))
		}
		if n := p.during(100 * time.Second); n < 8 || n > 10 {
			t.Errorf("%d probes in ten pauses", n)
		}
		begin := time.Now()
		<-w.put(good, 1000).ended
		if took := time.Since(begin); took > 0 {
			t.Errorf("the neighbour waited %s", took)
		}
		p.status.Store(200)
		for _, d := range ds {
			<-d.ended
			d.want(t, "ack")
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the backlog took %s", took)
		}
		burnt := 0
		for _, o := range w.e.outcomes() {
			if o.Kind == task.KindRetry {
				burnt++
			}
		}
		if burnt > int(first)+10 {
			t.Errorf("%d attempts were used up", burnt)
		}
		<-time.After(circuitLearn)
		synctest.Wait()
		w.d.breaks.mu.Lock()
		if len(w.d.breaks.byKey) != 0 || f.state(ep) != "" {
			t.Errorf("%d circuits are left, stored: %q", len(w.d.breaks.byKey), f.state(ep))
		}
		w.d.breaks.mu.Unlock()
		w.stop(t)
	})
}

// Dispatchers share what they know: one probe in each pause, whoever makes it,
// also when the prober dies; and one success is enough for all.
func TestDispatchersShareCircuits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep := circuitsOf(), &patient{}, breaking("a")
		p.status.Store(500)
		var ws []*world
		for _, owner := range []string{"a", "b", "c"} {
			ws = append(ws, sharingCircuits(t, f, owner, p, ep))
		}
		for i := range 50 {
			ws[0].put(ep, i)
		}
		for _, w := range ws {
			w.start(t)
		}
		<-time.After(circuitLearn + time.Second)
		synctest.Wait()
		known := p.calls.Load()
		for i, w := range ws {
			if w.s.consuming(string(ep.ID())) {
				t.Errorf("dispatcher %d does not know", i)
			}
		}
		if known > 5+int64(guaranteed) {
			t.Errorf("%d calls", known)
		}
		for i, w := range ws {
			for n := range 50 {
				w.put(ep, 100*(i+1)+n)
			}
		}
		if n := p.during(100 * time.Second); n < 7 || n > 10 {
			t.Errorf("%d probes in ten pauses of three dispatchers", n)
		}
		// One goes: the others go on.
		ws[0].stop(t)
		if n := p.during(100 * time.Second); n < 6 || n > 10 {
			t.Errorf("%d probes in ten pauses of two dispatchers", n)
		}
		p.status.Store(200)
		begin := time.Now()
		for _, w := range ws[1:] {
			for w.s.waiting(string(ep.ID())) > 0 || !w.s.consuming(string(ep.ID())) {
				<-time.After(time.Second)
			}
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %s until all knew", took)
		}
		for _, w := range ws[1:] {
			w.stop(t)
		}
	})
}

// A dispatcher that begins does not call what others know to be down, and
// takes over from a prober that died.
func TestCircuitIsLearnedAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep := circuitsOf(), &patient{}, breaking("a")
		p.status.Store(200)
		now := time.Now()
		dead := task.Circuit{State: task.CircuitHalfOpen, Reason: task.ReasonConnect, Since: now, At: now, Prober: "dead", Until: now.Add(proberLease)}
		f.byID[ep.ID()] = task.StoredCircuit{Circuit: dead, Version: 7}
		w := sharingCircuits(t, f, "me", p, ep)
		w.start(t)
		d := w.put(ep, 1)
		if n := p.during(proberLease - time.Second); n != 0 || w.s.consuming(string(ep.ID())) {
			t.Fatalf("%d calls while another probes", n)
		}
		<-d.ended
		if took := time.Since(now); took > proberLease+5*time.Second {
			t.Errorf("after %s", took)
		}
		w.stop(t)
	})
}

// Without the store each goes by its own, and tells when it is back.
func TestCircuitsWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep := circuitsOf(), &patient{}, breaking("a")
		p.status.Store(500)
		f.leave(true)
		w := sharingCircuits(t, f, "me", p, ep)
		w.start(t)
		for i := range 50 {
			w.put(ep, i)
		}
		<-time.After(time.Second)
		if n := p.during(60 * time.Second); n < 4 || n > 6 {
			t.Errorf("%d probes in six pauses", n)
		}
		f.leave(false)
		<-time.After(2 * circuitLearn)
		synctest.Wait()
		if s := f.state(ep); s == "" {
			t.Error("the others were not told")
		}
		p.status.Store(200)
		for w.s.waiting(string(ep.ID())) > 0 || f.state(ep) != "" {
			<-time.After(time.Second)
		}
		w.stop(t)
	})
}

// Answers that ask for a pause hold the whole endpoint that long.
func TestThrottledEndpointPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep := circuitsOf(), &patient{header: http.Header{"Retry-After": {"20"}}}, endpoint("a", "http://a")
		ep.Breaker = &task.CircuitBreaker{Off: true}
		p.status.Store(429)
		w := sharingCircuits(t, f, "me", p, ep)
		w.start(t)
		for i := range 100 {
			w.put(ep, i)
		}
		if n := p.during(19 * time.Second); n > task.ThrottleAnswers+int64(guaranteed) {
			t.Errorf("%d calls in the pause", n)
		}
		if n := p.during(100 * time.Second); n < 4 || n > 5 {
			t.Errorf("%d calls in five pauses", n)
		}
		p.status.Store(200)
		for w.s.waiting(string(ep.ID())) > 0 || f.state(ep) != "" {
			<-time.After(time.Second)
		}
		w.stop(t)
	})
}

// Who mends an endpoint does not wait for the next probe; who turns the
// breaker off does not wait at all.
func TestChangeOfEndpointIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, ep := circuitsOf(), &patient{}, endpoint("a", "http://a")
		ep.Breaker = &task.CircuitBreaker{MinAttempts: new(5), CoolDown: new(task.Duration(time.Hour))}
		p.status.Store(500)
		w := sharingCircuits(t, f, "me", p, ep)
		w.start(t)
		for i := range 50 {
			w.put(ep, i)
		}
		<-time.After(time.Second)
		if n := p.during(10 * time.Minute); n != 0 {
			t.Fatalf("%d calls", n)
		}
		touch := func(f func(ep *task.Endpoint)) {
			w.eps.change(func() {
				e := w.eps.eps[ep.ID()]
				e.UpdatedAt = time.Now()
				f(e)
			})
		}
		touch(func(*task.Endpoint) {})
		if n := p.during(10 * time.Minute); n != 1 {
			t.Errorf("%d calls after a change", n)
		}
		touch(func(e *task.Endpoint) { e.Breaker = &task.CircuitBreaker{Off: true} })
		if n := p.during(time.Minute); n < 40 || f.state(ep) != "" {
			t.Errorf("%d calls, the breaker is off", n)
		}
		w.stop(t)
	})
}

// A limit of one is with the dispatcher that probes.
func TestProberGetsTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, q, p, ep := circuitsOf(), quotasOf(), &patient{}, breaking("a")
		ep.MaxConcurrency = 1
		p.status.Store(500)
		var ws []*world
		for _, owner := range []string{"a", "b"} {
			w := sharingCircuits(t, f, owner, p, ep)
			w.d.shares.quotas, w.d.shares.owner = q, owner
			w.start(t)
			for i := range 40 {
				w.put(ep, i)
			}
			ws = append(ws, w)
		}
		<-time.After(30 * time.Second)
		if n := p.during(200 * time.Second); n < 8 || n > 21 {
			t.Errorf("%d probes in twenty pauses", n)
		}
		for _, w := range ws {
			w.stop(t)
		}
	})
}

// A receiver that is down is left alone, and another of the same queue is
// not delayed by it.
func TestDeadReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, p := builtin(), &patient{}
		p.status.Store(503)
		w := newWorld(t, PoolOptions{}, func(ctx context.Context, r *Request) *Answer {
			if hostOf(r.url()) == "up.example" {
				return &Answer{Status: 200}
			}
			return p.send(ctx, r)
		}, ep)
		w.start(t)
		synctest.Wait()
		for i := range task.DefaultBreakerAttempts {
			<-w.callback(ep, i, "http://down.example").ended
		}
		before, begin := p.calls.Load(), time.Now()
		var held []*fakeDelivery
		for i := range 50 {
			held = append(held, w.callback(ep, 100+i, "http://down.example/hook"))
			<-w.callback(ep, 1000+i, "http://up.example/hook").ended
		}
		if time.Since(begin) > 0 || p.calls.Load() != before {
			t.Errorf("%s, %d calls", time.Since(begin), p.calls.Load()-before)
		}
		synctest.Wait()
		times := map[time.Time]bool{}
		for _, d := range held {
			d.want(t, "postpone")
			if wait := d.at.Sub(begin); wait < task.DefaultCoolDown || wait > 3*task.DefaultCoolDown {
				t.Errorf("it comes again in %s", wait)
			}
			times[d.at] = true
		}
		if len(times) < 40 {
			t.Errorf("they come again at %d moments", len(times))
		}
		<-time.After(3 * task.DefaultCoolDown)
		p.status.Store(200)
		for i := range 3 {
			d := w.callback(ep, 2000+i, "http://down.example/hook")
			<-d.ended
			d.want(t, "ack")
		}
		w.stop(t)
	})
}

// The memory for receivers is bounded.
func TestReceiversAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := builtin()
		c := newCircuits(nil, endpointsOf(ep), "me", nil, time.Now, func() {})
		ill := task.Outcome{Kind: task.KindRetry, Reason: task.ReasonConnect}
		for i := range 3 * circuitsKept {
			<-time.After(100 * time.Millisecond)
			p, _, ok := c.enter(&ep, laneKey{ep.ID(), string(message(i, "a").ID)})
			if !ok {
				t.Fatal("refused")
			}
			p.ended(&ill)
			p.leave()
		}
		if len(c.byKey) > circuitsKept {
			t.Errorf("%d are kept", len(c.byKey))
		}
	})
}

// A probe that was none, since the message was done with, leaves its place.
func TestProbeWithoutAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := breaking("a")
		c := newCircuits(nil, endpointsOf(ep), "me", nil, time.Now, func() {})
		now := time.Now()
		c.byKey[laneKey{id: ep.ID()}] = &circuit{Breaker: task.Breaker{Circuit: (task.Circuit{At: now}).Claimed("me", now, now.Add(time.Hour))}}
		for range 3 {
			p, _, ok := c.enter(&ep, laneKey{id: ep.ID()})
			if !ok || !p.probe {
				t.Fatal("no probe")
			}
			if _, _, second := c.enter(&ep, laneKey{id: ep.ID()}); second {
				t.Error("two probes")
			}
			p.leave()
		}
	})
}
