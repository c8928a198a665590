package rabbit

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

var errDriverClosed = errors.New("the broker driver is closed")

var _ broker.Driver = (*Driver)(nil)

// Driver is a [broker.Driver] on RabbitMQ. It keeps three connections. The one
// that publishes is apart since the broker stops reading from it when it is
// short of memory or disk. The one that declares and deletes is apart since
// the broker answers some mistakes there by closing the whole connection, and
// with the consumers' all deliveries in workers' hands would begin again.
type Driver struct {
	opts  Options
	names names
	log   *slog.Logger

	ctx        context.Context // ends when connections are to end
	cancel     context.CancelFunc
	killed     atomic.Bool
	oldBroker  atomic.Pointer[string] // what to say of it; nil: nothing
	featured   atomic.Bool            // it hands over at least once
	subscribed atomic.Int64           // consumers that get deliveries
	wg         sync.WaitGroup         // every goroutine of ours

	mu        sync.Mutex
	closed    bool
	calls     sync.WaitGroup // public methods under way
	consumers map[*consumer]struct{}
	closing   chan struct{} // closed when Close begins

	admin   *link
	consume *link
	pub     *publisher

	queueLocks [64]sync.Mutex // see lockQueue
}

// Open connects to the broker, which it tries until ctx ends, and declares
// what every installation has. It refuses brokers before 3.10.
func Open(ctx context.Context, o Options) (*Driver, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		opts: o, names: newNames(o.Namespace), log: o.Logger,
		consumers: map[*consumer]struct{}{}, closing: make(chan struct{}),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.admin = newLink(d, "admin", true, d.setupAdmin)
	d.consume = newLink(d, "consume", true, func(context.Context, *session) error { return nil })
	d.pub = newPublisher(d)
	for _, l := range []*link{d.admin, d.consume, d.pub.link} {
		if err := d.start(ctx, l); err != nil {
			d.kill()
			return nil, err
		}
	}
	return d, nil
}

// start makes a link's first session and leaves it to its supervisor. What no
// repetition can cure ends it at once.
func (d *Driver) start(ctx context.Context, l *link) error {
	for attempt := 0; ; attempt++ {
		s, err := l.dial(ctx, attempt)
		if err == nil {
			l.set(s)
			d.spawn(func() { l.run(s) })
			return nil
		}
		if hopeless(err) {
			return err
		}
		d.log.WarnContext(ctx, "broker cannot be reached", "link", l.role, "error", err)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
			return fmt.Errorf("broker cannot be reached: %w", err)
		}
	}
}

// hopeless: wrong credentials, a wrong vhost, a broker too old, queues of
// somebody else.
func hopeless(err error) bool {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		switch e.Code {
		case amqp.AccessRefused, amqp.NotAllowed, amqp.PreconditionFailed, amqp.NotImplemented:
			return true
		}
	}
	return errors.Is(err, errTooOld) || errors.Is(err, errCluster) || errors.Is(err, errFeature)
}

func (d *Driver) setupAdmin(ctx context.Context, s *session) error {
	v, err := d.checkVersion(s.conn)
	if err != nil {
		return err
	}
	if err := d.checkFeature(s, v); err != nil {
		return err
	}
	return d.declaring(ctx, s, d.declareAll)
}

// checkTopology makes sure that the exchange to publish to is there.
func (d *Driver) checkTopology(ctx context.Context, s *session) error {
	err := d.declaring(ctx, s, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(d.names.tasks(), amqp.ExchangeDirect, true, false, false, false, nil)
	})
	if isMissing(err) {
		return d.declaring(ctx, s, d.declareAll)
	}
	return err
}

// declaring is withChannel, cut short when the context of dialling ends: the
// session is nobody's yet, so it may die of it.
func (d *Driver) declaring(ctx context.Context, s *session, f func(*amqp.Channel) error) error {
	err := d.withChannel(s, f)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// withChannel runs f on a channel of its own: a refusal closes the channel,
// and only that.
func (d *Driver) withChannel(s *session, f func(*amqp.Channel) error) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	defer func() { _ = ch.Close() }() // nothing is left to lose on it
	return f(ch)
}

// administer runs f on a channel of the administering connection. It returns
// by ctx's end.
func (d *Driver) administer(ctx context.Context, f func(*amqp.Channel) error) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.calls.Done()
	s, err := d.admin.await(ctx)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	d.spawn(func() { done <- d.withChannel(s, f) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter registers a public call; the caller calls d.calls.Done.
func (d *Driver) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errDriverClosed
	}
	d.calls.Add(1)
	return nil
}

// spawn starts a goroutine that Close waits for. Its callers are such
// goroutines or calls under way themselves, so it never races with that wait.
func (d *Driver) spawn(f func()) { d.wg.Go(f) }

// Declare implements [broker.Driver].
func (d *Driver) Declare(ctx context.Context, ep task.EndpointID) error {
	return d.administer(ctx, func(ch *amqp.Channel) error {
		defer d.lockQueue(d.names.endpoint(ep))()
		return d.declareEndpoint(ch, ep)
	})
}

// lockQueue keeps us from consuming a queue that we are just creating: the
// broker (3.10) tells of the queue before it can serve it, crashes the channel
// of who consumes then and closes the whole connection. Another process can
// still do it to us, in the same milliseconds; then deliveries come again.
func (d *Driver) lockQueue(name string) (unlock func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	mu := &d.queueLocks[h.Sum32()%uint32(len(d.queueLocks))]
	mu.Lock()
	return mu.Unlock
}

