package registry

import (
	"context"
	"fmt"
	"sync"
)

// rounds are the reconciliations with the store: one at a time, shared by all
// who came before it began. The zero value is ready.
type rounds struct {
	mu    sync.Mutex
	begun int
	now   *round // under way; nil: none
	last  *round // that has ended
}

// round is one reconciliation.
type round struct {
	number int // of all, in the order of their begins
	done   chan struct{}
	err    error // once done
	own    bool  // err is its caller's: that one's time was over
}

// come returns the number of the latest round that began before the caller
// came.
func (r *rounds) come() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}

// board returns a round to wait for, or one that has ended and began after
// before. With none it begins one, which is the caller's to make.
func (r *rounds) board(before int) (now *round, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.last != nil && r.last.number > before && !r.last.own:
		return r.last, false
	case r.now != nil:
		return r.now, false
	}
	r.begun++
	r.now = &round{number: r.begun, done: make(chan struct{})}
	return r.now, true
}

func (r *rounds) land(now *round, err error, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now.err, now.own = err, own
	r.now, r.last = nil, now
	close(now.done)
}

// Sync makes memory and store equal once: it loads what is newer, and gives
// back what the store has lost.
//
// What was written anywhere before the call is seen after it, at the cost of
// one small read. Calls at the same time share it, its failure too: however
// many come while the store is away, each waits for the round under way and
// for one more, and never beyond its context's end.
func (r *Registry) Sync(ctx context.Context) error {
	before := r.rounds.come()
	for {
		now, own := r.rounds.board(before)
		if own {
			return r.round(ctx, now)
		}
		select {
		case <-now.done:
		case <-ctx.Done():
			return fail(fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx)))
		}
		if now.number > before && !now.own {
			return now.err
		}
	}
}

// round makes one.
func (r *Registry) round(ctx context.Context, now *round) (err error) {
	begin := r.opt.Now()
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer func() { r.rounds.land(now, err, err != nil && ctx.Err() != nil) }()
	if err := r.reconcile(limited); err != nil {
		return fail(err)
	}
	r.latest.Store(&begin)
	return nil
}
