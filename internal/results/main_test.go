package results_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newTask(n int) task.NewTask {
	s := task.Spec{
		ID: task.MakeID(fmt.Sprintf("%026d", n), n), Project: "p", Endpoint: "e",
		CreatedAt: epoch.Add(time.Duration(n) * time.Second), Labels: map[string]string{"n": fmt.Sprint(n % 10)},
	}
	return task.NewTask{Spec: s, Record: task.NewRecord(&s), AcceptBy: s.CreatedAt.Add(time.Minute)}
}

func end(s *task.Snapshot, state task.State) task.Change {
	next, ok := s.Ended(state, task.ReasonCancelled, s.CreatedAt.Add(time.Second))
	if !ok {
		panic("ended already")
	}
	return task.Change{Expect: s.Version, Next: next, Spec: &s.Spec}
}

// fake is a driver in memory with what store and hub tests look at. What it
// does not have panics.
type fake struct {
	results.Driver

	mu      sync.Mutex
	rows    map[task.ID]results.Row
	sorted  []task.ID // oldest first
	lists   []results.List
	limits  []int
	awaits  int
	reads   int // ids read by ReadMany
	calls   int // of ReadMany
	indexes map[task.ID]results.Index
	failing error
	fn      func(string)
	reset   func()
	ready   chan struct{} // closed once subscribed
	gate    chan struct{} // Await waits for it, when not nil
	late    chan struct{} // Await has read and waits for it, when not nil
}

func newFake() *fake {
	return &fake{
		rows: make(map[task.ID]results.Row), indexes: make(map[task.ID]results.Index), ready: make(chan struct{}),
	}
}

func (f *fake) Create(_ context.Context, c results.Create) (results.Created, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[c.ID], f.indexes[c.ID] = c.Row, c.Index
	f.sorted = append(f.sorted, c.ID)
	return results.Created{New: true}, f.failing
}

func (f *fake) Swap(_ context.Context, s results.Swap) (results.Swapped, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rows[s.ID]
	if f.failing != nil || r.Version != s.Expect {
		return results.Swapped{Row: r}, f.failing
	}
	r.ID, r.Version, r.Head = s.ID, s.Version, s.Head
	f.rows[s.ID], f.indexes[s.ID] = r, s.Index
	return results.Swapped{OK: true}, nil
}

func (f *fake) Read(_ context.Context, id task.ID, _ bool) (results.Row, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows[id], f.failing
}

func (f *fake) ReadMany(_ context.Context, ids []task.ID) ([]results.Row, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.reads += len(ids)
	rows := make([]results.Row, len(ids))
	for i, id := range ids {
		rows[i] = f.rows[id]
	}
	return rows, f.failing
}

func (f *fake) Await(ctx context.Context, id task.ID, _ results.Topic) (results.Row, error) {
	f.mu.Lock()
	f.awaits++
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return results.Row{}, fmt.Errorf("%w: %w", results.ErrUnavailable, ctx.Err())
		}
	}
	f.mu.Lock()
	row, err, late := f.rows[id], f.failing, f.late
	f.mu.Unlock()
	if late != nil {
		<-late
	}
	return row, err
}

func (f *fake) Scan(_ context.Context, s results.Scan) ([]results.Row, results.Cursor, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists, f.limits = append(f.lists, s.List), append(f.limits, s.Limit)
	var rows []results.Row
	var last results.Cursor
	for _, id := range slices.Backward(f.sorted) {
		at := f.indexes[id].Created
		if !s.Before.IsZero() && (at.After(s.Before) || at.Equal(s.Before) && id >= s.BeforeID) {
			continue
		}
		if len(rows) == s.Limit {
			return rows, last, true, f.failing
		}
		rows, last = append(rows, f.rows[id]), results.Cursor{Created: at, ID: id}
	}
	return rows, last, false, f.failing
}

func (f *fake) Subscribe(ctx context.Context, _ results.Topic, fn func(string), reset func()) error {
	f.mu.Lock()
	f.fn, f.reset = fn, reset
	f.mu.Unlock()
	reset()
	close(f.ready)
	<-ctx.Done()
	return nil
}

func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
}

func (f *fake) index(id task.ID) results.Index {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.indexes[id]
}

func (f *fake) counts() (awaits, calls, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.awaits, f.calls, f.reads
}
