package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// wanting is a submission that wants to hear of its end in these states.
func wanting(on ...task.State) lifecycle.Submission {
	s := submission()
	s.Callback = &task.Callback{URL: "https://example.com/hook", On: on, Headers: []task.Header{{Name: "X-A", Value: "b"}}}
	return s
}

// callbacks are the messages of callbacks in the broker.
func (w *world) callbacks() (out []*letter) {
	for _, l := range w.queue {
		if l.m.CallbackOf != "" {
			out = append(out, l)
		}
	}
	return out
}

// only is the one callback of generation 1 of id that is on its way.
func (w *world) only(t *testing.T, id task.ID, state task.State) *letter {
	t.Helper()
	all := w.callbacks()
	if len(all) != 1 {
		t.Fatalf("%d callbacks on their way", len(all))
	}
	l := all[0]
	if l.m.ID != task.CallbackID(id, 1) || l.m.CallbackOf != id || !strings.Contains(string(l.m.Payload), "task."+string(state)) {
		t.Fatalf("callback %s of %s: %s", l.m.ID, l.m.CallbackOf, l.m.Payload)
	}
	if w.rows[l.m.ID] == nil || w.boxed() {
		t.Fatalf("recorded: %v, outbox: %v", w.rows[l.m.ID] != nil, w.boxed())
	}
	return l
}

func TestCallbackOfASettledTask(t *testing.T) {
	t.Parallel()
	for _, o := range outcomes() {
		w := newWorld()
		id := accept(t, w, wanting()).Task.ID
		d := run(t, w, o)
		if !d.State.Final() {
			if len(w.callbacks()) != 0 {
				t.Errorf("%s: told of an end that is none", d.State)
			}
			continue
		}
		l := w.only(t, id, d.State)
		m, r := l.m, w.rows[l.m.ID]
		if m.Endpoint != task.CallbackEndpoint || m.URL != "https://example.com/hook" || len(m.Headers) != 1 || m.Suspect {
			t.Errorf("%s: message %+v", d.State, m)
		}
		if !r.acceptBy.IsZero() || r.kept || m.PayloadSize != len(m.Payload) || r.snap.Callback != nil {
			t.Errorf("%s: record %+v", d.State, r)
		}
	}
}

func TestCallbackOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	accept(t, w, wanting(task.Failed))
	run(t, w, outcomes()[0])
	if len(w.queue) != 0 || len(w.rows) != 1 || w.boxed() {
		t.Fatalf("%d messages, %d records", len(w.queue), len(w.rows))
	}
	s := wanting(task.Succeeded)
	s.Callback.URL, s.Callback.Endpoint = "", "hooks"
	id := accept(t, w, s).Task.ID
	run(t, w, outcomes()[0])
	if m := w.only(t, id, task.Succeeded).m; m.Endpoint != "hooks" || m.URL != "" {
		t.Errorf("to an endpoint: %+v", m)
	}
}

// The process dies at each step of an end; what is left is delivered, swept
// and delivered again. The handler of the callback hears of it, once.
func TestCallbackSurvivesADeathAtEachStep(t *testing.T) {
	t.Parallel()
	ways := map[task.State]func(e *lifecycle.Engine, w *world, id task.ID){
		task.Succeeded: func(e *lifecycle.Engine, w *world, _ task.ID) {
			if start, err := e.Begin(context.Background(), &w.queue[0].m, false, timeout); err == nil && start.Run != nil {
				_, _ = e.Settle(context.Background(), start.Run, policy, outcomes()[0])
			}
		},
		task.Cancelled: func(e *lifecycle.Engine, _ *world, id task.ID) {
			_, _ = e.Cancel(context.Background(), "default", id)
		},
		task.Expired: func(e *lifecycle.Engine, w *world, _ task.ID) {
			w.now = w.now.Add(2 * time.Minute)
			_, _ = e.Sweep(context.Background(), nil)
		},
		task.Failed: func(e *lifecycle.Engine, w *world, _ task.ID) {
			_ = e.EndOrphan(context.Background(), &w.queue[0].m)
		},
	}
	for state, way := range ways {
		for n := 0; ; n++ {
			w := newWorld()
			s := wanting()
			s.ExpiresAt = w.now.Add(time.Minute)
			id := accept(t, w, s).Task.ID
			l := w.queue[0]
			survived := w.dieAt(n, func(e *lifecycle.Engine) { way(e, w, id) })
			l.redelivered = true
			rest(w)
			told := w.ledger[task.CallbackID(id, 1)]
			ended := w.rows[id].snap.State
			if len(told) != 1 || w.boxed() || len(w.faults) > 0 || !ended.Final() || survived && ended != state {
				t.Fatalf("%s, death at %d: %s, told %v, faults %v", state, n, ended, told, w.faults)
			}
			if survived {
				break
			}
		}
	}
}

