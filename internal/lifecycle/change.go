package lifecycle

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// errNotFound is the same for an id that never was and one of another
// project: nothing is visible across projects.
func errNotFound() error { return task.Errorf(task.CodeNotFound, "no such task") }

// Find returns a task of a project.
func (e *Engine) Find(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	s, err := e.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if s == nil || s.Project != project {
		return nil, errNotFound()
	}
	return s, nil
}

// Condition looks at a task as it is when it is about to be changed; false
// leaves it as it is. The change happens to exactly the version that was
// looked at.
type Condition func(*task.Snapshot) bool

func errUnmatched() error {
	return task.Errorf(task.CodeConflict, "the task is not as it was asked for")
}

// Cancel ends a task that has not ended. Cancelling a cancelled task changes
// nothing; one that ended otherwise is task.CodeConflict. A running attempt
// is told to stop; its outcome no longer counts.
func (e *Engine) Cancel(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
	return e.CancelIf(ctx, project, id, func(*task.Snapshot) bool { return true })
}

// CancelIf is Cancel under a condition; task.CodeConflict when it does not
// hold.
func (e *Engine) CancelIf(ctx context.Context, project string, id task.ID, holds Condition) (*task.Snapshot, error) {
	for range maxRaces {
		s, err := e.Find(ctx, project, id)
		if err != nil {
			return nil, err
		}
		if !holds(s) {
			return nil, errUnmatched()
		}
		if s.State == task.Cancelled {
			return s, nil
		}
		done, err := e.cancel(ctx, s)
		if err != nil || done {
			return s, err
		}
	}
	return nil, task.Errorf(task.CodeUnavailable, "the task changes too fast; repeat")
}

// cancel ends s; done is false when it has changed meanwhile.
func (e *Engine) cancel(ctx context.Context, s *task.Snapshot) (done bool, err error) {
	next, ok := s.Ended(task.Cancelled, task.ReasonCancelled, e.now())
	if !ok {
		return false, task.Errorf(task.CodeConflict, "the task has ended already: it %s", past(s.State))
	}
	c := task.Change{Expect: s.Version, Next: next, Spec: &s.Spec}
	if s.State == task.Running {
		a := openAttempt(&s.Record, task.ReasonCancelled)
		a.Took = task.Duration(next.EndedAt.Sub(s.StartedAt))
		c.Attempts = []task.Attempt{a}
	}
	reply, err := e.swap(ctx, c)
	if err != nil || !reply.OK {
		return false, err
	}
	if s.State == task.Running {
		e.hintCancel(ctx, s.ID)
	}
	e.tellSoon(ctx, &c)
	s.Record = next
	return true, nil
}

// hintCancel is best effort: a running attempt that misses it runs to its
// end, and its outcome is dropped all the same.
func (e *Engine) hintCancel(ctx context.Context, id task.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opt.StoreTimeout)
	defer cancel()
	if err := e.store.HintCancel(ctx, id); err != nil {
		e.opt.Logger.WarnContext(ctx, "running attempt not told of its cancellation", "task", id, "error", err)
	}
}

func past(s task.State) string {
	switch s {
	case task.Expired, task.Succeeded, task.Failed:
		return string(s)
	default:
		return "was " + string(s)
	}
}

// Retry replays a task that has ended, or runs a waiting one now, as its next
// generation. Errors: task.CodeConflict while it runs, CodePayloadNotKept.
func (e *Engine) Retry(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
	return e.RetryIf(ctx, project, id, func(*task.Snapshot) bool { return true })
}

// RetryIf is Retry under a condition; task.CodeConflict when it does not hold.
func (e *Engine) RetryIf(ctx context.Context, project string, id task.ID, holds Condition) (*task.Snapshot, error) {
	s, err := e.Find(ctx, project, id)
	if err != nil {
		return nil, err
	}
	if !holds(s) {
		return nil, errUnmatched()
	}
	next, ok := s.Restarted(e.now())
	if !ok {
		return nil, task.Errorf(task.CodeConflict, "the task is %s: it cannot be retried now", s.State)
	}
	if s.ExpiredAt(e.now()) {
		return nil, task.Errorf(task.CodeConflict, "the task expired at %s: it cannot run again", s.ExpiresAt.Format(time.RFC3339))
	}
	env, err := e.envelope(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := e.first(ctx, s); err != nil {
		return nil, err
	}
	if err := e.publishRestart(ctx, next.Next(env)); err != nil {
		return nil, err
	}
	reply, err := e.swap(ctx, task.Change{Expect: s.Version, Next: next, Spec: &s.Spec, ClearResult: true})
	switch {
	case err != nil:
		// The message is durable and carries the generation: it will run.
		e.opt.Logger.WarnContext(ctx, "retry published, record not written yet", "task", id, "error", err)
	case !reply.OK:
		return e.lostRetry(reply.Present, next)
	}
	s.Record = next
	return s, nil
}

// lostRetry answers a retry that met a concurrent change. If that was a retry
// too, or the new generation's attempt itself, the wish is granted; otherwise
// the message already published is recognised as lost by its version, and
// after a reschedule it waits for the time of that.
func (e *Engine) lostRetry(present *task.Snapshot, next task.Record) (*task.Snapshot, error) {
	if present != nil && present.Gen >= next.Gen && present.State != task.Scheduled {
		return present, nil
	}
	return nil, errChanged()
}

func errChanged() error {
	return task.Errorf(task.CodeConflict, "the task changed at the same moment; look at it and repeat if needed")
}

// envelope is what a new message of the task carries.
func (e *Engine) envelope(ctx context.Context, s *task.Snapshot) (task.Envelope, error) {
	payload, kept, err := e.payload(ctx, s.ID)
	if err != nil {
		return task.Envelope{}, err
	}
	if !kept {
		return task.Envelope{}, task.Errorf(task.CodePayloadNotKept,
			"the task's payload was too large to keep (%d bytes): submit it again", s.PayloadSize)
	}
	return task.Envelope{Spec: s.Spec, Payload: payload}, nil
}

func (e *Engine) payload(ctx context.Context, id task.ID) ([]byte, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	return e.store.Payload(ctx, id)
}

func (e *Engine) publishRestart(ctx context.Context, m task.Message) error {
	err := e.publish(ctx, m)
	if err == nil {
		return nil
	}
	code := task.CodeOf(err)
	if code != task.CodeNotAccepted {
		code = task.CodeOutcomeUnknown
	}
	out := task.Wrap(code, err, "the broker did not confirm the change; look at the task and repeat if needed")
	out.TaskID = m.ID
	return out
}
