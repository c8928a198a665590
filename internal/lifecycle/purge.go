package lifecycle

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// What one step of cancelling an endpoint's tasks reads, and how many are
// cancelled side by side.
const (
	purgePage = 500
	purgeSide = 16
)

// CancelEndpoint cancels every task of an endpoint that has not ended and
// returns how many it cancelled.
func (e *Engine) CancelEndpoint(ctx context.Context, project, endpoint string) (int, error) {
	n, _, err := e.Purge(ctx, task.Query{
		Project: project, Endpoint: endpoint, Callbacks: true,
		States: []task.State{task.Scheduled, task.Queued, task.Running, task.Retrying, task.Awaiting},
	}, time.Time{})
	return n, err
}

// Purge cancels the tasks that a query finds and that are in its states, the
// newest first, and returns how many it cancelled. It stops after the page
// that ends after until (zero: never), and then says where to go on; "" means
// that there is nothing more. With an error the count is of what was done all
// the same.
func (e *Engine) Purge(ctx context.Context, q task.Query, until time.Time) (n int, next string, err error) {
	for {
		q.Limit, q.Now = purgePage, e.now()
		page, err := e.store.List(ctx, q)
		if err != nil {
			return n, "", err
		}
		done, err := e.cancelAll(ctx, page.Items, q.States)
		n += done
		if err != nil || page.Next == "" || !until.IsZero() && !e.opt.Now().Before(until) {
			return n, page.Next, err
		}
		q.Cursor = page.Next
	}
}

// cancelAll cancels those that are still in one of the states, and returns how
// many. Trouble ends it.
func (e *Engine) cancelAll(ctx context.Context, items []task.Snapshot, states []task.State) (int, error) {
	var done atomic.Int64
	var trouble atomic.Pointer[error]
	next := make(chan *task.Snapshot)
	var wg sync.WaitGroup
	for range min(purgeSide, len(items)) {
		wg.Go(func() {
			for s := range next {
				switch err := e.cancelIn(ctx, s, states); task.CodeOf(err) {
				case "":
					done.Add(1)
				case task.CodeConflict, task.CodeNotFound: // it has moved on, or is gone
				default:
					trouble.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	for i := range items {
		if trouble.Load() == nil {
			next <- &items[i]
		}
	}
	close(next)
	wg.Wait()
	if err := trouble.Load(); err != nil {
		return int(done.Load()), *err
	}
	return int(done.Load()), nil
}

func (e *Engine) cancelIn(ctx context.Context, s *task.Snapshot, states []task.State) error {
	_, err := e.CancelIf(ctx, s.Project, s.ID, func(now *task.Snapshot) bool {
		return slices.Contains(states, now.StateAt(e.now()))
	})
	return err
}
