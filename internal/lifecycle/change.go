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

// Cancel ends a task that has not ended. Cancelling a cancelled task changes
// nothing; one that ended otherwise is task.CodeConflict. A running attempt
// is told to stop; its outcome no longer counts.
func (e *Engine) Cancel(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
	for range maxRaces {
		s, err := e.Find(ctx, project, id)
		if err != nil {
			return nil, err
		}
		if s.State == task.Cancelled {
			return s, nil
		}
		next, ok := s.Ended(task.Cancelled, task.ReasonCancelled, e.now())
		if !ok {
			return nil, task.Errorf(task.CodeConflict, "the task has ended already: it %s", past(s.State))
		}
		c := task.Change{Expect: s.Version, Next: next, Spec: &s.Spec}
		if s.State == task.Running {
			a := openAttempt(&s.Record, task.ReasonCancelled)
			a.Took = task.Duration(next.EndedAt.Sub(s.StartedAt))
			c.Attempts = []task.Attempt{a}
		}
		reply, err := e.swap(ctx, c)
		if err != nil {
			return nil, err
		}
		if !reply.OK {
			continue
		}
		if s.State == task.Running {
			e.hintCancel(ctx, id)
		}
		s.Record = next
		return s, nil
	}
	return nil, task.Errorf(task.CodeUnavailable, "the task changes too fast; repeat")
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
	s, err := e.Find(ctx, project, id)
	if err != nil {
		return nil, err
	}
	next, ok := s.Restarted(e.now())
	if !ok {
		return nil, task.Errorf(task.CodeConflict, "the task is %s: it cannot be retried now", s.State)
	}
	if s.ExpiredAt(e.now()) {
		return nil, task.Errorf(task.CodeConflict, "the task expired at %s: it cannot run again", s.ExpiresAt.Format(time.RFC3339))
	}
	payload, kept, err := e.payload(ctx, id)
	if err != nil {
		return nil, err
	}
	if !kept {
		return nil, task.Errorf(task.CodePayloadNotKept,
			"the task's payload was too large to keep (%d bytes): submit it again", s.PayloadSize)
	}
	if err := e.publishRestart(ctx, next.Next(task.Envelope{Spec: s.Spec, Payload: payload})); err != nil {
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
// the message already published is recognised as lost by its version.
func (e *Engine) lostRetry(present *task.Snapshot, next task.Record) (*task.Snapshot, error) {
	if present != nil && present.Gen >= next.Gen {
		return present, nil
	}
	return nil, task.Errorf(task.CodeConflict, "the task changed at the same moment; look at it and repeat if needed")
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
	out := task.Wrap(code, err, "the broker did not confirm the retry")
	out.TaskID = m.ID
	return out
}

// EndOrphan ends a task whose endpoint was deleted by its owner. It is called
// with a message that found no queue.
func (e *Engine) EndOrphan(ctx context.Context, m *task.Message) error {
	for range maxRaces {
		s, err := e.store.Get(ctx, m.ID)
		if err != nil {
			return err
		}
		base, expect := m.Expected(), int64(0)
		if s != nil {
			if s.Gen > m.Gen || s.Gen == m.Gen && s.Seq > m.Seq {
				return nil
			}
			base, expect = s.Record, s.Version
		}
		next, ok := base.Ended(task.Failed, task.ReasonEndpointDeleted, e.now())
		if !ok {
			return nil
		}
		reply, err := e.swap(ctx, task.Change{
			Expect: expect, Next: next, Spec: &m.Spec, Payload: nonNil(m.Payload),
		})
		if err != nil || reply.OK {
			return err
		}
	}
	return task.Errorf(task.CodeUnavailable, "the record changed too often")
}

// cancelPage is how many tasks one step of CancelEndpoint reads.
const cancelPage = 500

// CancelEndpoint cancels every task of an endpoint that has not ended and
// returns how many it cancelled.
func (e *Engine) CancelEndpoint(ctx context.Context, project, endpoint string) (int, error) {
	n := 0
	q := task.Query{
		Project: project, Endpoint: endpoint, Limit: cancelPage, Now: e.now(),
		States: []task.State{task.Scheduled, task.Queued, task.Running, task.Retrying, task.Awaiting},
	}
	for {
		page, err := e.store.List(ctx, q)
		if err != nil {
			return n, err
		}
		for i := range page.Items {
			_, err := e.Cancel(ctx, project, page.Items[i].ID)
			switch task.CodeOf(err) {
			case "":
				n++
			case task.CodeConflict, task.CodeNotFound: // ended by itself
			default:
				return n, err
			}
		}
		if page.Next == "" {
			return n, nil
		}
		q.Cursor = page.Next
	}
}
