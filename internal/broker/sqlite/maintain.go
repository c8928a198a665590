package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

const (
	// fatesAtOnce: one question that takes long does not hold up the others.
	fatesAtOnce = 64
	fateWait    = 30 * time.Second
	// askAgain is the pause before a fate that could not be told.
	askAgain = time.Second
)

// Maintain implements [broker.Driver]: the janitor of messages without a
// queue. Delays need no housekeeping here.
func (d *Driver) Maintain(ctx context.Context, fate func(context.Context, broker.Wire) (broker.Fate, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	c, err := d.subscribe(unroutable, fatesAtOnce, func(raw broker.Delivery) {
		asking.Go(func() { d.decide(ctx, raw, fate) })
	})
	if err != nil {
		return fmt.Errorf("maintain: %w", err)
	}
	defer func() {
		cancel() // unblocks those who decide
		c.cancel()
		<-c.done
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.ctx.Done():
		return fmt.Errorf("maintain: %w", context.Cause(d.ctx))
	}
}

func (d *Driver) decide(ctx context.Context, raw broker.Delivery, ask func(context.Context, broker.Wire) (broker.Fate, error)) {
	dl, ok := raw.(*delivery)
	if !ok {
		return
	}
	actx, cancel := context.WithTimeout(ctx, fateWait)
	defer cancel()
	fate, err := ask(actx, dl.wire)
	if err == nil {
		err = context.Cause(actx) // an answer given for want of time is none
	}
	if err == nil && fate == broker.Hold {
		err = d.Declare(ctx, dl.wire.Endpoint)
	}
	switch {
	case ctx.Err() != nil || (err == nil && fate == broker.Hold):
		err = dl.Release(context.WithoutCancel(ctx))
	case err == nil:
		err = dl.Ack(ctx)
	}
	if err != nil {
		_ = dl.askLater(context.WithoutCancel(ctx))
	}
}

// askLater is a postponement that leaves the message's ETA as it was. It is
// lazy: asking too early harms nobody.
func (dl *delivery) askLater(ctx context.Context) error {
	due := nowMillis() + askAgain.Milliseconds()
	return dl.end(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("UPDATE claims SET held = 0 WHERE id = ?", dl.id); err != nil {
			return err
		}
		_, err := tx.Exec("UPDATE messages SET due = ? WHERE id = ? AND queue = '!unroutable'", due, dl.id)
		return err
	}, func() {
		dl.d.finish(dl)
		dl.d.committed(dl.queue, key{due, dl.id})
		dl.d.committed(string(dl.wire.Endpoint), key{dl.due, dl.id})
	})
}
