package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// do runs fn as a process of its own, to its end.
func (w *world) do(fn func(e *lifecycle.Engine)) {
	a := w.spawn("p", func(_ *actor, e *lifecycle.Engine) { fn(e) })
	for !a.done {
		a.step(proceed)
	}
}

// dieAt runs fn and kills it at its n-th pause. It reports whether fn was
// done before.
func (w *world) dieAt(n int, fn func(e *lifecycle.Engine)) (survived bool) {
	a := w.spawn("doomed", func(_ *actor, e *lifecycle.Engine) { fn(e) })
	for i := 0; !a.done; i++ {
		if i == n {
			a.step(crash)
			return false
		}
		a.step(proceed)
	}
	return true
}

func submission() lifecycle.Submission {
	return lifecycle.Submission{Project: "default", Endpoint: "mail", Payload: []byte("{}"), Fingerprint: "f"}
}

func accept(t *testing.T, w *world, s lifecycle.Submission) lifecycle.Receipt {
	t.Helper()
	var r lifecycle.Receipt
	var err error
	w.do(func(e *lifecycle.Engine) { r, err = e.Accept(context.Background(), s) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t *testing.T, err error, want task.Code) {
	t.Helper()
	if got := task.CodeOf(err); got != want {
		t.Fatalf("code %q, want %q (%v)", got, want, err)
	}
}

// run delivers the only message and settles it as o.
func run(t *testing.T, w *world, o task.Outcome) task.Decision {
	t.Helper()
	if len(w.queue) != 1 {
		t.Fatalf("%d messages", len(w.queue))
	}
	c := w.queue[0]
	var d task.Decision
	w.do(func(e *lifecycle.Engine) {
		start, err := e.Begin(context.Background(), &c.m, c.redelivered, timeout)
		if err != nil || start.Run == nil {
			t.Errorf("begin: %+v, %v", start, err)
			return
		}
		if d, err = e.Settle(context.Background(), start.Run, policy, o); err != nil {
			t.Error(err)
		}
	})
	w.ack(c)
	return d
}

func TestAcceptStoresPublishesAndNotes(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.RunAt = w.now.Add(time.Minute + 1)
	r := accept(t, w, s)
	if r.Task.State != task.Scheduled || !r.Task.RunAt.Equal(w.now.Add(time.Minute+time.Millisecond)) {
		t.Errorf("receipt: %+v", r)
	}
	rec := w.rows[r.Task.ID]
	if rec == nil || !rec.kept || !rec.acceptBy.IsZero() {
		t.Errorf("record: %+v", rec)
	}
	if m := w.queue[0].m; m.ID != r.Task.ID || !m.ETA.Equal(r.Task.RunAt) || m.Version != r.Task.Version {
		t.Errorf("message: %+v", m)
	}
}

func TestLargePayloadIsNotKeptBesideAWaitingTask(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.Payload = []byte("more than eight bytes")
	r := accept(t, w, s)
	if w.rows[r.Task.ID].kept {
		t.Fatal("kept")
	}
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Retry(context.Background(), "default", r.Task.ID)
		wantCode(t, err, task.CodePayloadNotKept)
	})
	if d := run(t, w, task.Outcome{Kind: task.KindRefuse, Reason: task.ReasonPermanentStatus}); d.State != task.Failed {
		t.Fatal(d)
	}
	if !w.rows[r.Task.ID].kept {
		t.Fatal("a dead letter lost its payload")
	}
}

func TestIdempotentRepeat(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.IdempotencyKey = "k"
	first := accept(t, w, s)
	again := accept(t, w, s)
	if !again.Replayed || again.Task.ID != first.Task.ID || len(w.queue) != 1 {
		t.Fatalf("repeat: %+v, %d messages", again, len(w.queue))
	}
	s.Fingerprint = "other"
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Accept(context.Background(), s)
		wantCode(t, err, task.CodeKeyReused)
	})
	s.Project, s.Fingerprint = "another", "f"
	if other := accept(t, w, s); other.Replayed {
		t.Fatal("a key of one project was seen by another")
	}
}

