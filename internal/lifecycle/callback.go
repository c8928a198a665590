package lifecycle

import (
	"context"
	"encoding/json"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// A callback is a task of its own, and a successor of the generation whose
// end it tells: the swap that ends a generation puts the task into the outbox
// → the callback is created and published → the broker confirms → the task
// leaves the outbox. A crash in between leaves the task in the outbox, where
// the next message of the task, its retry, or the sweep finds it and publishes
// again. The callback's id is always the same, so a second message of it is
// known as a twin by its record.
//
// Nothing moves a record on from a final state before its callback is
// published: the callback is made of the record.

const (
	// outboxAge is how old an end must be for the sweep to take care of its
	// callback: whoever ended the task is at it until then.
	outboxAge = 5 * time.Second
	// outboxWait is when a message comes again whose task's callback cannot
	// be published now.
	outboxWait = 5 * time.Second
	// outboxGrace is how long a task is kept that was in the outbox for longer
	// than it would have been kept: a replay that has just published its
	// callback is at it.
	outboxGrace = 10 * time.Minute
	// promptly bounds the publishing of a callback that nobody waits for: the
	// sweep does it otherwise.
	promptly = 3 * time.Second
)

// due reports whether a change ends a generation whose callback is due. Swap
// then puts the task into the outbox, and tell is to be called next.
func due(c *task.Change) bool { return c.Next.JustEnded() && c.Spec.Callback.Due(c.Next.State) }

// tell publishes the callback of a change that was made, if one is due.
func (e *Engine) tell(ctx context.Context, c *task.Change) error {
	if !due(c) {
		return nil
	}
	s := task.Snapshot{Spec: *c.Spec, Record: c.Next, Outbox: c.Next.Gen}
	// Of a generation that the store had forgotten, the callback may be
	// known already.
	return e.callback(ctx, &s, c.Result, c.Next.Rebuilt)
}

// tellSoon is tell for those who have nobody to tell of a failure.
func (e *Engine) tellSoon(ctx context.Context, c *task.Change) {
	if !due(c) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), promptly)
	defer cancel()
	if err := e.tell(ctx, c); err != nil {
		e.opt.Logger.WarnContext(ctx, "callback not published yet", "task", c.Spec.ID, "error", err)
	}
}

// flush publishes the callback of a task that was found in the outbox. It may
// have been published before.
func (e *Engine) flush(ctx context.Context, s *task.Snapshot) error {
	if s == nil || s.Outbox == 0 {
		return nil
	}
	if s.Outbox != s.Gen || !s.State.Final() {
		return e.leave(ctx, s) // the record has moved on: after its callback was published
	}
	if s.State != task.Succeeded {
		return e.callback(ctx, s, nil, true)
	}
	rctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	now, r, err := e.store.GetResult(rctx, s.ID)
	switch {
	case err != nil:
		return err
	case now == nil, now.Version != s.Version:
		return nil // it has moved on in this moment
	}
	return e.callback(ctx, s, r, true)
}

// callback publishes the callback of s, which is in the outbox, and takes s
// out of it. again: it may have been published before.
func (e *Engine) callback(ctx context.Context, s *task.Snapshot, r *task.Result, again bool) error {
	body := e.body(ctx, s, r)
	cb, err := e.callbackTask(ctx, s, body, again)
	if err != nil {
		return err
	}
	if untouched(&cb.Record) {
		m := task.First(task.Envelope{Spec: cb.Spec, Payload: body}, cb.Version)
		m.Suspect = cb.Suspect
		if err := e.publish(ctx, m); err != nil {
			return err
		}
	}
	if err := e.leave(ctx, s); err != nil {
		// It is published; whoever finds it in the outbox finds that, too.
		e.opt.Logger.WarnContext(ctx, "task stays in the outbox for now", "task", s.ID, "error", err)
	}
	return nil
}