// Delete implements [broker.Driver]. It never asks the broker to delete only
// when empty or unused: quorum queues do not know that, and the broker closes
// the whole connection over it. What workers hold at that moment goes with the
// queue: their attempts are settled in the record.
func (d *Driver) Delete(ctx context.Context, ep task.EndpointID) error {
	name := d.names.endpoint(ep)
	err := d.administer(ctx, func(ch *amqp.Channel) error {
		defer d.lockQueue(name)()
		// Unbound first: what is published meanwhile goes to the janitor.
		if err := ch.QueueUnbind(name, endpointKey(ep), d.names.tasks(), nil); err != nil {
			return err
		}
		if err := d.empty(ctx, ch, ep); err != nil {
			return err
		}
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete queue %s: %w", name, err)
	}
	return nil
}

// emptyStep is how many messages of a queue to be deleted are moved at once.
const emptyStep = 256

// empty moves what an unbound queue holds to the janitor: published by its own
// key it finds no queue. Each copy is confirmed before the message is removed.
func (d *Driver) empty(ctx context.Context, ch *amqp.Channel, ep task.EndpointID) error {
	for {
		var step []amqp.Delivery
		for len(step) < emptyStep && ctx.Err() == nil {
			m, ok, err := ch.Get(d.names.endpoint(ep), false)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			step = append(step, m)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx) // the channel's end gives them back
		}
		if len(step) == 0 {
			return nil
		}
		if err := d.moveOn(ctx, ep, step); err != nil {
			return err
		}
	}
}

func (d *Driver) moveOn(ctx context.Context, ep task.EndpointID, step []amqp.Delivery) error {
	errs := make([]error, len(step))
	var wg sync.WaitGroup
	for i := range step {
		wg.Go(func() {
			p, err := open(&step[i])
			p.wire.Endpoint, p.wire.System = ep, ""
			key := p.key()
			if err != nil { // not of our making: nobody can tell its fate
				p.wire.Endpoint, p.wire.System = "", broker.Dead
				key = p.key()
			}
			errs[i] = d.send(ctx, &p, key)
		})
	}
	wg.Wait()
	for i := range step {
		if errs[i] == nil {
			errs[i] = step[i].Ack(false)
		}
	}
	return errors.Join(errs...)
}

// Depth implements [broker.Driver]. A queue that does not exist holds nothing.
func (d *Driver) Depth(ctx context.Context, ep task.EndpointID) (broker.Depth, error) {
	return d.depth(ctx, d.names.endpoint(ep))
}

// DepthSystem implements [broker.Driver].
func (d *Driver) DepthSystem(ctx context.Context, q broker.System) (broker.Depth, error) {
	return d.depth(ctx, d.names.system(q))
}

func (d *Driver) depth(ctx context.Context, queue string) (broker.Depth, error) {
	var depth broker.Depth
	err := d.administer(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		depth.Ready = int64(q.Messages)
		return err
	})
	if isMissing(err) {
		return broker.Depth{}, nil
	}
	if err != nil {
		return broker.Depth{}, fmt.Errorf("depth: %w", err)
	}
	return depth, nil
}

// Stats implements [broker.Driver].
func (d *Driver) Stats() broker.Stats {
	blocked, _ := d.pub.state()
	st := broker.Stats{
		Connects: make(map[string]int64), Blocked: blocked != "", Consumers: int(d.subscribed.Load()),
	}
	for _, l := range []*link{d.admin, d.consume, d.pub.link} {
		st.Connects[l.role] = l.connects.Load()
	}
	return st
}

// Warnings is what is not as it should be with the broker, from its last
// connection.
func (d *Driver) Warnings() []string {
	if text := d.oldBroker.Load(); text != nil {
		return []string{*text}
	}
	return nil
}

// Publish implements [broker.Driver].
func (d *Driver) Publish(ctx context.Context, w broker.Wire) error {
	p := parcel{wire: w}
	if err := p.check(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	if err := d.enter(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	defer d.calls.Done()
	return d.send(ctx, &p, p.keyAt(d.opts.Now()))
}

// send publishes a parcel by a key, confirmed.
func (d *Driver) send(ctx context.Context, p *parcel, key string) error {
	return d.pub.publish(ctx, key, p.publishing())
}

// Ready implements [broker.Driver].
func (d *Driver) Ready(context.Context) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.calls.Done()
	return d.pub.ready()
}

// Close implements [broker.Driver]. Consumers stop first and give back what
// they have not handed out; publishes under way get their confirms; then the
// connections end. When ctx ends, what is left is cut off: it stays in the
// broker.
func (d *Driver) Close(ctx context.Context) error {
	if !d.close() {
		d.wg.Wait()
		return nil
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		d.stopConsumers(ctx)
		d.calls.Wait()
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = fmt.Errorf("close broker driver in order: %w", context.Cause(ctx))
		d.killed.Store(true)
	}
	d.cancel()
	<-finished // with the connections gone nothing blocks any more
	d.wg.Wait()
	return err
}

// close begins the end; false when it has begun before.
func (d *Driver) close() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.closed = true
	close(d.closing)
	return true
}

// kill ends everything at once, as the end of the process would.
func (d *Driver) kill() {
	d.killed.Store(true)
	d.close()
	d.cancel()
	d.calls.Wait()
	d.wg.Wait()
}

func (d *Driver) stopConsumers(ctx context.Context) {
	d.mu.Lock()
	var all []*consumer
	for c := range d.consumers {
		all = append(all, c)
	}
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { _ = c.Stop(ctx) })
	}
	wg.Wait()
}
