package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Queue is the portable broker: it turns tasks' messages into what a [Driver]
// carries and back. All methods are safe for concurrent use.
type Queue struct {
	driver  Driver
	log     *slog.Logger
	corrupt func(source string)
	told    Observer // nil: nobody

	ctx    context.Context // ends at Close: stops removals under way
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed against wg.Go
	closed bool
	wg     sync.WaitGroup // removals
}

// Option adjusts a [Queue].
type Option func(*Queue)

// WithLogger sets the logger; the default is [slog.Default].
func WithLogger(l *slog.Logger) Option { return func(q *Queue) { q.log = l } }

// WithCorrupt has f called for each message that cannot be decoded, with the
// endpoint or system queue it came from: a counter to alert on.
func WithCorrupt(f func(source string)) Option { return func(q *Queue) { q.corrupt = f } }

// Observer is told of everything that was given to the broker to store. It
// must not block.
type Observer interface {
	// Published: a publish ended, with its coded error if it failed.
	Published(kind Kind, took time.Duration, err error)
}

// Kind says what was published.
type Kind string

// The kinds.
const (
	KindTask     Kind = "task"     // a task's next message
	KindParked   Kind = "parked"   // a settlement whose store is away
	KindPostpone Kind = "postpone" // a delivery to come again later
	KindRelease  Kind = "release"  // a delivery given back
	KindDead     Kind = "dead"     // what nobody can decode
	KindCanary   Kind = "canary"   // nobody's, to see whether delays work
)

// WithObserver has o told of publishes.
func WithObserver(o Observer) Option { return func(q *Queue) { q.told = o } }

// New makes a queue over a driver. [Queue.Close] closes the driver.
func New(d Driver, opts ...Option) *Queue {
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{driver: d, log: slog.Default(), corrupt: func(string) {}, ctx: ctx, cancel: cancel}
	for _, o := range opts {
		o(q)
	}
	return q
}

// TaskDelivery is a task's message in a worker's hands: see [Delivery].
// The payload is only valid as long as nobody writes to it; copies share it.
type TaskDelivery struct {
	Message task.Message
	// Redelivered: see [Delivery].
	Redelivered bool

	raw Delivery
	q   *Queue
}

// Ack removes the message: see [Delivery].
func (d *TaskDelivery) Ack(ctx context.Context) error { return d.raw.Ack(ctx) }

// Doubt marks it as perhaps done: see [Delivery].
func (d *TaskDelivery) Doubt() { d.raw.Doubt() }

// Postpone has the same message delivered again at eta: see [Delivery]. The
// message's own ETA stays what it was.
func (d *TaskDelivery) Postpone(ctx context.Context, eta time.Time) error {
	return d.q.publish(KindPostpone, d.Message.ID, func() error { return d.raw.Postpone(ctx, eta) })
}

// Release gives the unstarted message back: see [Delivery].
func (d *TaskDelivery) Release(ctx context.Context) error {
	return d.q.publish(KindRelease, d.Message.ID, func() error { return d.raw.Release(ctx) })
}

// ParkedDelivery is a parked settlement in a worker's hands: see [Queue.Park].
type ParkedDelivery struct {
	ID   string
	Body []byte

	raw Delivery
}

// Ack removes the settlement: see [Delivery].
func (d *ParkedDelivery) Ack(ctx context.Context) error { return d.raw.Ack(ctx) }

// Postpone has it delivered again at eta: see [Delivery].
func (d *ParkedDelivery) Postpone(ctx context.Context, eta time.Time) error {
	return d.raw.Postpone(ctx, eta)
}

// Release gives it back: see [Delivery].
func (d *ParkedDelivery) Release(ctx context.Context) error { return d.raw.Release(ctx) }

