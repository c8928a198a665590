package lifecycle_test

import (
	"context"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

func reschedule(w *world, id task.ID, at time.Time) (s *task.Snapshot, err error) {
	w.do(func(e *lifecycle.Engine) { s, err = e.Reschedule(context.Background(), "default", id, at) })
	return s, err
}

func TestReschedule(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]time.Duration{"later": 10 * time.Minute, "earlier": time.Minute, "at once": -time.Hour} {
		w := newWorld()
		s := submission()
		s.RunAt = w.now.Add(5 * time.Minute)
		id := accept(t, w, s).Task.ID
		begin := w.now
		at := w.now.Add(to)
		got, err := reschedule(w, id, at)
		if err != nil || got.Gen != 2 || len(w.queue) != 2 {
			t.Fatalf("%s: %+v, %v, %d messages", name, got, err, len(w.queue))
		}
		w.promised[id] = promise{gen: 2, at: at}
		rest(w)
		if r := w.rows[id].snap; r.State != task.Succeeded || r.Starts != 1 || len(w.queue) != 0 || len(w.faults) > 0 {
			t.Errorf("%s: %+v, %d messages, %v", name, r, len(w.queue), w.faults)
		}
		if at.Before(begin) {
			at = begin
		}
		if ran := w.rows[id].snap.StartedAt; ran.Before(at) || ran.Sub(at) > time.Minute {
			t.Errorf("%s: ran at %s", name, ran)
		}
	}
}

func TestRescheduleRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.ExpiresAt = w.now.Add(time.Hour)
	id := accept(t, w, s).Task.ID
	before := w.rows[id].snap.Record
	for _, at := range []time.Duration{time.Hour, 2 * time.Hour} {
		_, err := reschedule(w, id, w.now.Add(at))
		wantCode(t, err, task.CodeInvalid)
	}
	if w.rows[id].snap.Record != before || len(w.queue) != 1 {
		t.Error("a refusal changed something")
	}
	if _, err := reschedule(w, id, w.now.Add(time.Hour-time.Millisecond)); err != nil {
		t.Error(err)
	}
	w.queue = w.queue[1:]
	w.now = w.queue[0].m.ETA
	w.do(func(e *lifecycle.Engine) { _, _ = e.Begin(context.Background(), &w.queue[0].m, false, timeout) })
	_, err := reschedule(w, id, w.now)
	wantCode(t, err, task.CodeConflict) // it runs
	w.do(func(e *lifecycle.Engine) { _, _ = e.Cancel(context.Background(), "default", id) })
	_, err = reschedule(w, id, w.now)
	wantCode(t, err, task.CodeConflict) // it has ended

	large := submission()
	large.Payload = []byte("more than eight bytes")
	_, err = reschedule(w, accept(t, w, large).Task.ID, w.now)
	wantCode(t, err, task.CodePayloadNotKept)
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Reschedule(context.Background(), "another", id, w.now)
		wantCode(t, err, task.CodeNotFound)
	})
}

// Attempts that were used up stay so: a reschedule is no way round
// max_attempts.
func TestRescheduleKeepsTheCount(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	fails := task.Outcome{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500}
	for n := range policy.MaxAttempts {
		if n > 0 {
			if _, err := reschedule(w, id, w.now); err != nil {
				t.Fatal(err)
			}
			w.queue = w.queue[len(w.queue)-1:]
		}
		d := run(t, w, fails)
		if last := n == policy.MaxAttempts-1; last != (d.State == task.Failed) {
			t.Fatalf("attempt %d: %+v", n+1, d)
		}
	}
}

