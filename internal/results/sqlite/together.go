package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// together reads rows for many callers at once. When thousands of waiters come
// in the same moment (a restart, a burst), one statement each would keep them
// and everybody else waiting for the few reading connections. A caller that
// finds nobody reading reads by itself: alone, it costs nothing.
type together struct {
	d *Driver

	mu      sync.Mutex
	reading bool
	closed  bool
	next    *reads
	wg      sync.WaitGroup
}

// reads is what the next statement covers.
type reads struct {
	ids  []task.ID
	rows []results.Row
	err  error
	done chan struct{}
}

// togetherTime bounds one statement for many; no caller's context ends it.
const togetherTime = 5 * time.Second

func (t *together) read(ctx context.Context, id task.ID) (results.Row, error) {
	b, i := t.join(id)
	if b == nil {
		defer t.handOver()
		return t.d.Read(ctx, id, false)
	}
	select {
	case <-b.done:
		if b.err != nil {
			return results.Row{}, b.err
		}
		return b.rows[i], nil
	case <-ctx.Done():
		return results.Row{}, unavailable(context.Cause(ctx))
	}
}

// join enters id into the next statement; nil: nobody reads, read yourself
// and hand over.
func (t *together) join(id task.ID) (b *reads, i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reading {
		t.reading = true
		return nil, 0
	}
	if t.next == nil {
		t.next = &reads{done: make(chan struct{})}
	}
	t.next.ids = append(t.next.ids, id)
	return t.next, len(t.next.ids) - 1
}

// handOver starts the next statement, if anybody waits for one.
func (t *together) handOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.next
	t.next = nil
	if t.reading = b != nil; !t.reading {
		return
	}
	if t.closed {
		b.err = unavailable(errClosed)
		close(b.done)
		t.reading = false
		return
	}
	t.wg.Go(func() {
		defer t.handOver()
		ctx, cancel := context.WithTimeout(context.Background(), togetherTime)
		defer cancel()
		b.rows, b.err = t.d.ReadMany(ctx, b.ids)
		close(b.done)
	})
}

// close runs end and returns when no statement of ours runs any more.
func (t *together) close(end func()) {
	t.mu.Lock()
	t.closed = true
	end()
	t.mu.Unlock()
	t.wg.Wait()
}
