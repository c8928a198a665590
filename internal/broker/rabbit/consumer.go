package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// consumerTag needs to be unique on its channel only, and there is one
// consumer on each.
const consumerTag = "taskgate"

// giveBackTime bounds how long a stopping consumer hands messages back.
const giveBackTime = 5 * time.Second

// consumer subscribes to a queue, again after every loss, until it is stopped.
//
// It has a channel of its own: whatever closes a channel (before 4.3 also a
// worker that holds a message past the broker's consumer timeout) takes the
// deliveries of one endpoint with it and no neighbour's.
type consumer struct {
	d        *Driver
	queue    string
	declare  func(*amqp.Channel) error // when the queue is missing
	origin   broker.Wire               // where a message goes that is handed back
	prefetch int
	handle   func(*delivery)
	giveBack func(*delivery) // for what Stop finds prefetched
	// private, if set, makes a queue for one subscription alone, on its own
	// connection, and names it; queue and declare mean nothing then.
	private func(*amqp.Channel) (queue string, err error)

	ctx    context.Context // ends at Stop
	cancel context.CancelFunc
	ready  chan error // the first subscription's outcome
	done   chan struct{}
}

// Consume implements [broker.Driver]. A missing queue is declared, but not
// one that was deleted under a running consumer: that one waits until
// somebody declares it.
func (d *Driver) Consume(
	ctx context.Context, ep task.EndpointID, prefetch int, h broker.Handler,
) (broker.Consumer, error) {
	return d.startConsumer(ctx, &consumer{
		queue:    d.names.endpoint(ep),
		declare:  func(ch *amqp.Channel) error { return d.declareEndpoint(ch, ep) },
		origin:   broker.Wire{Endpoint: ep},
		prefetch: prefetch,
		handle:   func(x *delivery) { h(x) },
		giveBack: (*delivery).giveBack,
	})
}

// ConsumeSystem implements [broker.Driver].
func (d *Driver) ConsumeSystem(
	ctx context.Context, q broker.System, prefetch int, h broker.Handler,
) (broker.Consumer, error) {
	if q == broker.CanaryQueue {
		return d.startConsumer(ctx, &consumer{
			queue: d.names.system(q), private: d.declareCanary, origin: broker.Wire{System: q}, prefetch: prefetch,
			handle:   func(x *delivery) { h(x) },
			giveBack: func(x *delivery) { _ = x.Ack(d.ctx) }, // nobody misses it
		})
	}
	return d.startConsumer(ctx, &consumer{
		queue:    d.names.system(q),
		declare:  d.declareAll,
		origin:   broker.Wire{System: q},
		prefetch: prefetch,
		handle:   func(x *delivery) { h(x) },
		giveBack: (*delivery).giveBack,
	})
}

func (d *Driver) startConsumer(ctx context.Context, c *consumer) (*consumer, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.calls.Done()
	c.d = d
	c.prefetch = max(1, c.prefetch)
	c.ctx, c.cancel = context.WithCancel(d.ctx)
	c.ready, c.done = make(chan error, 1), make(chan struct{})
	d.mu.Lock()
	d.consumers[c] = struct{}{}
	d.mu.Unlock()
	d.spawn(c.run)
	var err error
	select {
	case err = <-c.ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-c.done:
		err = errDriverClosed
	}
	if err != nil {
		c.cancel()
		return nil, fmt.Errorf("consume %s: %w", c.queue, err)
	}
	return c, nil
}

// Stop implements [broker.Consumer]. Prefetched messages that the handler has
// not seen go back to the queue's end, which, other than a requeue, does not
// count as a failed delivery.
func (c *consumer) Stop(ctx context.Context) error {
	c.cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop consuming %s: %w", c.queue, context.Cause(ctx))
	}
}

func (c *consumer) run() {
	defer func() {
		c.d.mu.Lock()
		delete(c.d.consumers, c)
		c.d.mu.Unlock()
		close(c.done)
	}()
	deleted, attempt := false, 0
	for c.ctx.Err() == nil {
		sub, err := c.subscribe(deleted)
		if err != nil {
			c.failed(err, deleted, attempt)
			attempt++
			continue
		}
		attempt = 0
		c.d.subscribed.Add(1)
		select {
		case c.ready <- nil:
		default:
		}
		deleted = c.work(sub)
		c.d.subscribed.Add(-1)
	}
}

