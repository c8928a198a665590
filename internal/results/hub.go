package results

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

const (
	// recheckEvery bounds how late a waiter is when its hint is lost.
	recheckEvery = 10 * time.Second
	// readChunk is how many tasks one read of the hub covers.
	readChunk = 500
	// hubTimeout bounds one call of the store.
	hubTimeout = 5 * time.Second
	// A registration lasts 90 s. Who joins a wait registers again when the
	// last one is older than joinFresh; the hub itself renews after renewAfter.
	joinFresh  = 20 * time.Second
	renewAfter = 60 * time.Second
	renewers   = 8
)

// Hub is the long-poll of one gateway: any number of callers wait for tasks
// to end at the cost of one subscription. Hints say which task to look at;
// since hints may be lost, every waiting task is looked at every 10 s, in
// chunks, and nobody polls.
type Hub struct {
	store *Store
	topic Topic
	work  chan struct{} // capacity 1: there is something to read
	ended chan struct{} // closed when Run has ended

	mu      sync.Mutex
	running bool
	tasks   map[task.ID]*waited
	dirty   map[task.ID]struct{} // to be read
}

// waited is one task somebody waits for.
type waited struct {
	callers    int
	registered time.Time
	join       *flight        // a registration under way
	read       *flight        // the next read, for those who need a fresh one
	last       *task.Snapshot // as last seen
	done       chan struct{}  // closed when last is final
}

// flight is one call of the store that several callers share.
type flight struct {
	end  chan struct{}
	snap *task.Snapshot
	err  error
	own  bool // err is the caller's own: its context ended
}

// NewHub makes the hub of a gateway. gateway must be unique among processes.
func NewHub(s *Store, gateway string) *Hub {
	return &Hub{
		store: s, topic: Topic("gateway:" + gateway),
		work: make(chan struct{}, 1), ended: make(chan struct{}),
		tasks: make(map[task.ID]*waited), dirty: make(map[task.ID]struct{}),
	}
}

// Wait returns the task as soon as it is final, or at until as it is then;
// nil for an unknown id. When the hub stops, waiters get the task as last
// seen. Errors: task.CodeUnavailable, or the context's cause.
func (h *Hub) Wait(ctx context.Context, id task.ID, until time.Time) (*task.Snapshot, error) {
	w := h.enter(id)
	defer h.leave(id, w)
	snap, err := h.join(ctx, id, w)
	if err != nil || snap == nil || snap.State.Final() {
		return snap, err
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-w.done:
		return h.seen(w), nil
	case <-h.ended:
		return h.seen(w), nil
	case <-ctx.Done():
		return nil, gone(ctx)
	case <-timer.C:
		return h.fresh(ctx, id, w)
	}
}

func gone(ctx context.Context) error { return fmt.Errorf("wait for a task: %w", context.Cause(ctx)) }

func (h *Hub) enter(id task.ID) *waited {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.tasks[id]
	if w == nil {
		w = &waited{done: make(chan struct{})}
		h.tasks[id] = w
	}
	w.callers++
	return w
}

func (h *Hub) leave(id task.ID, w *waited) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.callers--
	if w.callers == 0 && h.tasks[id] == w {
		delete(h.tasks, id)
		delete(h.dirty, id)
	}
}

// seen is a copy, so that callers cannot change each other's.
func (h *Hub) seen(w *waited) *task.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return clone(w.last)
}

func clone(s *task.Snapshot) *task.Snapshot {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}

// join makes sure that the task is registered and returns it as first seen.
func (h *Hub) join(ctx context.Context, id task.ID, w *waited) (*task.Snapshot, error) {
	for {
		f, own := h.board(w)
		if own {
			h.register(ctx, id, w, f)
		}
		select {
		case <-f.end:
		case <-ctx.Done():
			if !own {
				return nil, gone(ctx)
			}
		}
		switch {
		case !f.own:
			return clone(f.snap), f.err
		case own:
			return nil, gone(ctx)
		}
	}
}

// board returns the registration to wait for; own says that the caller is to
// make it.
func (h *Hub) board(w *waited) (f *flight, own bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case w.join != nil:
		return w.join, false
	case w.last != nil && (w.last.State.Final() || time.Since(w.registered) < joinFresh):
		return &flight{end: landed, snap: w.last}, false
	}
	w.join = newFlight()
	return w.join, true
}

// landed is the end of flights that need not start.
var landed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func newFlight() *flight { return &flight{end: make(chan struct{})} }

// register makes the task's changes known to this hub and ends the flight.
func (h *Hub) register(ctx context.Context, id task.ID, w *waited, f *flight) {
	at := time.Now()
	call, cancel := context.WithTimeout(ctx, hubTimeout)
	defer cancel()
	row, err := h.store.d.Await(call, id, h.topic)
	if err == nil {
		f.snap, err = snapshot(row)
	}
	f.err, f.own = fail(err), err != nil && ctx.Err() != nil
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && f.snap != nil {
		w.registered = at
		h.learn(id, w, f.snap)
	}
	w.join = nil
	close(f.end)
}

// learn takes in what a read has found. The caller holds the lock.
func (h *Hub) learn(id task.ID, w *waited, s *task.Snapshot) {
	if w.last != nil && w.last.State.Final() && h.tasks[id] != w {
		return // it has ended; this read was overtaken by the one that saw it
	}
	w.last = s
	if !s.State.Final() || h.tasks[id] != w {
		return
	}
	delete(h.tasks, id)
	delete(h.dirty, id)
	close(w.done)
}

// fresh reads the task once more, together with others.
func (h *Hub) fresh(ctx context.Context, id task.ID, w *waited) (*task.Snapshot, error) {
	h.mu.Lock()
	if h.tasks[id] != w { // it has just ended
		defer h.mu.Unlock()
		return clone(w.last), nil
	}
	if !h.running {
		h.mu.Unlock()
		return h.store.Get(ctx, id)
	}
	if w.read == nil {
		w.read = newFlight()
	}
	f := w.read
	h.dirty[id] = struct{}{}
	h.mu.Unlock()
	h.kick()
	select {
	case <-f.end:
		return clone(f.snap), f.err
	case <-w.done: // somebody else's read came first
		return h.seen(w), nil
	case <-h.ended:
		return h.seen(w), nil
	case <-ctx.Done():
		return nil, gone(ctx)
	}
}

func (h *Hub) kick() {
	select {
	case h.work <- struct{}{}:
	default:
	}
}
