package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// delivery is a message in a worker's hands.
type delivery struct {
	d           *Driver
	c           *consumer
	queue       string
	id, due     int64
	losses      int
	redelivered bool
	doubt       bool // not written down yet
	wire        broker.Wire
	ending      bool // guarded by Driver.mu
}

// Wire implements [broker.Delivery].
func (dl *delivery) Wire() broker.Wire { return dl.wire }

// Redelivered implements [broker.Delivery].
func (dl *delivery) Redelivered() bool { return dl.redelivered }

// Doubt implements [broker.Delivery]. It is called by the worker that holds
// the delivery, before it ends it.
func (dl *delivery) Doubt() { dl.doubt, dl.redelivered = true, true }

// Ack implements [broker.Delivery].
func (dl *delivery) Ack(ctx context.Context) error {
	err := dl.end(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("DELETE FROM messages WHERE id = ?", dl.id); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM claims WHERE id = ?", dl.id)
		return err
	}, func() { dl.d.finish(dl) })
	if err != nil {
		return fmt.Errorf("ack %s: %w", dl.wire.ID, err)
	}
	return nil
}

// Postpone implements [broker.Delivery].
func (dl *delivery) Postpone(ctx context.Context, eta time.Time) error {
	ms := ceilMillis(eta)
	return dl.putBack(ctx, sqlitedb.Durable, "postpone", ms, ms)
}

// Release implements [broker.Delivery].
func (dl *delivery) Release(ctx context.Context) error {
	return dl.putBack(ctx, sqlitedb.Lazy, "release", dl.due, task.ToMillis(dl.wire.ETA))
}

func (dl *delivery) putBack(ctx context.Context, s sqlitedb.Durability, what string, due, eta int64) error {
	err := dl.end(ctx, s, func(tx *sqlitedb.Tx) error {
		if dl.doubt {
			if _, err := tx.Exec("UPDATE claims SET losses = max(losses, 1) WHERE id = ?", dl.id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM claims WHERE id = ? AND losses = 0", dl.id); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE claims SET held = 0 WHERE id = ?", dl.id); err != nil {
			return err
		}
		if due == dl.due {
			return nil
		}
		n, err := tx.Exec("UPDATE messages SET due = ?, eta = ? WHERE id = ?", due, eta, dl.id)
		if err == nil && n == 0 { // its queue was deleted meanwhile
			w := dl.wire
			w.ETA = task.FromMillis(eta)
			return dl.d.insert(tx, w)
		}
		return err
	}, func() {
		dl.d.finish(dl)
		dl.d.committed(dl.queue, key{due, dl.id})
		// The row has moved if its queue was declared or deleted meanwhile.
		dl.d.committed(string(dl.wire.Endpoint), key{due, dl.id})
		dl.d.committed(unroutable, key{due, dl.id})
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, dl.wire.ID, err)
	}
	return nil
}

// end runs one of the three ends. When it fails it may be tried again.
func (dl *delivery) end(ctx context.Context, s sqlitedb.Durability, change func(*sqlitedb.Tx) error, then func()) error {
	if !dl.take() {
		return broker.ErrClosed
	}
	err := dl.d.db.Write(ctx, s, func(tx *sqlitedb.Tx) error {
		if !dl.mine() { // the driver was closed, or a second try won
			return broker.ErrClosed
		}
		tx.OnCommit(then)
		return change(tx)
	})
	if err == nil {
		return nil
	}
	dl.d.mu.Lock()
	dl.ending = false
	dl.d.mu.Unlock()
	if errors.Is(err, broker.ErrClosed) {
		return err
	}
	return publishError(err)
}

func (dl *delivery) take() bool {
	dl.d.mu.Lock()
	defer dl.d.mu.Unlock()
	if dl.ending || dl.d.claims[dl.id] != dl {
		return false
	}
	dl.ending = true
	return true
}

func (dl *delivery) mine() bool {
	dl.d.mu.Lock()
	defer dl.d.mu.Unlock()
	return dl.d.claims[dl.id] == dl
}

// finish frees the message and its place in the prefetch.
func (d *Driver) finish(dl *delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims[dl.id] != dl {
		return
	}
	delete(d.claims, dl.id)
	for f := range d.fetches {
		f.gone[dl.id] = struct{}{}
	}
	dl.c.held--
	dl.c.poke()
}