// What comes too late is refused, and leaves nothing behind, unless it repeats
// what came in time.
func TestLateSubmission(t *testing.T) {
	t.Parallel()
	w := newWorld()
	late := task.Errorf(task.CodeInvalid, "too late")
	s := submission()
	for _, key := range []string{"", "k"} {
		s.IdempotencyKey, s.Late = key, late
		w.do(func(e *lifecycle.Engine) {
			if _, err := e.Accept(context.Background(), s); !errors.Is(err, late) {
				t.Errorf("key %q: %v", key, err)
			}
		})
	}
	if len(w.queue)+len(w.rows)+len(w.keys) > 0 {
		t.Fatalf("it left %d messages, %d records, %d keys", len(w.queue), len(w.rows), len(w.keys))
	}
	s.Late = nil
	first := accept(t, w, s)
	s.Late = late
	if again := accept(t, w, s); !again.Replayed || again.Task.ID != first.Task.ID || len(w.queue) != 1 {
		t.Fatalf("repeat: %+v, %d messages", again, len(w.queue))
	}
}

// A gateway dies at each step of an acceptance; the caller repeats with its
// key until it hears 202. One task exists then, and it is delivered.
func TestAcceptSurvivesADeathAtEachStep(t *testing.T) {
	t.Parallel()
	s := submission()
	s.IdempotencyKey = "k"
	for n := 0; ; n++ {
		w := newWorld()
		survived := w.dieAt(n, func(e *lifecycle.Engine) { _, _ = e.Accept(context.Background(), s) })
		if survived {
			if n < 4 {
				t.Fatalf("an acceptance has %d steps", n)
			}
			return
		}
		if len(w.rows) > 0 { // reserved: the first repeat is told to wait
			for id, r := range w.rows {
				if !r.acceptBy.IsZero() {
					w.do(func(e *lifecycle.Engine) {
						_, err := e.Accept(context.Background(), s)
						wantCode(t, err, task.CodeInProgress)
					})
				}
				_ = id
			}
		}
		w.now = w.now.Add(21 * time.Second)
		r := accept(t, w, s)
		if len(w.rows) != 1 || w.rows[r.Task.ID] == nil || len(w.queue) == 0 {
			t.Fatalf("death at %d: %d records, %d messages", n, len(w.rows), len(w.queue))
		}
		if twins := len(w.queue); twins == 2 && !w.queue[1].m.Suspect {
			t.Fatalf("death at %d: the twin is not marked", n)
		}
	}
}

// Two copies of a submission are in the queue, since the confirm of the first
// was lost and the caller came again. While the store is away no order of
// theirs makes an attempt that comes second and does not say so.
func TestTwinsOfASubmissionWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		w := newWorld()
		s := submission()
		s.IdempotencyKey = "k"
		w.broken = true // stored, not confirmed
		w.do(func(e *lifecycle.Engine) { _, _ = e.Accept(context.Background(), s) })
		w.broken = false
		w.now = w.now.Add(time.Hour)
		accept(t, w, s)
		if len(w.queue) != 2 {
			t.Fatalf("%d copies", len(w.queue))
		}
		begin := func(copied int) (run *lifecycle.Running) {
			w.do(func(e *lifecycle.Engine) {
				start, err := e.Begin(context.Background(), &w.queue[copied].m, false, timeout)
				if err != nil {
					t.Error(err)
				}
				run = start.Run
			})
			return run
		}
		w.outage = true
		earlier := begin(order[0])
		w.outage = false // what the earlier attempt came to is not in the store yet
		if later := begin(order[1]); earlier != nil && (later == nil || !later.Record.Suspect) {
			t.Errorf("copies in the order %v: the second attempt does not say so: %+v", order, later)
		}
	}
}

func TestAbandonedAcceptanceIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.dieAt(2, func(e *lifecycle.Engine) { _, _ = e.Accept(context.Background(), submission()) })
	if len(w.rows) != 1 || len(w.queue) != 0 {
		t.Fatalf("%d records, %d messages", len(w.rows), len(w.queue))
	}
	sweep := func() (s lifecycle.Swept) {
		w.do(func(e *lifecycle.Engine) { s, _ = e.Sweep(context.Background(), nil) })
		return s
	}
	if s := sweep(); s.Abandoned != 0 {
		t.Fatal("forgotten before its deadline")
	}
	w.now = w.now.Add(time.Hour)
	if s := sweep(); s.Abandoned != 0 {
		t.Fatal("forgotten while its key must be remembered")
	}
	w.now = w.now.Add(lifecycle.IdempotencyMemory)
	if s := sweep(); s.Abandoned != 1 || len(w.rows) != 0 {
		t.Fatalf("%+v, %d records", s, len(w.rows))
	}
}

func TestAcceptWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.outage = true
	r := accept(t, w, submission())
	if len(w.queue) != 1 || w.queue[0].m.ID != r.Task.ID {
		t.Fatal("not published")
	}
	s := submission()
	s.IdempotencyKey = "k"
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Accept(context.Background(), s)
		wantCode(t, err, task.CodeUnavailable) // its uniqueness cannot be proved
	})
	if len(w.queue) != 1 {
		t.Fatal("published without proof")
	}
}

func TestRefusedPublishSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.broken, w.ids = true, 1 // the next id is even: refused
	s := submission()
	s.IdempotencyKey = "k"
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Accept(context.Background(), s)
		wantCode(t, err, task.CodeNotAccepted)
	})
	w.broken = false
	if r := accept(t, w, s); !r.Replayed || len(w.queue) != 1 { // at once, not after the deadline
		t.Fatalf("repeat: %+v", r)
	}
	w.broken, w.ids = true, 2
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Accept(context.Background(), submission())
		wantCode(t, err, task.CodeOutcomeUnknown)
		if err == nil || !strings.Contains(err.Error(), "Idempotency-Key") {
			t.Error(err)
		}
	})
}

func TestCancelEveryState(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	cancel := func(project string) (s *task.Snapshot, err error) {
		w.do(func(e *lifecycle.Engine) { s, err = e.Cancel(context.Background(), project, id) })
		return s, err
	}
	_, err := cancel("another")
	wantCode(t, err, task.CodeNotFound)
	if s, err := cancel("default"); err != nil || s.State != task.Cancelled {
		t.Fatal(s, err)
	}
	if s, err := cancel("default"); err != nil || s.State != task.Cancelled {
		t.Fatal("not idempotent", s, err)
	}
	id = accept(t, w, submission()).Task.ID
	w.queue = w.queue[1:]
	run(t, w, outcomes()[0])
	_, err = cancel("default")
	wantCode(t, err, task.CodeConflict)
}

func TestSettleSurvivesADeathAtEachStep(t *testing.T) {
	t.Parallel()
	for _, o := range outcomes() {
		for n := 0; ; n++ {
			w := newWorld()
			id := accept(t, w, submission()).Task.ID
			c := w.queue[0]
			survived := w.dieAt(n, func(e *lifecycle.Engine) {
				start, err := e.Begin(context.Background(), &c.m, false, timeout)
				if err == nil && start.Run != nil {
					_, _ = e.Settle(context.Background(), start.Run, policy, o)
				}
			})
			c.redelivered = true
			m := &model{w: w}
			for range 50 { // everything is delivered until nothing is left
				for _, l := range append([]*letter(nil), w.queue...) {
					if l.holder == nil && !w.now.Before(l.m.ETA) {
						m.work(l, outcomes()[0])
						m.finishAll()
					}
				}
				w.now = w.now.Add(20 * time.Second)
			}
			r := w.rows[id]
			if len(w.queue) != 0 || r == nil || !r.snap.State.Final() || len(w.faults) > 0 {
				t.Fatalf("%s, death at %d: %d messages, %+v, %v", o.Kind, n, len(w.queue), r, w.faults)
			}
			if survived {
				break
			}
		}
	}
}

