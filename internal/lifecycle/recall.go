package lifecycle

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// A store may confirm a change and lose it: Redis that syncs its file once a
// second loses the last second in a crash, and a replica that is promoted
// lacks what had not reached it. Messages are acknowledged by then, so a task
// that had ended would stay "running" for ever, with nobody to work on it.
//
// Therefore each process remembers what it has settled lately, until the store
// can be trusted to have it, and writes it again when the store comes back
// from a crash ([Engine.Recall]). What is lost with both of them stays lost.

const (
	// recallFor is how long a change is remembered: longer than any store may
	// take to keep it. Redis gives its disk two seconds before it waits.
	recallFor = 5 * time.Second
	// recallBytes bounds what is remembered; the oldest is forgotten first.
	recallBytes = 16 << 20
	// memoSize is about what a remembered change takes beside its bodies.
	memoSize = 1 << 10
)

// memory is what a process has settled lately, oldest first.
type memory struct {
	mu    sync.Mutex
	life  string // of the store that has taken it
	memos []memo
	bytes int
}

type memo struct {
	change task.Change
	at     time.Time
}

func (m *memo) size() int {
	n := memoSize + len(m.change.Payload)
	if r := m.change.Result; r != nil {
		n += len(r.Body)
	}
	return n
}

func (m *memory) add(x memo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memos = append(m.memos, x)
	m.bytes += x.size()
	drop := 0
	for m.bytes > recallBytes {
		m.bytes -= m.memos[drop].size()
		drop++
	}
	m.drop(drop)
}

// drop forgets the n oldest.
func (m *memory) drop(n int) {
	clear(m.memos[:n]) // they hold results
	m.memos = m.memos[n:]
}

// forget drops what was noted before a time.
func (m *memory) forget(before time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.memos) && m.memos[n].at.Before(before) {
		m.bytes -= m.memos[n].size()
		n++
	}
	m.drop(n)
	if len(m.memos) == 0 {
		m.memos = nil
	}
}

func (m *memory) all() []memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]memo(nil), m.memos...)
}

// remember notes a change that the store has confirmed, if it ends a task or
// an attempt. An attempt's begin needs no memory: its settlement makes up for
// it.
func (e *Engine) remember(c *task.Change) {
	if e.opt.Life != nil && (c.Next.JustEnded() || c.Next.State == task.Retrying) {
		e.memory.add(memo{change: *c, at: e.now()})
	}
}

// Recall looks whether the store has come back from a crash since the last
// call, and then writes again what it may have lost of our latest changes. It
// returns how many it had lost. To be called every few seconds; while the
// store is away it fails and nothing is forgotten.
func (e *Engine) Recall(ctx context.Context) (int, error) {
	if e.opt.Life == nil {
		return 0, nil
	}
	asked := e.now()
	lctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	life, err := e.opt.Life(lctx)
	if err != nil {
		return 0, err
	}
	m := &e.memory
	m.mu.Lock()
	same := m.life == life || m.life == ""
	m.mu.Unlock()
	lost := 0
	if !same {
		if lost, err = e.writeAgain(ctx, m.all()); err != nil {
			return lost, err
		}
		e.opt.Logger.WarnContext(ctx, "the store has come back from a crash", "changes_lost_and_written_again", lost)
	}
	m.mu.Lock()
	m.life = life
	m.mu.Unlock()
	m.forget(asked.Add(-recallFor))
	return lost, nil
}

// writeAgain does so in the order of the changes: a task's retry comes before
// its end.
func (e *Engine) writeAgain(ctx context.Context, memos []memo) (lost int, err error) {
	for i := range memos {
		was, err := e.restore(ctx, memos[i].change)
		if unavailable(err) {
			return lost, err
		}
		if err != nil {
			// One record that cannot be written must not keep the others.
			e.opt.Logger.ErrorContext(ctx, "lost change cannot be written again", "task", memos[i].change.Spec.ID, "error", err)
			continue
		}
		if was {
			lost++
		}
	}
	return lost, nil
}

// restore writes one change again, if the store has lost it.
func (e *Engine) restore(ctx context.Context, c task.Change) (lost bool, err error) {
	gctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	present, err := e.store.Get(gctx, c.Spec.ID)
	if err != nil {
		return false, err
	}
	first := c.Next
	for range maxRaces {
		var there *task.Record
		c.Expect = 0
		if present != nil {
			there, c.Expect = &present.Record, present.Version
		}
		var ok bool
		if c.Next, ok = first.Restored(there); !ok {
			return false, nil
		}
		c.Outbox = due(&c)
		// Not e.swap: observers have heard of it.
		reply, err := e.store.Swap(gctx, c)
		if err != nil {
			return false, err
		}
		if reply.OK {
			if due(&c) {
				s := task.Snapshot{Spec: *c.Spec, Record: c.Next, Outbox: c.Next.Gen}
				return true, e.callback(ctx, &s, c.Result, true)
			}
			return true, nil
		}
		present = reply.Present
	}
	return false, task.Errorf(task.CodeUnavailable, "the record changed too often")
}
