package sqlite

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	// awaitFor is how long a registration lasts at least; at most twice that.
	awaitFor = 90 * time.Second
	// earLen bounds the hints that a slow subscriber has not heard yet; past
	// it they are dropped and it is told to reset.
	earLen = 1024
)

// hub carries hints between the goroutines of this process. The zero value is
// ready.
type hub struct {
	mu   sync.Mutex
	ears map[results.Topic]map[*ear]struct{}
	// Registrations age by moving from young to old to nowhere, all at once:
	// no walk over what may be a million of them.
	young, old waiters
	turned     time.Time
}

type waiters map[task.ID][]results.Topic

type ear struct {
	hints  chan string
	missed bool // guarded by hub.mu
}

func (h *hub) await(id task.ID, t results.Topic, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.young == nil || now.Sub(h.turned) > awaitFor {
		h.old, h.young, h.turned = h.young, waiters{}, now
	}
	if !slices.Contains(h.young[id], t) {
		h.young[id] = append(h.young[id], t)
	}
}

// wake tells every topic that waits for id. The registrations stay for
// another change, until their time is over.
func (h *hub) wake(id task.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.young[id] {
		h.tell(t, string(id))
	}
	for _, t := range h.old[id] {
		if !slices.Contains(h.young[id], t) {
			h.tell(t, string(id))
		}
	}
}

func (h *hub) hint(t results.Topic, msg string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(t, msg)
}

func (h *hub) tell(t results.Topic, msg string) {
	for e := range h.ears[t] {
		select {
		case e.hints <- msg:
		default:
			e.missed = true
		}
	}
}

func (h *hub) listen(t results.Topic) *ear {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ears == nil {
		h.ears = map[results.Topic]map[*ear]struct{}{}
	}
	if h.ears[t] == nil {
		h.ears[t] = map[*ear]struct{}{}
	}
	e := &ear{hints: make(chan string, earLen)}
	h.ears[t][e] = struct{}{}
	return e
}

func (h *hub) leave(t results.Topic, e *ear) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if delete(h.ears[t], e); len(h.ears[t]) == 0 {
		delete(h.ears, t)
	}
}

func (h *hub) hasMissed(e *ear) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	missed := e.missed
	e.missed = false
	return missed
}

// Hint implements [results.Driver].
func (d *Driver) Hint(ctx context.Context, t results.Topic, msg string) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	d.hub.hint(t, msg)
	return nil
}

// Subscribe implements [results.Driver].
func (d *Driver) Subscribe(ctx context.Context, t results.Topic, fn func(msg string), reset func()) error {
	if err := d.open(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	e := d.hub.listen(t)
	defer d.hub.leave(t, e)
	if ctx.Err() == nil {
		reset()
	}
	for ctx.Err() == nil {
		select {
		case msg := <-e.hints:
			if d.hub.hasMissed(e) {
				reset()
			}
			fn(msg)
		case <-ctx.Done():
		case <-d.done:
			return unavailable(errClosed)
		}
	}
	return nil
}
