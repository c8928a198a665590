package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
)

// delivery is a message in a worker's hands.
type delivery struct {
	d       *Driver
	sub     *subscription
	tag     uint64
	parcel  parcel
	foreign error // what is wrong with it, if it was not published by us
	ended   atomic.Bool
}

// Wire implements [broker.Delivery].
func (x *delivery) Wire() broker.Wire { return x.parcel.wire }

// Redelivered implements [broker.Delivery].
func (x *delivery) Redelivered() bool { return x.parcel.redelivered }

// Doubt implements [broker.Delivery]. It is called by the worker that holds
// the delivery, before it ends it.
func (x *delivery) Doubt() { x.parcel.redelivered = true }

// Ack implements [broker.Delivery].
func (x *delivery) Ack(context.Context) error {
	if !x.ended.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: it was finished before", broker.ErrClosed)
	}
	return x.remove()
}

// remove acknowledges on the channel that delivered; on a dead one the
// library refuses.
func (x *delivery) remove() error {
	err := x.sub.ch.Ack(x.tag, false)
	x.sub.release()
	if err != nil {
		return fmt.Errorf("%w: %w", broker.ErrClosed, err)
	}
	return nil
}

// requeue gives the message back as a failed delivery.
func (x *delivery) requeue() {
	if !x.ended.CompareAndSwap(false, true) {
		return
	}
	_ = x.sub.ch.Nack(x.tag, false, true) // on a dead channel it is back already
	x.sub.release()
}

// Postpone implements [broker.Delivery].
func (x *delivery) Postpone(ctx context.Context, eta time.Time) error {
	if err := x.d.enter(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrClosed, err)
	}
	defer x.d.calls.Done()
	p := x.parcel
	p.wire.ETA = eta
	return x.replace(ctx, &p, p.keyAt(x.d.opts.Now()))
}

// Release implements [broker.Delivery].
func (x *delivery) Release(ctx context.Context) error {
	if err := x.d.enter(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrClosed, err)
	}
	defer x.d.calls.Done()
	return x.replace(ctx, &x.parcel, x.parcel.key())
}

// replace stores a copy and then removes this one. When it fails before the
// copy is stored, the delivery is as it was and may be ended again.
func (x *delivery) replace(ctx context.Context, p *parcel, key string) error {
	if x.sub.ch.IsClosed() { // a copy would only be a duplicate
		return fmt.Errorf("%w: its channel has ended", broker.ErrClosed)
	}
	if !x.ended.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: it was finished before", broker.ErrClosed)
	}
	if err := x.d.send(ctx, p, key); err != nil {
		if errors.Is(err, broker.ErrUnknown) {
			x.parcel.redelivered = true // the copy may be there: the next one says so
		}
		x.ended.Store(false)
		return err
	}
	return x.remove()
}

// giveBack returns what a stopping consumer had prefetched.
func (x *delivery) giveBack() {
	if x.d.killed.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(x.d.ctx, giveBackTime)
	defer cancel()
	if err := x.replace(ctx, &x.parcel, x.parcel.key()); err != nil {
		x.requeue()
	}
}
