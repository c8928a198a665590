package bulk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store and a lifecycle in memory, for several processes.
type world struct {
	mu     sync.Mutex
	tasks  []*task.Snapshot // oldest first
	docs   map[[3]string]task.Document
	leases map[string]lease
	// changes are the tasks changed, in order, with the time.
	changes []change
	// refuse makes changes of a task fail.
	refuse map[task.ID]error
	// again makes a retried task fail again at once.
	again bool
	// away makes everything fail for now.
	away bool
	// delay is how long a change takes.
	delay time.Duration
}

type lease struct {
	owner string
	till  time.Time
}

type change struct {
	id task.ID
	at time.Time
}

func newWorld() *world {
	return &world{docs: map[[3]string]task.Document{}, leases: map[string]lease{}, refuse: map[task.ID]error{}}
}

// add stores a task of endpoint "mail".
func (w *world) add(state task.State, labels map[string]string) task.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := task.MakeID(fmt.Sprintf("%026d", len(w.tasks)+1), 1)
	w.tasks = append(w.tasks, &task.Snapshot{
		Spec:   task.Spec{ID: id, Project: "p", Endpoint: "mail", CreatedAt: time.Now().UTC(), Labels: labels},
		Record: task.Record{Version: 8, State: state, Gen: 1, Seq: 1, ETA: time.Now()},
	})
	return id
}

func (w *world) addMany(n int, state task.State) (ids []task.ID) {
	for range n {
		ids = append(ids, w.add(state, nil))
		pass(time.Millisecond) // of the bubble
	}
	return ids
}

func (w *world) find(id task.ID) *task.Snapshot {
	for _, s := range w.tasks {
		if s.ID == id {
			return s
		}
	}
	return nil
}

func (w *world) all() []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes)
}

func (w *world) count() int { return len(w.all()) }

func (w *world) documents() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.docs)
}

func (w *world) stateOf(id task.ID) task.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.find(id).State
}

func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

// pass returns when d of the bubble's time has passed.
func pass(d time.Duration) { <-time.After(d) }

func (w *world) changed(id task.ID) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.changes {
		if c.id == id {
			n++
		}
	}
	return n
}

// process is one process's way into the world. It dies before or after its
// n-th call: from then on nothing it does has an effect.
type process struct {
	w     *world
	calls int
	dieAt int // 0: never
	after bool
	stop  context.CancelFunc
}

var errAway = task.Errorf(task.CodeUnavailable, "away")

// call runs one step.
func (p *process) call(effect func()) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.calls++
	dies := p.dieAt > 0 && p.calls >= p.dieAt
	if p.w.away || dies && (!p.after || p.calls > p.dieAt) {
		return errAway
	}
	effect()
	if dies {
		p.stop()
		return errAway
	}
	return nil
}

func (p *process) dead() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.dieAt > 0 && p.calls >= p.dieAt
}

func (p *process) List(_ context.Context, q task.Query) (page task.Page, err error) {
	err = p.call(func() { page = p.w.list(q) })
	return page, err
}

func (w *world) list(q task.Query) (page task.Page) {
	for _, s := range slices.Backward(w.tasks) {
		switch {
		case q.Cursor != "" && string(s.ID) >= q.Cursor,
			s.Project != q.Project, q.Endpoint != "" && s.Endpoint != q.Endpoint,
			!slices.Contains(q.States, s.StateAt(q.Now)),
			s.CreatedAt.Before(q.CreatedAfter), !s.CreatedAt.Before(q.CreatedBefore):
			continue
		}
		if match := len(q.Labels) == 0 || s.Labels["k"] == q.Labels["k"]; !match {
			continue
		}
		if len(page.Items) == q.Limit {
			page.Next = string(page.Items[q.Limit-1].ID)
			return page
		}
		page.Items = append(page.Items, *s)
	}
	return page
}

func (p *process) SwapDocument(_ context.Context, doc task.Document) (present task.Document, ok bool, err error) {
	err = p.call(func() {
		key := [3]string{doc.Kind, doc.Group, doc.Name}
		present = p.w.docs[key]
		if ok = present.Version == doc.Version; !ok {
			return
		}
		doc.Version++
		p.w.docs[key] = doc
		if doc.Data == nil {
			delete(p.w.docs, key)
		}
	})
	return present, ok && err == nil, err
}

func (p *process) ReadDocument(_ context.Context, kind, group, name string) (doc task.Document, err error) {
	err = p.call(func() { doc = p.w.docs[[3]string{kind, group, name}] })
	return doc, err
}

func (p *process) ListDocuments(
	_ context.Context, kind, group, before string, limit int,
) (docs []task.Document, more bool, err error) {
	err = p.call(func() {
		for key, doc := range p.w.docs {
			if key[0] == kind && key[1] == group && (before == "" || key[2] < before) {
				docs = append(docs, doc)
			}
		}
		slices.SortFunc(docs, func(a, b task.Document) int { return strings.Compare(b.Name, a.Name) })
		more = len(docs) > limit
		docs = docs[:min(len(docs), limit)]
	})
	return docs, more, err
}

func (p *process) Lead(_ context.Context, name, owner string, ttl time.Duration) (ok bool, err error) {
	err = p.call(func() {
		held := p.w.leases[name]
		if ok = held.owner == owner || !time.Now().Before(held.till); ok {
			p.w.leases[name] = lease{owner, time.Now().Add(ttl)}
		}
	})
	return ok, err
}

func (p *process) change(id task.ID, holds lifecycle.Condition, f func(s *task.Snapshot) bool) (*task.Snapshot, error) {
	pass(p.w.delay)
	var out error
	err := p.call(func() {
		s := p.w.find(id)
		switch {
		case p.w.refuse[id] != nil:
			out = p.w.refuse[id]
		case !holds(new(*s)) || !f(s):
			out = task.Errorf(task.CodeConflict, "not now")
		default:
			p.w.changes = append(p.w.changes, change{id, time.Now()})
		}
	})
	if err != nil {
		return nil, err
	}
	return nil, out
}

func (p *process) CancelIf(_ context.Context, _ string, id task.ID, holds lifecycle.Condition) (*task.Snapshot, error) {
	return p.change(id, holds, func(s *task.Snapshot) bool {
		next, ok := s.Ended(task.Cancelled, task.ReasonCancelled, time.Now())
		s.Record = next
		return ok
	})
}

func (p *process) RetryIf(_ context.Context, _ string, id task.ID, holds lifecycle.Condition) (*task.Snapshot, error) {
	return p.change(id, holds, func(s *task.Snapshot) bool {
		next, ok := s.Restarted(time.Now())
		if p.w.again {
			next.State = task.Failed
		}
		s.Record = next
		return ok
	})
}

// start runs a process in the world; it ends with the test.
func (w *world) start(t *testing.T, name string) (*Service, *process) {
	t.Helper()
	return w.startDoomed(t, name, 0, false)
}

// startDoomed runs a process that dies at its n-th call.
func (w *world) startDoomed(t *testing.T, name string, dieAt int, after bool) (*Service, *process) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &process{w: w, dieAt: dieAt, after: after, stop: stop}
	s := New(p, p, Options{Owner: name, Stopping: ctx.Done()})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return s, p
}

// ends waits for a job's end, as seen by a process of its own.
func (w *world) ends(t *testing.T, id string) Job {
	t.Helper()
	p := &process{w: w}
	s := New(p, p, Options{})
	for range 1000 {
		job, err := s.Wait(t.Context(), "p", id, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if job.Ended() {
			return job
		}
	}
	t.Fatal("the job never ends")
	return Job{}
}
