package sqlitedb

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Durability is what a write's nil means; see the package comment.
type Durability int

// The durabilities.
const (
	Lazy Durability = iota
	Durable
)

// queueLen bounds the writes that wait; past it callers wait for room.
const queueLen = 1024

// op is one write on its way.
type op struct {
	durable bool
	fn      func(*Tx) error
	after   []func()
	// begun decides between the writer, which runs the op, and a caller
	// whose context ended first: one of them wins.
	begun atomic.Bool
	err   error
	done  chan struct{}
}

// Write runs fn in the writer's transaction and returns after its commit. fn
// may run more than once (a neighbour failed and the group is run again), in
// the writer's goroutine: it sets its results whole every time, does nothing
// but SQL, and keeps nothing of tx. An error of fn undoes its changes, and
// only its own. Results are valid only when Write returns nil.
//
// When ctx ends before fn began, it is not run. When it ends later the error
// wraps [ErrUnknown]. After every other error nothing is stored.
func (db *DB) Write(ctx context.Context, d Durability, fn func(tx *Tx) error) error {
	o := &op{durable: d == Durable, fn: fn, done: make(chan struct{})}
	if err := db.send(ctx, o); err != nil {
		return err
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	if o.begun.CompareAndSwap(false, true) {
		return fmt.Errorf("write %s: not begun: %w", db.path, context.Cause(ctx))
	}
	select {
	case <-o.done: // both were ready: the certain answer is the better one
		return o.err
	default:
		return fmt.Errorf("write %s: %w: %w", db.path, ErrUnknown, context.Cause(ctx))
	}
}

func (db *DB) send(ctx context.Context, o *op) error {
	db.sendMu.RLock()
	defer db.sendMu.RUnlock()
	if db.closed {
		return fmt.Errorf("write %s: %w", db.path, ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %s: not begun: %w", db.path, context.Cause(ctx))
	}
	select {
	case db.queue <- o:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write %s: queue is full: %w", db.path, context.Cause(ctx))
	}
}

// Ready reports nil when a write has a fair chance now. After a failure it
// tries a small write, so that it turns well again by itself.
func (db *DB) Ready(ctx context.Context) error {
	return db.Write(ctx, Lazy, func(tx *Tx) error {
		if !db.w.failing {
			return nil
		}
		_, err := tx.Exec("INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', '')")
		return err
	})
}
