package lifecycle_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// Observers hear of each acceptance and of each end, once.
func TestObserver(t *testing.T) {
	t.Parallel()
	w := newWorld()
	heard := func(want ...string) {
		t.Helper()
		if !slices.Equal(w.told, want) {
			t.Fatalf("observers heard %q, want %q", w.told, want)
		}
		w.told = nil
	}
	s := submission()
	s.IdempotencyKey = "k"
	id := accept(t, w, s).Task.ID
	accept(t, w, s)
	heard("accepted default/mail")
	run(t, w, task.Outcome{Kind: task.KindRetry, Reason: task.ReasonHandler5xx})
	heard()
	w.now = w.now.Add(time.Hour)
	run(t, w, task.Outcome{Kind: task.KindSuccess, Result: &task.Result{Status: 200}})
	heard("succeeded default/mail")

	w.do(func(e *lifecycle.Engine) { _, _ = e.Retry(context.Background(), "default", id) })
	heard()
	// Cancelled while it runs: its late settlement published a retry, so the
	// record is made to live longer. That is no second end.
	c := w.queue[0]
	w.do(func(e *lifecycle.Engine) {
		start, err := e.Begin(context.Background(), &c.m, false, timeout)
		if err != nil || start.Run == nil {
			t.Errorf("begin: %+v, %v", start, err)
			return
		}
		if _, err := e.Cancel(context.Background(), "default", id); err != nil {
			t.Error(err)
		}
		before := w.rows[id].snap.Version
		if _, err := e.Settle(context.Background(), start.Run, policy, task.Outcome{Kind: task.KindRetry}); err != nil {
			t.Error(err)
		}
		if w.rows[id].snap.Version == before {
			t.Error("the record was not made to live longer")
		}
	})
	heard("cancelled default/mail")

	s = submission()
	s.ExpiresAt = w.now.Add(time.Minute)
	accept(t, w, s)
	w.now = w.now.Add(time.Hour)
	w.do(func(e *lifecycle.Engine) {
		if _, err := e.Sweep(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	heard("accepted default/mail", "expired default/mail")
}