// callbackTask makes sure that the callback of s has a record, and returns it
// as it is. If it may have been published before, its record says so before it
// is published again: of two copies, the one that comes second may be the
// first one, which does not know.
func (e *Engine) callbackTask(ctx context.Context, s *task.Snapshot, body []byte, again bool) (*task.Snapshot, error) {
	spec := s.CallbackSpec(len(body), e.now())
	t := task.NewTask{Spec: spec, Record: task.NewRecord(&spec), Payload: e.keep(body)}
	if again {
		t.Record = t.Record.Doubted()
	}
	claim, err := e.create(ctx, t)
	if err != nil {
		return nil, err
	}
	if claim.New {
		e.opt.Observer.Accepted(spec.Project, spec.Endpoint)
		return &task.Snapshot{Spec: spec, Record: t.Record}, nil
	}
	cb := claim.Present
	for range maxRaces {
		if cb == nil {
			break
		}
		if cb.Suspect || !untouched(&cb.Record) {
			return cb, nil
		}
		noted := cb.Doubted()
		reply, err := e.swap(ctx, task.Change{Expect: cb.Version, Next: noted, Spec: &cb.Spec})
		if err != nil {
			return nil, err
		}
		if reply.OK {
			return &task.Snapshot{Spec: cb.Spec, Record: noted}, nil
		}
		cb = reply.Present
	}
	return nil, task.Errorf(task.CodeUnavailable, "the callback's record changed too often")
}

// untouched: nothing shows that the callback's first message was published.
func untouched(r *task.Record) bool {
	return r.State == task.Queued && r.Gen == 1 && r.Seq == 1 && r.Starts == 0
}

func (e *Engine) leave(ctx context.Context, s *task.Snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	return e.store.LeaveOutbox(ctx, s, e.now().Add(outboxGrace))
}

// body is what the callback says. What cannot be shown does not keep the
// submitter from hearing of the end.
func (e *Engine) body(ctx context.Context, s *task.Snapshot, r *task.Result) []byte {
	b, err := e.opt.CallbackBody(s, r)
	if err == nil {
		return b
	}
	e.opt.Logger.ErrorContext(ctx, "callback cannot show its task", "task", s.ID, "error", err)
	b, _ = bareBody(s, nil)
	return b
}

// bareBody tells no more than which task ended, when and how.
func bareBody(s *task.Snapshot, _ *task.Result) ([]byte, error) {
	var body struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			ID    task.ID    `json:"id"`
			State task.State `json:"state"`
		} `json:"data"`
	}
	body.Type, body.Timestamp = "task."+string(s.State), s.EndedAt
	body.Data.ID, body.Data.State = s.ID, s.State
	return json.Marshal(body)
}

// first publishes a callback that is still to come before its task's next
// generation begins.
func (e *Engine) first(ctx context.Context, s *task.Snapshot) error {
	err := e.flush(ctx, s)
	if err == nil || unavailable(err) {
		return err
	}
	out := task.Wrap(task.CodeNotAccepted, err, "the callback of the task's last end cannot be published now; nothing was changed")
	out.TaskID = s.ID
	return out
}

// sweepOutbox publishes callbacks whose publishing was interrupted.
func (e *Engine) sweepOutbox(ctx context.Context) (sent int, err error) {
	for {
		ids, err := e.store.Outbox(ctx, e.now().Add(-outboxAge), sweepBatch)
		if err != nil {
			return sent, err
		}
		n, err := e.flushAll(ctx, ids)
		sent += n
		if err != nil || n == 0 || len(ids) < sweepBatch {
			return sent, err
		}
	}
}

// flushAll returns how many callbacks it published, and an error when it is
// of no use to go on now.
func (e *Engine) flushAll(ctx context.Context, ids []task.ID) (sent int, err error) {
	for _, id := range ids {
		switch err := e.flushID(ctx, id); task.CodeOf(err) {
		case "":
			sent++
		case task.CodeUnavailable, task.CodeNotAccepted, task.CodeOutcomeUnknown:
			return sent, err
		default:
			// One record that cannot be read must not keep the others.
			e.opt.Logger.ErrorContext(ctx, "callback cannot be published", "task", id, "error", err)
		}
	}
	return sent, nil
}

func (e *Engine) flushID(ctx context.Context, id task.ID) error {
	rctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	s, err := e.store.Get(rctx, id)
	if err != nil {
		return err
	}
	return e.flush(ctx, s)
}