// rest delivers and sweeps until there is nothing to do.
func rest(w *world) {
	m := &model{w: w}
	for range 50 {
		for _, l := range append([]*letter(nil), w.queue...) {
			if l.holder == nil && !w.now.Before(l.m.ETA) {
				m.work(l, outcomes()[0])
				m.finishAll()
			}
		}
		m.sweep()
		m.finishAll()
		w.now = w.now.Add(20 * time.Second)
	}
}

// TestCallbackOfAnEndThatNobodySettles: expired or lost as its message comes.
func TestCallbackOfAnEndThatNobodySettles(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := wanting()
	s.ExpiresAt = w.now.Add(time.Minute)
	id := accept(t, w, s).Task.ID
	begin := func() (start lifecycle.Start) {
		w.do(func(e *lifecycle.Engine) {
			var err error
			if start, err = e.Begin(context.Background(), &w.queue[0].m, true, timeout); err != nil {
				t.Error(err)
			}
		})
		return start
	}
	w.now = w.now.Add(time.Hour)
	w.refuse()
	if start := begin(); start.Run != nil || start.Later.IsZero() || !w.boxed() {
		t.Fatalf("acknowledged before its callback was published: %+v", start)
	}
	if start := begin(); start.Run != nil || start.Later.IsZero() || !w.boxed() {
		t.Fatalf("acknowledged before its callback was published: %+v", start)
	}
	w.broken = false
	if start := begin(); start.Run != nil || !start.Later.IsZero() {
		t.Fatalf("not done: %+v", start)
	}
	w.only(t, id, task.Expired)

	w = newWorld()
	id = accept(t, w, wanting()).Task.ID
	for range task.MaxSuspects + 1 {
		begin()
		w.now = w.now.Add(time.Minute)
	}
	w.only(t, id, task.Failed)
}

// refuse has the broker take nothing.
func (w *world) refuse() {
	w.broken = true
	w.ids += w.ids % 2
}

// TestSettleWaitsForTheCallback: the message is not acknowledged before its
// successor is durable.
func TestSettleWaitsForTheCallback(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	l := w.queue[0]
	w.refuse()
	w.do(func(e *lifecycle.Engine) {
		start, err := e.Begin(context.Background(), &l.m, false, timeout)
		if err != nil {
			t.Error(err)
			return
		}
		for range 2 {
			if _, err := e.Settle(context.Background(), start.Run, policy, outcomes()[0]); task.CodeOf(err) != task.CodeNotAccepted {
				t.Errorf("settled: %v", err)
			}
		}
		w.broken = false
		if _, err := e.Settle(context.Background(), start.Run, policy, outcomes()[0]); err != nil {
			t.Error(err)
		}
	})
	w.ack(l)
	if m := w.only(t, id, task.Succeeded).m; !m.Suspect {
		t.Error("a callback that may be known is not announced")
	}
}

// TestParkedSettlementHasItsCallback: also when the broker takes none at
// first: the settlement is not for the dead.
func TestParkedSettlementHasItsCallback(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	l := w.queue[0]
	w.do(func(e *lifecycle.Engine) {
		start, err := e.Begin(context.Background(), &l.m, false, timeout)
		if err != nil {
			t.Error(err)
			return
		}
		w.outage, w.now = true, w.now.Truncate(time.Second)
		if _, err := e.Settle(context.Background(), start.Run, policy, outcomes()[0]); err != nil {
			t.Error(err)
		}
	})
	w.ack(l)
	w.outage = false
	apply := func() (err error) {
		w.do(func(e *lifecycle.Engine) { err = e.ApplyParked(context.Background(), w.park[0].body) })
		return err
	}
	w.refuse()
	for range 2 {
		wantCode(t, apply(), task.CodeUnavailable)
	}
	w.broken = false
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	w.only(t, id, task.Succeeded)
}