// The process dies at each step; the task ends once all the same, and nothing
// is left that could run it when its record is forgotten.
func TestRescheduleSurvivesADeathAtEachStep(t *testing.T) {
	t.Parallel()
	for _, to := range []time.Duration{-time.Minute, time.Minute, 20 * time.Minute} {
		for n := 0; ; n++ {
			w := newWorld()
			s := submission()
			s.RunAt = w.now.Add(5 * time.Minute)
			id := accept(t, w, s).Task.ID
			survived := w.dieAt(n, func(e *lifecycle.Engine) {
				_, _ = e.Reschedule(context.Background(), "default", id, w.now.Add(to))
			})
			late := w.now
			for _, l := range w.queue {
				if l.m.ETA.After(late) {
					late = l.m.ETA
				}
			}
			rest(w)
			for len(w.queue) > 0 {
				w.now = w.now.Add(time.Hour)
				rest(w)
			}
			r := w.rows[id].snap
			if r.State != task.Succeeded || len(w.ledger[id]) != 1 || len(w.faults) > 0 {
				t.Fatalf("to %s, death at %d: %+v, calls %v, %v", to, n, r, w.ledger[id], w.faults)
			}
			if r.KeepUntil().Before(late.Add(24 * time.Hour)) {
				t.Errorf("to %s, death at %d: forgotten at %s, a message may come at %s", to, n, r.KeepUntil(), late)
			}
			if survived {
				break
			}
		}
	}
}

// Two wish for different times at once: one is granted and holds.
func TestReschedulesAtOnce(t *testing.T) {
	t.Parallel()
	for first := range 12 { // how far the one gets before the other does it all
		w := newWorld()
		s := submission()
		s.RunAt = w.now.Add(5 * time.Minute)
		id := accept(t, w, s).Task.ID
		var actors []*actor
		for _, to := range []time.Duration{time.Minute, 10 * time.Minute} {
			at := w.now.Add(to)
			actors = append(actors, w.spawn("p", func(_ *actor, e *lifecycle.Engine) {
				s, err := e.Reschedule(context.Background(), "default", id, at)
				switch task.CodeOf(err) {
				case "":
					if s.Gen > w.promised[id].gen {
						w.promised[id] = promise{gen: s.Gen, at: at}
					}
				case task.CodeConflict:
				default:
					t.Error(err)
				}
			}))
		}
		for range first {
			if !actors[0].done {
				actors[0].step(proceed)
			}
		}
		for _, a := range []*actor{actors[1], actors[0]} {
			for !a.done {
				a.step(proceed)
			}
		}
		rest(w)
		if r := w.rows[id].snap; r.State != task.Succeeded || len(w.ledger[id]) != 1 || len(w.faults) > 0 || w.promised[id].gen == 0 {
			t.Errorf("%d: %+v, calls %v, %v", first, r, w.ledger[id], w.faults)
		}
	}
}

// The store goes away after the message was published: the caller must not
// hear that the time is the new one, since the old message comes first.
func TestRescheduleWhoseRecordIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.RunAt = w.now.Add(time.Minute)
	id := accept(t, w, s).Task.ID
	var err error
	a := w.spawn("p", func(_ *actor, e *lifecycle.Engine) {
		_, err = e.Reschedule(context.Background(), "default", id, w.now.Add(time.Hour))
	})
	for !a.done {
		if len(w.queue) == 2 {
			w.outage = true
		}
		a.step(proceed)
	}
	wantCode(t, err, task.CodeOutcomeUnknown)
	w.outage = false
	if _, err := reschedule(w, id, w.now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.promised[id] = promise{gen: w.rows[id].snap.Gen, at: w.now.Add(time.Hour)}
	for range 5 {
		rest(w)
	}
	if r := w.rows[id].snap; r.State != task.Succeeded || len(w.ledger[id]) != 1 || len(w.faults) > 0 {
		t.Errorf("%+v, calls %v, %v", r, w.ledger[id], w.faults)
	}
}

func TestChangesUnderACondition(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	queued := func(s *task.Snapshot) bool { return s.State == task.Queued }
	scheduled := func(s *task.Snapshot) bool { return s.State == task.Scheduled }
	w.do(func(e *lifecycle.Engine) {
		_, err := e.CancelIf(context.Background(), "default", id, scheduled)
		wantCode(t, err, task.CodeConflict)
		_, err = e.RetryIf(context.Background(), "default", id, scheduled)
		wantCode(t, err, task.CodeConflict)
		if s, err := e.CancelIf(context.Background(), "default", id, queued); err != nil || s.State != task.Cancelled {
			t.Error(s, err)
		}
	})
	if len(w.queue) != 1 {
		t.Errorf("%d messages", len(w.queue))
	}
}
