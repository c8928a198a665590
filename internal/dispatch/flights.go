package dispatch

import (
	"context"
	"sync"

	"github.com/taskgate/taskgate/internal/task"
)

// flights are the attempts of this process in flight. Whatever a record says,
// a task that is here is not begun again here.
type flights struct {
	mu   sync.Mutex
	byID map[task.ID]context.CancelCauseFunc
}

// begin enters a task; ok is false when it is in flight. The context ends by
// abort, or with ctx.
func (f *flights) begin(ctx context.Context, id task.ID) (flight context.Context, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.byID[id]; busy {
		return nil, false
	}
	flight, cancel := context.WithCancelCause(ctx)
	if f.byID == nil {
		f.byID = make(map[task.ID]context.CancelCauseFunc)
	}
	f.byID[id] = cancel
	return flight, true
}

func (f *flights) end(id task.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[id](nil)
	delete(f.byID, id)
}

func (f *flights) abort(id task.ID, cause error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	cancel, ok := f.byID[id]
	if ok {
		cancel(cause)
	}
	return ok
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.byID)
}