func TestCancelDoesNotWaitForItsCallback(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	w.refuse()
	w.do(func(e *lifecycle.Engine) {
		if s, err := e.Cancel(context.Background(), "default", id); err != nil || s.State != task.Cancelled {
			t.Errorf("%+v, %v", s, err)
		}
	})
	w.broken = false
	sweep := func() (s lifecycle.Swept) {
		w.do(func(e *lifecycle.Engine) {
			var err error
			if s, err = e.Sweep(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	if s := sweep(); s.Callbacks != 0 {
		t.Error("swept from under the canceller's hands")
	}
	w.now = w.now.Add(10 * time.Second)
	if s := sweep(); s.Callbacks != 1 {
		t.Errorf("swept %+v", s)
	}
	w.only(t, id, task.Cancelled)
	if s := sweep(); s.Callbacks != 0 {
		t.Errorf("swept again: %+v", s)
	}
}

// TestEachGenerationHasItsCallback: also the one whose callback was still to
// come when the next was asked for.
func TestEachGenerationHasItsCallback(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	w.dieAt(6, func(e *lifecycle.Engine) {
		start, _ := e.Begin(context.Background(), &w.queue[0].m, false, timeout)
		_, _ = e.Settle(context.Background(), start.Run, policy, outcomes()[6])
	})
	if !w.boxed() || len(w.callbacks()) != 0 {
		t.Fatalf("in the outbox: %v, %d callbacks: nothing is tested", w.boxed(), len(w.callbacks()))
	}
	w.queue = nil
	retry := func() (err error) {
		w.do(func(e *lifecycle.Engine) { _, err = e.Retry(context.Background(), "default", id) })
		return err
	}
	w.refuse()
	wantCode(t, retry(), task.CodeNotAccepted)
	if len(w.queue) != 0 || w.rows[id].snap.Gen != 1 {
		t.Fatal("the next generation began before the callback of the last was published")
	}
	w.broken = false
	if err := retry(); err != nil {
		t.Fatal(err)
	}
	w.only(t, id, task.Failed)
	rest(w)
	for gen := 1; gen <= 2; gen++ {
		if told := w.ledger[task.CallbackID(id, gen)]; len(told) != 1 {
			t.Errorf("generation %d: told %v", gen, told)
		}
	}
}

// TestCallbackIsATask: it can fail and be replayed, and has none itself.
func TestCallbackIsATask(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	run(t, w, outcomes()[0])
	if d := run(t, w, outcomes()[6]); d.State != task.Failed || w.rows[id].snap.State != task.Succeeded {
		t.Fatalf("%+v, its task %s", d, w.rows[id].snap.State)
	}
	callback := task.CallbackID(id, 1)
	w.do(func(e *lifecycle.Engine) {
		if _, err := e.Retry(context.Background(), "default", callback); err != nil {
			t.Error(err)
		}
	})
	rest(w)
	if told := w.ledger[callback]; len(told) != 1 || len(w.faults) > 0 || len(w.rows) != 2 {
		t.Errorf("replayed: told %v, faults %v, %d records", told, w.faults, len(w.rows))
	}
}

// TestRunNowEndsNothing: the generation that it leaves has not ended.
func TestRunNowEndsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := wanting()
	s.RunAt = w.now.Add(time.Minute)
	id := accept(t, w, s).Task.ID
	w.do(func(e *lifecycle.Engine) { _, _ = e.Retry(context.Background(), "default", id) })
	rest(w)
	if len(w.ledger[task.CallbackID(id, 1)]) != 0 || len(w.ledger[task.CallbackID(id, 2)]) != 1 {
		t.Errorf("told %v", w.ledger)
	}
}

// TestCallbackOfARebuiltTask: the store forgot the task and its callback; the
// second one is announced, after a retry, too.
func TestCallbackOfARebuiltTask(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, wanting()).Task.ID
	l := w.queue[0]
	run(t, w, outcomes()[0])
	w.queue = w.queue[:0]
	w.rows = map[task.ID]*row{}
	l.redelivered = true
	w.queue = append(w.queue, l)
	run(t, w, outcomes()[3])
	w.now = w.now.Add(time.Minute)
	run(t, w, outcomes()[0])
	if m := w.only(t, id, task.Succeeded).m; !m.Suspect {
		t.Error("a callback that is known is not announced")
	}
}

// TestTwinsOfACallbackAreAnnounced: the confirm of the first copy was lost and
// a second one is published. Whichever comes second says so, though the first
// copy does not know of the other, while the store is away or after it forgot.
func TestTwinsOfACallbackAreAnnounced(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(w *world){
		"in order":         func(*world) {},
		"store is away":    func(w *world) { w.outage = true },
		"store has forgot": func(w *world) { w.rows = map[task.ID]*row{} },
	} {
		w := newWorld()
		id := accept(t, w, wanting()).Task.ID
		w.queue = nil
		w.broken, w.ids = true, 1 // stored, not confirmed
		w.do(func(e *lifecycle.Engine) { _, _ = e.Cancel(context.Background(), "default", id) })
		w.broken = false
		w.now = w.now.Add(time.Minute)
		w.do(func(e *lifecycle.Engine) { _, _ = e.Sweep(context.Background(), nil) })
		if len(w.queue) != 2 || w.boxed() {
			t.Fatalf("%s: %d copies", name, len(w.queue))
		}
		first, second := w.queue[0], w.queue[1]
		begin := func(l *letter) (suspect bool) {
			w.do(func(e *lifecycle.Engine) {
				start, err := e.Begin(context.Background(), &l.m, false, timeout)
				if err != nil || start.Run == nil {
					t.Errorf("%s: %+v, %v", name, start, err)
					return
				}
				suspect = start.Run.Record.Suspect
			})
			return suspect
		}
		between(w)
		if !begin(second) {
			t.Errorf("%s: the second copy is not announced", name)
		}
		w.outage = false
		w.now = w.now.Add(time.Minute) // the worker of the second copy is dead by now
		if name == "store has forgot" {
			between(w)
		}
		if !begin(first) {
			t.Errorf("%s: the first copy came second, unannounced", name)
		}
	}
}

func TestCallbackThatCannotShowItsTask(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.body = func(*task.Snapshot, *task.Result) ([]byte, error) { return nil, errors.New("no") }
	id := accept(t, w, wanting()).Task.ID
	run(t, w, outcomes()[0])
	w.only(t, id, task.Succeeded)
}

// TestCallbackShowsTheResult: from the hands that settle, and from the store.
func TestCallbackShowsTheResult(t *testing.T) {
	t.Parallel()
	for deaths := range 2 {
		w := newWorld()
		w.body = func(s *task.Snapshot, r *task.Result) ([]byte, error) {
			return []byte("task." + string(s.State) + " " + string(r.Body)), nil
		}
		id := accept(t, w, wanting()).Task.ID
		at := 1000
		if deaths > 0 {
			at = 6
		}
		w.dieAt(at, func(e *lifecycle.Engine) {
			start, _ := e.Begin(context.Background(), &w.queue[0].m, false, timeout)
			_, _ = e.Settle(context.Background(), start.Run, policy, outcomes()[0])
		})
		w.now = w.now.Add(time.Minute)
		w.do(func(e *lifecycle.Engine) { _, _ = e.Sweep(context.Background(), nil) })
		if m := w.only(t, id, task.Succeeded).m; string(m.Payload) != "task.succeeded ok" {
			t.Errorf("told %q", m.Payload)
		}
	}
}

// TestNoCallbackCostsNothing: a task that ends where no callback was asked for
// takes no step more than one without.
func TestNoCallbackCostsNothing(t *testing.T) {
	t.Parallel()
	steps := func(s lifecycle.Submission) (n int) {
		w := newWorld()
		accept(t, w, s)
		a := w.spawn("worker", func(_ *actor, e *lifecycle.Engine) {
			start, _ := e.Begin(context.Background(), &w.queue[0].m, false, timeout)
			_, _ = e.Settle(context.Background(), start.Run, policy, outcomes()[0])
		})
		for ; !a.done; n++ {
			a.step(proceed)
		}
		return n
	}
	none, other, due := steps(submission()), steps(wanting(task.Failed)), steps(wanting())
	if none != other || due <= none {
		t.Errorf("%d steps without a callback, %d with one that is not due, %d with one", none, other, due)
	}
}

func TestSweepPassesOverATornOutbox(t *testing.T) {
	t.Parallel()
	w := newWorld()
	one, two := accept(t, w, wanting()).Task.ID, accept(t, w, wanting()).Task.ID
	w.refuse()
	for _, id := range []task.ID{one, two} {
		w.do(func(e *lifecycle.Engine) { _, _ = e.Cancel(context.Background(), "default", id) })
	}
	w.broken = false
	w.torn = map[task.ID]bool{min(one, two): true}
	w.now = w.now.Add(time.Minute)
	w.do(func(e *lifecycle.Engine) {
		if swept, err := e.Sweep(context.Background(), nil); err != nil || swept.Callbacks != 1 {
			t.Errorf("%+v, %v", swept, err)
		}
	})
}
