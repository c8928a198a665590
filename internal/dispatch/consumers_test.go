package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func TestPauseHoldsWithoutHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		begun := make(chan task.ID, 99)
		w := newWorld(t, PoolOptions{Total: 8}, hanging(begun), ep)
		w.s.stopTakes = time.Second // what came back until then would come again
		w.start(t)
		var ds []*fakeDelivery
		for i := range 6 { // 2 run, 4 wait for a slot
			ds = append(ds, w.put(ep, i))
		}
		synctest.Wait()
		running := len(begun)
		w.eps.pause(ep.ID(), true)
		<-time.After(w.s.stopTakes)
		synctest.Wait()
		if w.s.consuming(string(ep.ID())) || w.s.waiting(string(ep.ID())) != 6-running || w.s.released != 6-running {
			t.Fatalf("paused: consuming %v, %d wait, %d released, %d run",
				w.s.consuming(string(ep.ID())), w.s.waiting(string(ep.ID())), w.s.released, running)
		}
		<-time.After(task.DefaultTimeout) // what runs may end
		synctest.Wait()
		if n := len(w.e.outcomes()); n != running {
			t.Fatalf("%d settled, %d ran", n, running)
		}
		w.d.handler.sender = answering(200)
		w.eps.pause(ep.ID(), false)
		for _, d := range ds {
			<-d.ended
		}
		if w.s.released != 6-running || w.s.most[string(ep.ID())] != 1 {
			t.Errorf("%d released, %d consumers at once", w.s.released, w.s.most[string(ep.ID())])
		}
		w.stop(t)
	})
}

func TestHeldBeforeTheManagerKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		w := newWorld(t, PoolOptions{}, answering(200), ep)
		w.start(t)
		synctest.Wait()
		w.eps.mu.Lock()
		w.eps.eps[ep.ID()].Paused = true // without a word
		w.eps.mu.Unlock()
		d := w.put(ep, 1)
		<-time.After(heldCheck)
		synctest.Wait()
		if w.s.released != 1 || w.s.waiting(string(ep.ID())) != 1 || len(w.e.outcomes()) != 0 {
			t.Errorf("%d released, %d wait", w.s.released, w.s.waiting(string(ep.ID())))
		}
		w.eps.pause(ep.ID(), false)
		<-d.ended
		d.want(t, "ack")
		w.stop(t)
	})
}

func TestGoneDisablesAndHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		w := newWorld(t, PoolOptions{}, answering(410), ep)
		w.start(t)
		first := w.put(ep, 1)
		<-first.ended
		synctest.Wait()
		second := w.put(ep, 2)
		<-time.After(time.Minute)
		first.want(t, "ack")
		second.want(t)
		if w.s.consuming(string(ep.ID())) || len(w.e.outcomes()) != 1 {
			t.Error("a disabled endpoint is consumed")
		}
		w.stop(t)
	})
}

func TestConsumeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		w := newWorld(t, PoolOptions{}, answering(200), ep)
		w.s.fails = 20
		w.start(t)
		<-w.put(ep, 1).ended
		w.eps.change(func() { delete(w.eps.eps, ep.ID()) }) // deleted
		<-time.After(time.Minute)
		if w.s.consuming(string(ep.ID())) || !w.s.consuming("quarantine") || !w.s.consuming("parked") {
			t.Error("consumes the wrong things")
		}
		later := endpoint("b", "http://b")
		w.eps.mu.Lock()
		w.eps.eps[later.ID()] = &later // without a word: the re-check finds it
		w.eps.mu.Unlock()
		<-w.put(later, 2).ended
		w.stop(t)
	})
}

func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, paused := endpoint("a", "http://a"), endpoint("p", "http://p")
		paused.Paused = true
		w := newWorld(t, PoolOptions{}, hanging(nil), ep, paused)
		w.start(t)
		begin := time.Now()
		d, held := deliveryOf(message(1, "a")), deliveryOf(message(2, "p"))
		unknown := deliveryOf(message(3, "never-heard-of"))
		for _, d := range []*fakeDelivery{d, held, unknown} {
			w.s.put("quarantine", d)
			<-d.ended
		}
		d.want(t, "ack")
		held.want(t, "postpone")
		unknown.want(t, "postpone")
		if took := time.Since(begin); took != quarantineTimeout {
			t.Errorf("it took %s", took)
		}
		if o := w.e.outcomes(); len(o) != 1 || o[0].Reason != task.ReasonTimeout {
			t.Errorf("%+v", o)
		}
		w.stop(t)
	})
}

func TestParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PoolOptions{}, answering(200))
		good, away, bad, crash := deliveryOf(message(1, "a")), deliveryOf(message(2, "a")), deliveryOf(message(3, "a")), deliveryOf(message(4, "a"))
		w.e.parked = func(body []byte) error {
			switch task.ID(body) {
			case good.m.ID:
				return nil
			case away.m.ID:
				return task.Errorf(task.CodeUnavailable, "away")
			case crash.m.ID:
				panic("apply")
			}
			return errFake
		}
		w.start(t)
		begin := time.Now()
		for d, want := range map[*fakeDelivery]string{good: "ack", away: "postpone", bad: "postpone", crash: "postpone"} {
			w.s.put("parked", d)
			<-d.ended
			d.want(t, want)
		}
		if got := away.at.Sub(begin); got != parkedWait {
			t.Errorf("comes again in %s", got)
		}
		if got := bad.at.Sub(begin); got != parkedCorrupt {
			t.Errorf("comes again in %s", got)
		}
		w.stop(t)
	})
}
