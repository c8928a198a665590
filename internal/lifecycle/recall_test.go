package lifecycle_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// saved is what of the store is on disk.
func (w *world) saved() map[task.ID]*row {
	rows := make(map[task.ID]*row, len(w.rows))
	for id, r := range w.rows {
		c := *r
		c.attempts = maps.Clone(r.attempts)
		rows[id] = &c
	}
	return rows
}

// crash has the store come back with what was on disk.
func (w *world) crash(rows map[task.ID]*row) {
	w.rows = rows
	w.epoch++
}

func recall(t *testing.T, e *lifecycle.Engine, want int) {
	t.Helper()
	if n, err := e.Recall(context.Background()); err != nil || n != want {
		t.Errorf("recalled %d, want %d (%v)", n, want, err)
	}
}

// deliverOne begins and settles the task's message in this process, and
// acknowledges it.
func deliverOne(t *testing.T, w *world, e *lifecycle.Engine, between func(), o task.Outcome) {
	t.Helper()
	c := w.queue[0]
	start, err := e.Begin(context.Background(), &c.m, c.redelivered, timeout)
	if err != nil || start.Run == nil {
		t.Fatalf("begin: %+v, %v", start, err)
	}
	between()
	if _, err := e.Settle(context.Background(), start.Run, policy, o); err != nil {
		t.Fatal(err)
	}
	w.ack(c)
}

// What the store lost of a settled task in a crash, it gets again, whatever it
// still had of it.
func TestRecallWritesAgainWhatTheStoreLost(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]string{"all": "", "from the begin": "accept", "the settlement": "begin", "nothing": "settle"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			disk := map[task.ID]*row{}
			snap := func(at string) func() {
				return func() {
					if at == keep {
						disk = w.saved()
					}
				}
			}
			s := submission()
			s.Callback = &task.Callback{URL: "http://127.0.0.1/"}
			id := accept(t, w, s).Task.ID
			snap("accept")()
			w.do(func(e *lifecycle.Engine) {
				recall(t, e, 0)
				deliverOne(t, w, e, snap("begin"), outcomes()[0])
				snap("settle")()
				w.crash(disk)
				if keep == "settle" {
					recall(t, e, 0)
				} else {
					recall(t, e, 1)
				}
				recall(t, e, 0)
			})
			r := w.rows[id]
			if r == nil || r.snap.State != task.Succeeded || r.result == nil || r.snap.Outbox != 0 {
				t.Fatalf("after the crash: %+v", r)
			}
			if r.snap.Starts != 1 {
				t.Errorf("%d attempts", r.snap.Starts)
			}
			// Its callback was published before; the second says so.
			for i, c := range w.queue {
				if again := i > 0; c.m.CallbackOf != id || c.m.Suspect != again {
					t.Errorf("callback %d: suspect %v", i, c.m.Suspect)
				}
			}
			if want := map[bool]int{true: 1, false: 2}[keep == "settle"]; len(w.queue) != want {
				t.Errorf("%d callbacks, want %d", len(w.queue), want)
			}
		})
	}
}

// A settlement that was followed by a retry's message is written again only
// over a record that is behind: otherwise the message says what is to be.
func TestRecallOfARetry(t *testing.T) {
	t.Parallel()
	again := outcomes()[3]
	for name, c := range map[string]struct {
		keep string
		lost int
		want task.State
	}{"nothing": {"", 0, ""}, "accepted": {"accept", 1, task.Retrying}, "begun": {"begin", 1, task.Retrying}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			disk := map[task.ID]*row{}
			id := accept(t, w, submission()).Task.ID
			if c.keep == "accept" {
				disk = w.saved()
			}
			w.do(func(e *lifecycle.Engine) {
				recall(t, e, 0)
				deliverOne(t, w, e, func() {
					if c.keep == "begin" {
						disk = w.saved()
					}
				}, again)
				w.crash(disk)
				recall(t, e, c.lost)
			})
			if r := w.rows[id]; c.want == "" && r != nil || c.want != "" && (r == nil || r.snap.State != c.want || r.snap.Seq != 2) {
				t.Errorf("after the crash: %+v", r)
			}
			w.now = w.now.Add(time.Minute)
			run(t, w, outcomes()[0])
			if r := w.rows[id]; r == nil || r.snap.State != task.Succeeded || r.snap.Starts != 2 {
				t.Errorf("at the end: %+v", r)
			}
		})
	}
}

// What has happened since the crash is not undone.
func TestRecallGivesWayToWhatIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	w.do(func(e *lifecycle.Engine) {
		recall(t, e, 0)
		deliverOne(t, w, e, func() {}, outcomes()[6])
		if _, err := e.Retry(context.Background(), "default", id); err != nil {
			t.Error(err)
		}
		w.epoch++
		recall(t, e, 0)
	})
	if r := w.rows[id]; r.snap.Gen != 2 || r.snap.State != task.Queued {
		t.Errorf("the replay is %+v", r.snap.Record)
	}
}

// While the store is away nothing is forgotten, however long that takes. When
// it lives, nothing is kept longer than it can lose.
func TestRecallRemembersAsLongAsItMust(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := accept(t, w, submission()).Task.ID
	w.do(func(e *lifecycle.Engine) {
		recall(t, e, 0)
		disk := w.saved()
		deliverOne(t, w, e, func() {}, outcomes()[0])
		w.outage = true
		w.now = w.now.Add(time.Hour)
		if _, err := e.Recall(context.Background()); err == nil {
			t.Error("recalled without a store")
		}
		w.outage = false
		w.crash(disk)
		recall(t, e, 1)
		if w.rows[id].snap.State != task.Succeeded {
			t.Errorf("after the outage: %s", w.rows[id].snap.State)
		}
		w.now = w.now.Add(time.Minute)
		recall(t, e, 0)
		w.crash(map[task.ID]*row{})
		recall(t, e, 0)
	})
}

// The memory is bounded: the oldest goes first.
func TestRecallIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	const tasks, body = 40, 1 << 20
	big := task.Outcome{Kind: task.KindSuccess, Status: 200, Result: &task.Result{Status: 200, Body: make([]byte, body)}}
	w.do(func(e *lifecycle.Engine) {
		recall(t, e, 0)
		for range tasks {
			if _, err := e.Accept(context.Background(), submission()); err != nil {
				t.Error(err)
				return
			}
			deliverOne(t, w, e, func() {}, big)
		}
		w.crash(map[task.ID]*row{})
		n, err := e.Recall(context.Background())
		if err != nil || n < 8 || n > 16 {
			t.Errorf("remembered %d of %d MiB (%v)", n, tasks, err)
		}
	})
}

// What cannot be fenced waits for as long as the store has been away, so that
// a short outage delays it shortly.
func TestHeldForAsLongAsTheStoreIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld()
	accept(t, w, submission())
	w.do(func(e *lifecycle.Engine) {
		held := func(after, want time.Duration) {
			t.Helper()
			w.now, w.outage = w.now.Add(after), true
			s, err := e.Begin(context.Background(), &w.queue[0].m, true, timeout)
			if err != nil || s.Run != nil || s.Later.Sub(w.now) != want {
				t.Errorf("away for %v: %+v, held for %v (%v)", after, s.Run, s.Later.Sub(w.now), err)
			}
		}
		held(0, time.Second)
		held(10*time.Second, 10*time.Second)
		held(time.Hour, 30*time.Second)
		w.outage = false
		if err := e.Beat(context.Background()); err != nil {
			t.Error(err)
		}
		held(2*time.Second, 2*time.Second)
	})
}
