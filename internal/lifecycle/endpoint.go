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
		c := task.Change{Expect: expect, Next: next, Spec: &m.Spec, Payload: nonNil(m.Payload)}
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

// cancelPage is how many tasks one step of CancelEndpoint reads.
const cancelPage = 500

// CancelEndpoint cancels every task of an endpoint that has not ended and
// returns how many it cancelled.
func (e *Engine) CancelEndpoint(ctx context.Context, project, endpoint string) (int, error) {
	n := 0
	q := task.Query{
		Project: project, Endpoint: endpoint, Limit: cancelPage, Now: e.now(), Callbacks: true,
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
