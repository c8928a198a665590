package lifecycle

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Reschedule gives a task that waits another time, as its next generation. A
// time that has passed is now. The attempts that count so far still do.
// Errors: task.CodeConflict for a task that runs or has ended,
// task.CodeInvalid for a time that is not before the task's expires_at,
// CodePayloadNotKept, and CodeOutcomeUnknown: then the time may be the new one
// or not, and a repeat is safe.
func (e *Engine) Reschedule(ctx context.Context, project string, id task.ID, at time.Time) (*task.Snapshot, error) {
	s, err := e.Find(ctx, project, id)
	if err != nil {
		return nil, err
	}
	now := e.now()
	at = ceilMillis(at.UTC())
	next, ok := s.Rescheduled(at, now)
	if !ok {
		return nil, task.Errorf(task.CodeConflict, "the task is %s: only one that waits can get another time", s.State)
	}
	if s.ExpiredAt(next.ETA) {
		return nil, task.Errorf(task.CodeInvalid, "must be before the task's expires_at, %s", s.ExpiresAt.Format(time.RFC3339))
	}
	env, err := e.envelope(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := e.foresee(ctx, s, next.ETA); err != nil {
		return nil, err
	}
	next, _ = s.Rescheduled(at, now)
	if err := e.publishRestart(ctx, next.Next(env)); err != nil {
		return nil, err
	}
	reply, err := e.swap(ctx, task.Change{Expect: s.Version, Next: next, Spec: &s.Spec})
	switch {
	case err != nil:
		return nil, unsure(s.ID, err)
	case !reply.OK:
		return lostReschedule(reply.Present, next)
	}
	s.Record = next
	return s, nil
}

// foresee notes in s that a message may come as late as at, before there is
// one. Should all that follows fail, the record still outlives the message:
// without a record it would run, long after the task has.
func (e *Engine) foresee(ctx context.Context, s *task.Snapshot, at time.Time) error {
	noted := s.Outliving(at)
	reply, err := e.swap(ctx, task.Change{Expect: s.Version, Next: noted, Spec: &s.Spec})
	if err != nil {
		return err
	}
	if !reply.OK {
		return errChanged()
	}
	s.Record = noted
	return nil
}

// unsure: the new message is durable, its record perhaps not written. Unlike a
// replay's it may come after the old message, which would then not know that
// it is superseded. So this is no success yet.
func unsure(id task.ID, err error) error {
	out := task.Wrap(task.CodeOutcomeUnknown, err, "the task may have its new time or not; repeat")
	out.TaskID = id
	return out
}

// lostReschedule answers a reschedule that met a concurrent change: granted
// when that gave the task the same time. Otherwise the message already
// published is recognised as lost by its version, or waits for the time that
// the winner set.
func lostReschedule(present *task.Snapshot, next task.Record) (*task.Snapshot, error) {
	if present != nil && present.Gen == next.Gen && present.ETA.Equal(next.ETA) {
		return present, nil
	}
	return nil, errChanged()
}