func TestParkedSettlementIsAppliedByItsFence(t *testing.T) {
	t.Parallel()
	ok := outcomes()[0]
	for name, between := range map[string]func(w *world, id task.ID){
		"nothing happened": func(*world, task.ID) {},
		"the store forgot": func(w *world, _ task.ID) { w.rows = map[task.ID]*row{} },
	} {
		w := newWorld()
		id := accept(t, w, submission()).Task.ID
		c := w.queue[0]
		w.do(func(e *lifecycle.Engine) {
			start, err := e.Begin(context.Background(), &c.m, false, timeout)
			if err != nil {
				t.Error(err)
				return
			}
			w.outage, w.now = true, w.now.Truncate(time.Second) // an even millisecond: no effect
			if _, err := e.Settle(context.Background(), start.Run, policy, ok); err != nil {
				t.Error(err)
			}
		})
		w.ack(c)
		w.outage = false
		between(w, id)
		if len(w.park) != 1 {
			t.Fatalf("%s: %d parked", name, len(w.park))
		}
		w.do(func(e *lifecycle.Engine) {
			if err := e.ApplyParked(context.Background(), w.park[0].body); err != nil {
				t.Error(err)
			}
		})
		if r := w.rows[id]; r == nil || r.snap.State != task.Succeeded || string(r.result.Body) != "ok" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestParkedSettlementLosesToACancellation(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	c := w.queue[0]
	w.do(func(e *lifecycle.Engine) {
		start, _ := e.Begin(context.Background(), &c.m, false, timeout)
		w.outage = true
		_, _ = e.Settle(context.Background(), start.Run, policy, outcomes()[0])
		w.outage = false
	})
	w.do(func(e *lifecycle.Engine) { _, _ = e.Cancel(context.Background(), "default", id) })
	w.do(func(e *lifecycle.Engine) {
		if err := e.ApplyParked(context.Background(), w.park[0].body); err != nil {
			t.Error(err)
		}
	})
	if got := w.rows[id].snap.State; got != task.Cancelled {
		t.Fatalf("became %s", got)
	}
}

func TestParkedCodec(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := task.Parked{
			Message: task.First(task.Envelope{
				Spec:    task.Spec{ID: task.MakeID("01JD3YV7Q8K3W5N6P7R8S9TABC", 1), Project: "p", Endpoint: "e"},
				Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			}, 3),
			Lease: "l", Decision: task.Decision{State: task.Succeeded, Used: 2},
			Result: &task.Result{Status: 200, Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body")},
		}
		b, err := lifecycle.EncodeParked(&p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := lifecycle.DecodeParked(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Message.Payload, p.Message.Payload) || !bytes.Equal(got.Result.Body, p.Result.Body) {
			t.Fatal("bytes changed")
		}
		got.Message.Payload, got.Result, p.Message.Payload, p.Result = nil, nil, nil, nil
		if d := cmp.Diff(p, got); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzDecodeParked(f *testing.F) {
	f.Add([]byte(`{"version":1,"parked":{}}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = lifecycle.DecodeParked(b) })
}

func TestEndOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	m := w.queue[0].m
	for range 2 { // again is harmless
		w.do(func(e *lifecycle.Engine) {
			if err := e.EndOrphan(context.Background(), &m); err != nil {
				t.Error(err)
			}
		})
	}
	if r := w.rows[id]; r.snap.State != task.Failed || r.snap.Reason != task.ReasonEndpointDeleted {
		t.Fatalf("%+v", r.snap)
	}
}

func TestRetryWhileRunningIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	w.do(func(e *lifecycle.Engine) { _, _ = e.Begin(context.Background(), &w.queue[0].m, false, timeout) })
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Retry(context.Background(), "default", id)
		wantCode(t, err, task.CodeConflict)
	})
}

func TestLostWorkerFiveTimesFails(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	c := w.queue[0]
	for n := range task.MaxSuspects + 1 {
		w.dieAt(1000, func(e *lifecycle.Engine) {
			s, err := e.Begin(context.Background(), &c.m, n > 0, timeout)
			if err != nil {
				t.Error(err)
			}
			if n > 0 && s.Run != nil && !s.Run.Record.Suspect {
				t.Errorf("attempt %d is not suspect", n+1)
			}
		})
		w.now = w.now.Add(time.Minute) // its heartbeat is over
	}
	if r := w.rows[id]; r.snap.State != task.Failed || r.snap.Reason != task.ReasonLostWorker || !r.kept {
		t.Fatalf("%+v", r.snap)
	}
	if n := len(w.rows[id].attempts); n != task.MaxSuspects {
		t.Errorf("%d attempts recorded", n)
	}
}

// A replay's message expires before its record is written: the generation
// ends as expired, and the late write must not leave it waiting for ever.
func TestReplayThatExpiresBeforeItsRecord(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.ExpiresAt = w.now.Add(10 * time.Second)
	id := accept(t, w, s).Task.ID
	run(t, w, outcomes()[0])
	a := w.spawn("replayer", func(_ *actor, e *lifecycle.Engine) { _, _ = e.Retry(context.Background(), "default", id) })
	for len(w.queue) == 0 {
		a.step(proceed)
	}
	w.now = w.now.Add(20 * time.Second)
	w.do(func(e *lifecycle.Engine) {
		if start, err := e.Begin(context.Background(), &w.queue[0].m, false, timeout); err != nil || start.Ended != task.Expired {
			t.Errorf("begin: %+v, %v", start, err)
		}
	})
	for !a.done {
		a.step(proceed)
	}
	if r := w.rows[id].snap; r.State != task.Expired || r.Gen != 2 {
		t.Errorf("%s in generation %d", r.State, r.Gen)
	}
}

// The confirm is late: the caller hears that the outcome is unknown, the
// sweeper passes, and the repeat with the key finds the same task.
func TestUnknownOutcomeIsRememberedPastTheSweep(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.broken, w.ids = true, 2 // stored, not confirmed
	s := submission()
	s.IdempotencyKey = "k"
	w.do(func(e *lifecycle.Engine) {
		_, err := e.Accept(context.Background(), s)
		wantCode(t, err, task.CodeOutcomeUnknown)
	})
	w.broken = false
	w.now = w.now.Add(time.Minute)
	w.do(func(e *lifecycle.Engine) { _, _ = e.Sweep(context.Background(), nil) })
	r := accept(t, w, s)
	if len(w.rows) != 1 || len(w.queue) != 2 || r.Task.ID != w.queue[0].m.ID || !w.queue[1].m.Suspect {
		t.Fatalf("%d records, %d messages, %+v", len(w.rows), len(w.queue), r)
	}
}

// TestBeginWhoseAnswerWasLost: the record says that we run the task, and we
// know that we do not.
func TestBeginWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld()
	accept(t, w, submission())
	run(t, w, task.Outcome{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500})
	w.now = w.queue[0].m.ETA.Add(time.Millisecond) // odd: the effect stays, the answer is lost
	m := w.queue[0].m
	begin := func(redelivered bool) (start lifecycle.Start) {
		w.do(func(e *lifecycle.Engine) {
			var err error
			if start, err = e.Begin(context.Background(), &m, redelivered, timeout); err != nil {
				t.Error(err)
			}
		})
		return start
	}
	w.outage = true
	if s := begin(false); s.Run != nil || s.Later.IsZero() {
		t.Fatalf("begun without the store: %+v", s)
	}
	w.outage = false
	if r := w.rows[m.ID]; r.snap.State != task.Running {
		t.Fatalf("the record is %s: nothing is tested", r.snap.State)
	}
	if s := begin(false); s.Run == nil || !s.Run.Record.Suspect {
		t.Fatalf("not begun again, announced: %+v", s)
	}
}

func TestSweepPassesOverATornRecord(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := submission()
	s.ExpiresAt = w.now.Add(time.Second)
	one, two := accept(t, w, s).Task.ID, accept(t, w, s).Task.ID
	w.torn = map[task.ID]bool{min(one, two): true}
	w.now = w.now.Add(time.Minute)
	w.do(func(e *lifecycle.Engine) {
		if swept, err := e.Sweep(context.Background(), nil); err != nil || swept.Expired != 1 {
			t.Errorf("%+v, %v", swept, err)
		}
	})
}

// TestRefusedTaskIsForgotten: nobody knows of a task that was surely not
// accepted, unless it has a key, by which it may come again.
func TestRefusedTaskIsForgotten(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "k"} {
		w := newWorld()
		s := submission()
		s.IdempotencyKey = key
		w.do(func(e *lifecycle.Engine) {
			w.refuse()
			w.ids++ // Accept takes one
			_, err := e.Accept(context.Background(), s)
			wantCode(t, err, task.CodeNotAccepted)
			w.broken = false
		})
		w.now = w.now.Add(time.Minute)
		w.do(func(e *lifecycle.Engine) { _, _ = e.Sweep(context.Background(), nil) })
		if kept := len(w.rows) > 0; kept != (key != "") {
			t.Errorf("key %q: kept %v", key, kept)
		}
	}
}