// Publish stores the message durably, for delivery at its ETA, before it
// returns nil. Its errors are a [task.Error] with [task.CodeNotAccepted]
// (wraps [ErrNotStored]) or [task.CodeOutcomeUnknown] (wraps [ErrUnknown]).
func (q *Queue) Publish(ctx context.Context, m task.Message) error {
	w, err := encodeWire(&m)
	if err != nil {
		return coded(m.ID, fmt.Errorf("%w: %w", ErrNotStored, err))
	}
	return q.publish(KindTask, m.ID, func() error { return q.driver.Publish(ctx, w) })
}

// publish gives the broker something to store, and tells of it.
func (q *Queue) publish(kind Kind, id task.ID, do func() error) error {
	if q.told == nil {
		return coded(id, do())
	}
	begin := time.Now()
	err := coded(id, do())
	if !errors.Is(err, ErrClosed) { // nothing was given
		q.told.Published(kind, time.Since(begin), err)
	}
	return err
}

// Park stores a settlement durably while its store is away; whoever runs
// [Queue.ConsumeParked] applies it. Errors as with [Queue.Publish].
func (q *Queue) Park(ctx context.Context, id string, body []byte) error {
	w := Wire{ID: id, System: Parked, Body: body}
	return q.publish(KindParked, task.ID(id), func() error { return q.driver.Publish(ctx, w) })
}

// Consume delivers the endpoint's due messages to h, at most prefetch of them
// unfinished at a time. h must return quickly; one goroutine calls it.
func (q *Queue) Consume(
	ctx context.Context, ep task.EndpointID, prefetch int, h func(*TaskDelivery),
) (Consumer, error) {
	return q.driver.Consume(ctx, ep, prefetch, q.decoding(string(ep), h))
}

// ConsumeQuarantine delivers messages that were delivered too often.
func (q *Queue) ConsumeQuarantine(ctx context.Context, prefetch int, h func(*TaskDelivery)) (Consumer, error) {
	return q.driver.ConsumeSystem(ctx, Quarantine, prefetch, q.decoding(string(Quarantine), h))
}

// ConsumeParked delivers what [Queue.Park] stored.
func (q *Queue) ConsumeParked(ctx context.Context, prefetch int, h func(*ParkedDelivery)) (Consumer, error) {
	return q.driver.ConsumeSystem(ctx, Parked, prefetch, func(raw Delivery) {
		w := raw.Wire()
		h(&ParkedDelivery{ID: w.ID, Body: w.Body, raw: raw})
	})
}

// Declare makes sure the endpoint's queue exists: see [Driver].
func (q *Queue) Declare(ctx context.Context, ep task.EndpointID) error {
	return q.driver.Declare(ctx, ep)
}

// Delete removes the endpoint's queue: see [Driver].
func (q *Queue) Delete(ctx context.Context, ep task.EndpointID) error {
	return q.driver.Delete(ctx, ep)
}

// Maintain runs the housekeeping until ctx ends: see [Driver]. A message
// without a queue that cannot be decoded goes to the dead; fate never sees it.
func (q *Queue) Maintain(ctx context.Context, fate func(context.Context, task.Message) (Fate, error)) error {
	return q.driver.Maintain(ctx, func(ctx context.Context, w Wire) (Fate, error) {
		m, err := decodeWire(w)
		if err == nil {
			return fate(ctx, m)
		}
		q.note("janitor", w, err)
		if err := q.publish(KindDead, task.ID(w.ID), func() error { return q.driver.Publish(ctx, deadCopy(w)) }); err != nil {
			return Hold, fmt.Errorf("bury undecodable message: %w", err)
		}
		return Drop, nil
	})
}

// Depth tells what waits in the endpoint's queue: see [Driver].
func (q *Queue) Depth(ctx context.Context, ep task.EndpointID) (Depth, error) {
	return q.driver.Depth(ctx, ep)
}

// SystemDepth tells what waits in a system queue: see [Driver].
func (q *Queue) SystemDepth(ctx context.Context, s System) (int64, error) {
	d, err := q.driver.DepthSystem(ctx, s)
	return d.Ready, err
}

