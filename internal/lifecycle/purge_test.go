package lifecycle_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// shelf is a store of tasks to purge, listed in order.
type shelf struct {
	lifecycle.Store
	mu    sync.Mutex
	tasks []*task.Snapshot
	byID  map[task.ID]*task.Snapshot
	reads int // pages
	fail  int // swaps until the store goes away; 0: never
	now   time.Time
	side  int // swaps at the same time, at most
	busy  int
}

func newShelf(states ...task.State) *shelf {
	s := &shelf{byID: make(map[task.ID]*task.Snapshot), now: time.Now()}
	for i, st := range states {
		spec := task.Spec{ID: task.MakeID(fmt.Sprintf("%026d", i), i), Project: "default", Endpoint: "mail", CreatedAt: s.now}
		snap := &task.Snapshot{Spec: spec, Record: task.NewRecord(&spec)}
		snap.State = st
		s.tasks, s.byID[spec.ID] = append(s.tasks, snap), snap
	}
	return s
}

func (s *shelf) engine() *lifecycle.Engine {
	return lifecycle.New(nil, s, lifecycle.Options{Now: func() time.Time { return s.now }})
}

func (s *shelf) List(_ context.Context, q task.Query) (page task.Page, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	s.now = s.now.Add(time.Second) // each page takes its time
	from, _ := strconv.Atoi(q.Cursor)
	to := min(from+q.Limit, len(s.tasks))
	for _, t := range s.tasks[from:to] {
		if slices.Contains(q.States, t.State) {
			page.Items = append(page.Items, *t)
		}
	}
	if to < len(s.tasks) {
		page.Next = strconv.Itoa(to)
	}
	return page, nil
}

func (s *shelf) Get(_ context.Context, id task.ID) (*task.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return new(*s.byID[id]), nil
}

func (s *shelf) Swap(_ context.Context, c task.Change) (task.ChangeReply, error) {
	s.mu.Lock()
	s.busy++
	s.side = max(s.side, s.busy)
	s.mu.Unlock()
	<-time.After(time.Microsecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if s.fail > 0 {
		if s.fail--; s.fail == 0 {
			s.fail = 1
			return task.ChangeReply{}, errAway
		}
	}
	s.byID[c.Spec.ID].Record = c.Next
	return task.ChangeReply{OK: true}, nil
}

func (s *shelf) HintCancel(context.Context, task.ID) error { return nil }

func (s *shelf) count(state task.State) (n int) {
	for _, t := range s.tasks {
		if t.State == state {
			n++
		}
	}
	return n
}

func waitingStates() []task.State { return []task.State{task.Scheduled, task.Queued, task.Retrying} }

func TestPurgeCancelsWhatWaits(t *testing.T) {
	s := newShelf(task.Queued, task.Running, task.Retrying, task.Succeeded, task.Awaiting, task.Queued)
	n, next, err := s.engine().Purge(t.Context(), task.Query{Project: "default", Endpoint: "mail", States: waitingStates()}, time.Time{})
	if n != 3 || next != "" || err != nil || s.count(task.Cancelled) != 3 || s.count(task.Running) != 1 || s.count(task.Awaiting) != 1 {
		t.Errorf("%d cancelled, next %q, %v", n, next, err)
	}
	if n, err = s.engine().CancelEndpoint(t.Context(), "default", "mail"); n != 2 || err != nil || s.count(task.Succeeded) != 1 {
		t.Errorf("%d cancelled, %v", n, err)
	}
}

// Its time is bounded, and it goes on where it stopped.
func TestPurgeGoesOn(t *testing.T) {
	s := newShelf(slices.Repeat([]task.State{task.Queued}, 3200)...)
	q := task.Query{Project: "default", Endpoint: "mail", States: waitingStates()}
	total, calls := 0, 0
	for done := false; !done; calls++ {
		n, next, err := s.engine().Purge(t.Context(), q, s.now.Add(3*time.Second))
		if err != nil || n == 0 {
			t.Fatalf("%d cancelled, %v", n, err)
		}
		total += n
		q.Cursor, done = next, next == ""
	}
	if total != 3200 || calls != 3 || s.reads != 7 || s.side < 2 || s.side > 16 {
		t.Errorf("%d cancelled in %d calls, %d pages, %d side by side", total, calls, s.reads, s.side)
	}
}

// When the store goes away it ends at once, and says what it did.
func TestPurgeWithoutStore(t *testing.T) {
	s := newShelf(slices.Repeat([]task.State{task.Queued}, 400)...)
	s.fail = 100
	n, _, err := s.engine().Purge(t.Context(), task.Query{Project: "default", Endpoint: "mail", States: waitingStates()}, time.Time{})
	if n != 99 || n != s.count(task.Cancelled) || task.CodeOf(err) != task.CodeUnavailable {
		t.Errorf("%d cancelled, %v", n, err)
	}
}
