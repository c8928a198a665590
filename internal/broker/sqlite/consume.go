package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	// retryWait is the pause after the file could not be read or written.
	retryWait = 250 * time.Millisecond
	// longestWait bounds a timer. Timers follow the monotonic clock, which
	// stands still while the machine sleeps, and due times the wall clock.
	longestWait = 15 * time.Second
)

// consumer is one subscription and its pump.
type consumer struct {
	d        *Driver
	q        *queue
	prefetch int
	handle   broker.Handler
	held     int // guarded by Driver.mu

	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// Consume implements [broker.Driver].
func (d *Driver) Consume(_ context.Context, ep task.EndpointID, prefetch int, h broker.Handler) (broker.Consumer, error) {
	c, err := d.subscribe(string(ep), prefetch, h)
	if err != nil {
		return nil, fmt.Errorf("consume queue %s: %w", ep, err)
	}
	return c, nil
}

// ConsumeSystem implements [broker.Driver].
func (d *Driver) ConsumeSystem(_ context.Context, s broker.System, prefetch int, h broker.Handler) (broker.Consumer, error) {
	c, err := d.subscribe(systemQueue(s), prefetch, h)
	if err != nil {
		return nil, fmt.Errorf("consume queue %s: %w", s, err)
	}
	return c, nil
}

func (d *Driver) subscribe(name string, prefetch int, h broker.Handler) (*consumer, error) {
	if prefetch < 1 {
		return nil, fmt.Errorf("prefetch of %d", prefetch)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed
	}
	q := d.queues[name]
	if q == nil {
		q = &queue{name: name, cursor: nearest, low: farthest, consumers: map[*consumer]struct{}{}}
		d.queues[name] = q
	}
	ctx, cancel := context.WithCancel(d.ctx)
	c := &consumer{
		d: d, q: q, prefetch: prefetch, handle: h,
		wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, done: make(chan struct{}),
	}
	q.consumers[c] = struct{}{}
	d.consumers[c] = struct{}{}
	go c.pump()
	return c, nil
}

// Stop implements [broker.Consumer].
func (c *consumer) Stop(ctx context.Context) error {
	c.cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop consumer of %s: %w", c.q.name, context.Cause(ctx))
	}
}

// pump hands out what is due, and sleeps until something is committed to its
// queue, a place of the prefetch is free, or the next row falls due.
func (c *consumer) pump() {
	defer close(c.done)
	defer c.leave()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for c.ctx.Err() == nil {
		wait := c.deliver()
		if wait == 0 {
			continue
		}
		timer.Reset(min(wait, longestWait))
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.ctx.Done():
		}
	}
}

// deliver makes one round and says how long nothing will be due.
func (c *consumer) deliver() (wait time.Duration) {
	n := c.free()
	if n == 0 {
		return longestWait
	}
	got, wait, err := c.d.fetch(c, n)
	if err != nil {
		return retryWait
	}
	for i, dl := range got {
		if c.ctx.Err() != nil {
			c.giveBack(got[i:])
			return wait
		}
		c.handle(dl)
	}
	return wait
}

// giveBack returns what was claimed and never handed out.
func (c *consumer) giveBack(dls []*delivery) {
	for _, dl := range dls {
		// Fails only with the file or the driver, and then the message is
		// delivered again after the next start.
		_ = dl.Release(context.WithoutCancel(c.ctx))
	}
}

func (c *consumer) free() int {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	return min(c.prefetch-c.held, fetchMax)
}

func (c *consumer) leave() {
	c.cancel()
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	delete(c.d.consumers, c)
	delete(c.q.consumers, c)
	if len(c.q.consumers) == 0 {
		delete(c.d.queues, c.q.name)
	}
}

func (c *consumer) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
