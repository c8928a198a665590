package results

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

var errHubRan = errors.New("a hub runs once")

// Run listens for hints and looks after the waiters until ctx ends; then
// every waiter returns. It returns an error only when the store was closed
// under it. A hub runs once.
func (h *Hub) Run(ctx context.Context) error {
	if !h.start() {
		return errHubRan
	}
	defer h.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	closed := make(chan error, 1)
	wg.Go(func() { closed <- h.store.d.Subscribe(ctx, h.topic, h.hint, h.markAll) })
	wg.Go(func() { h.renewals(ctx) })
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-closed:
			cancel()
			return fail(err)
		case <-tick.C:
			h.markAll()
		case <-h.work:
			h.readDirty(ctx)
		}
	}
}

func (h *Hub) start() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.ended:
		return false
	default:
	}
	was := h.running
	h.running = true
	return !was
}

func (h *Hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = false
	close(h.ended)
}

func (h *Hub) hint(msg string) {
	id := task.ID(msg)
	h.mu.Lock()
	_, waiting := h.tasks[id]
	if waiting {
		h.dirty[id] = struct{}{}
	}
	h.mu.Unlock()
	if waiting {
		h.kick()
	}
}

// markAll has every waiting task read: hints may have been lost.
func (h *Hub) markAll() {
	h.mu.Lock()
	for id := range h.tasks {
		h.dirty[id] = struct{}{}
	}
	h.mu.Unlock()
	h.kick()
}

// batch is what one read covers.
type batch struct {
	ids     []task.ID
	flights []*flight
	last    []*task.Snapshot
}

func (h *Hub) takeDirty() batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b batch
	for id := range h.dirty {
		delete(h.dirty, id)
		w := h.tasks[id]
		if w == nil {
			continue
		}
		b.ids = append(b.ids, id)
		b.flights = append(b.flights, w.read)
		b.last = append(b.last, w.last)
		w.read = nil
		if len(b.ids) == readChunk {
			break
		}
	}
	return b
}

func (h *Hub) readDirty(ctx context.Context) {
	for b := h.takeDirty(); len(b.ids) > 0; b = h.takeDirty() {
		h.deliver(b, h.readMany(ctx, b))
	}
}

type reading struct {
	snap *task.Snapshot
	err  error
}

func (h *Hub) readMany(ctx context.Context, b batch) []reading {
	ctx, cancel := context.WithTimeout(ctx, hubTimeout)
	defer cancel()
	out := make([]reading, len(b.ids))
	rows, err := h.store.d.ReadMany(ctx, b.ids)
	for i := range out {
		if err != nil {
			out[i].err = fail(err)
			continue
		}
		snap, err := again(rows[i], b.last[i])
		out[i] = reading{snap: snap, err: fail(err)}
	}
	return out
}

// again decodes a row that was seen before: specs never change.
func again(r Row, last *task.Snapshot) (*task.Snapshot, error) {
	if last == nil || r.Version == 0 {
		return snapshot(r)
	}
	rec, err := task.DecodeHead(r.Head, r.Version)
	if err != nil {
		return nil, err
	}
	return &task.Snapshot{Spec: last.Spec, Record: rec}, nil
}

// deliver hands out what was read. A task that was known and is not there any
// more stays waited for: its message may bring it back. A failed read reaches
// those who asked for it; the others are looked at again soon.
func (h *Hub) deliver(b batch, got []reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, id := range b.ids {
		if w := h.tasks[id]; w != nil && got[i].snap != nil {
			h.learn(id, w, got[i].snap)
		}
		if f := b.flights[i]; f != nil {
			f.snap, f.err = got[i].snap, got[i].err
			close(f.end)
		}
	}
}

// renewals keeps old registrations from ending.
func (h *Hub) renewals(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ids := make(chan task.ID)
		var wg sync.WaitGroup
		old := h.old()
		for range min(renewers, len(old)) {
			wg.Go(func() {
				for id := range ids {
					h.renew(ctx, id)
				}
			})
		}
		for _, id := range old {
			ids <- id
		}
		close(ids)
		wg.Wait()
	}
}

func (h *Hub) old() []task.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []task.ID
	for id, w := range h.tasks {
		if w.join == nil && w.last != nil && time.Since(w.registered) > renewAfter {
			ids = append(ids, id)
		}
	}
	return ids
}

func (h *Hub) renew(ctx context.Context, id task.ID) {
	h.mu.Lock()
	w := h.tasks[id]
	if w == nil || w.join != nil {
		h.mu.Unlock()
		return
	}
	f := newFlight()
	w.join = f
	h.mu.Unlock()
	h.register(ctx, id, w, f)
}