// Stats tells how the driver fares: see [Driver].
func (q *Queue) Stats() Stats { return q.driver.Stats() }

// Ready reports nil when a publish has a fair chance now.
func (q *Queue) Ready(ctx context.Context) error { return q.driver.Ready(ctx) }

// Close closes the driver and waits for everything that runs.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel()
	err := q.driver.Close(ctx)
	q.wg.Wait()
	return err
}

// decoding hands h what it can read and buries the rest.
func (q *Queue) decoding(source string, h func(*TaskDelivery)) Handler {
	return func(raw Delivery) {
		w := raw.Wire()
		m, err := decodeWire(w)
		if err == nil {
			h(&TaskDelivery{Message: m, Redelivered: raw.Redelivered(), raw: raw, q: q})
			return
		}
		q.note(source, w, err)
		// Not on the consumer's goroutine: neighbours go on meanwhile. The
		// prefetch bounds how many there are.
		q.removal(func(context.Context) { q.bury(raw, w) })
	}
}

// removal runs f, which Close waits for; not after it.
func (q *Queue) removal(f func(ctx context.Context)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.wg.Go(func() { f(q.ctx) })
	}
}

// note says that a message cannot be read; its bytes are not for logs.
func (q *Queue) note(source string, w Wire, err error) {
	q.log.Error("message cannot be decoded, moving it to the dead",
		"source", source, "id", w.ID, "bytes", len(w.Body), "error", err)
	q.corrupt(source)
}

// Pauses between the tries of a burial.
const (
	buryFirst = 250 * time.Millisecond
	buryMost  = 30 * time.Second
	buryTry   = 10 * time.Second
)

// bury moves a message to the dead. It tries until the broker has it, since
// the message would otherwise come back to be undecodable again.
func (q *Queue) bury(raw Delivery, w Wire) {
	for pause := buryFirst; ; pause = min(2*pause, buryMost) {
		err := q.buryOnce(raw, w)
		if err == nil || errors.Is(err, ErrClosed) {
			return
		}
		q.log.Warn("undecodable message not yet moved", "id", w.ID, "error", err)
		select {
		case <-time.After(pause):
		case <-q.ctx.Done():
			return
		}
	}
}

func (q *Queue) buryOnce(raw Delivery, w Wire) error {
	ctx, cancel := context.WithTimeout(q.ctx, buryTry)
	defer cancel()
	if err := q.publish(KindDead, task.ID(w.ID), func() error { return q.driver.Publish(ctx, deadCopy(w)) }); err != nil {
		return err
	}
	return raw.Ack(ctx)
}

func deadCopy(w Wire) Wire {
	return Wire{ID: w.ID, System: Dead, Meta: w.Meta, Body: w.Body}
}

func encodeWire(m *task.Message) (Wire, error) {
	body, err := task.EncodeEnvelope(&m.Envelope)
	if err != nil {
		return Wire{}, err
	}
	return Wire{ID: string(m.ID), Endpoint: m.EndpointID(), ETA: m.ETA, Meta: encodeMeta(m), Body: body}, nil
}

func decodeWire(w Wire) (task.Message, error) {
	env, err := task.DecodeEnvelope(w.Body)
	if err != nil {
		return task.Message{}, err
	}
	m := task.Message{Envelope: env}
	if err := decodeMeta(w.Meta, &m); err != nil {
		return task.Message{}, err
	}
	return m, nil
}

// coded gives a publish's error the code that the API tells its caller.
func coded(id task.ID, err error) error {
	code, detail := task.CodeOutcomeUnknown, "the broker did not confirm in time"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrClosed):
		return err
	case errors.Is(err, ErrNotStored):
		code, detail = task.CodeNotAccepted, "the broker did not take the message"
	}
	e := task.Wrap(code, err, detail)
	e.TaskID = id
	return e
}
