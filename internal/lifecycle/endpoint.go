package lifecycle

import (
	"context"

	"github.com/taskgate/taskgate/internal/task"
)

// EndOrphan ends a task whose endpoint was deleted by its owner. It is called
// with a message that found no queue.
func (e *Engine) EndOrphan(ctx context.Context, m *task.Message) error {
	for range maxRaces {
		s, err := e.store.Get(ctx, m.ID)
		if err != nil {
			return err
		}
		if err := e.flush(ctx, s); err != nil {
			return err
		}
		base, expect := m.Rebuild(), int64(0)
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
		c := task.Change{Expect: expect, Next: next, Spec: &m.Spec}
		e.keepFailed(ctx, &c, m.Payload)
		reply, err := e.swap(ctx, c)
		if err != nil {
			return err
		}
		if reply.OK {
			return e.tell(ctx, &c)
		}
	}
	return task.Errorf(task.CodeUnavailable, "the record changed too often")
}