// failed reports or logs a subscription's failure, and pauses.
func (c *consumer) failed(err error, deleted bool, attempt int) {
	if hopeless(err) {
		select {
		case c.ready <- err:
		default:
		}
	}
	if c.ctx.Err() == nil && !deleted {
		c.d.log.Warn("cannot consume yet", "queue", c.queue, "error", err)
	}
	select {
	case <-time.After(backoff(attempt)):
	case <-c.ctx.Done():
	}
}

// subscribe begins a subscription on the living connection.
func (c *consumer) subscribe(deleted bool) (*subscription, error) {
	s, err := c.d.consume.await(c.ctx)
	if err != nil {
		return nil, err
	}
	if c.private != nil {
		var queue string
		if err := c.d.withChannel(s, func(ch *amqp.Channel) error { queue, err = c.private(ch); return err }); err != nil {
			return nil, err
		}
		return c.subscribeOn(s, queue)
	}
	defer c.d.lockQueue(c.queue)()
	sub, err := c.subscribeOn(s, c.queue)
	if !isMissing(err) || deleted {
		return sub, err
	}
	admin, err := c.d.admin.await(c.ctx)
	if err != nil {
		return nil, err
	}
	if err := c.d.withChannel(admin, c.declare); err != nil {
		return nil, err
	}
	return c.subscribeOn(s, c.queue)
}

func (c *consumer) subscribeOn(s *session, queue string) (*subscription, error) {
	ch, err := s.conn.Channel()
	if errors.Is(err, amqp.ErrChannelMax) {
		return nil, fmt.Errorf("over %d consumers in one process: %w", channelsAtMost, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := ch.Qos(c.prefetch, 0, false); err != nil {
		_ = ch.Close()
		return nil, fmt.Errorf("set prefetch: %w", err)
	}
	in, err := ch.Consume(queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		_ = ch.Close()
		return nil, err
	}
	return &subscription{
		ch: ch, in: in, idle: make(chan struct{}),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
	}, nil
}

// work handles deliveries until the subscription ends, and tells whether the
// broker ended it by itself, on a living channel: its queue was deleted.
func (c *consumer) work(sub *subscription) (deleted bool) {
	ended := make(chan struct{})
	c.d.spawn(func() {
		select {
		case <-c.ctx.Done():
			// The library closes sub.in once what is buffered is taken.
			_ = sub.ch.Cancel(consumerTag, false)
		case <-ended:
		}
	})
	var back sync.WaitGroup
	for m := range sub.in {
		x := sub.take(c, &m)
		if c.ctx.Err() == nil {
			c.handle(x)
			continue
		}
		back.Go(func() { c.giveBack(x) })
	}
	close(ended)
	deleted = c.ctx.Err() == nil && !sub.ch.IsClosed()
	c.d.spawn(func() { sub.retire(c.d.ctx) })
	back.Wait()
	return deleted
}

// subscription is one channel with one consumer, from its beginning to its
// end. Its deliveries belong to it: on another channel their tags would mean
// other messages.
type subscription struct {
	ch     *amqp.Channel
	in     <-chan amqp.Delivery
	closed <-chan *amqp.Error

	mu      sync.Mutex
	held    int // deliveries not finished
	retired bool
	idle    chan struct{} // closed when retired and nothing is held
}

func (s *subscription) take(c *consumer, m *amqp.Delivery) *delivery {
	s.mu.Lock()
	s.held++
	s.mu.Unlock()
	p, err := open(m)
	if c.origin.Endpoint != "" || c.origin.System != "" {
		p.wire.Endpoint, p.wire.System = c.origin.Endpoint, c.origin.System
	}
	if c.origin.System == broker.Quarantine {
		p.redelivered = true // that is how it came there
	}
	return &delivery{d: c.d, sub: s, tag: m.DeliveryTag, parcel: p, foreign: err}
}

func (s *subscription) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	if s.retired && s.held == 0 {
		close(s.idle)
	}
}

// retire closes the channel when the last delivery in a worker's hands is
// finished.
func (s *subscription) retire(ctx context.Context) {
	s.mu.Lock()
	s.retired = true
	if s.held == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		_ = s.ch.Close()
	case err := <-s.closed:
		_ = err // why it ended no longer matters
	case <-ctx.Done():
	}
}
