package broker

import (
	"context"
	"errors"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Errors of a publish. A driver wraps exactly one of them, so that callers
// know what they may say to the submitter.
var (
	// ErrNotStored: surely nothing was stored; repeating cannot duplicate.
	ErrNotStored = errors.New("message not stored")
	// ErrUnknown: the message may or may not be stored.
	ErrUnknown = errors.New("outcome of publish unknown")
	// ErrClosed: the delivery's channel is gone; the broker delivers again.
	ErrClosed = errors.New("delivery is no longer ours")
)

// System names a queue that every installation has, beside one queue per
// endpoint.
type System string

// The system queues.
const (
	// Parked holds settlements whose store was away ([Queue.Park]).
	Parked System = "results"
	// Quarantine holds messages delivered too often; worked one at a time.
	Quarantine System = "quarantine"
	// Dead holds what nobody could decode or what killed its workers.
	Dead System = "dead"
	// CanaryQueue gets what [Canary] sends. It is no queue that keeps: every
	// process that consumes it gets what comes, and what nobody consumes is
	// dropped, with the last process at the latest.
	CanaryQueue System = "canary"
)

// Wire is a message as a driver carries it. Drivers interpret only Endpoint,
// System and ETA; Meta and Body come back byte for byte.
type Wire struct {
	// ID is the task's id, for people who look into the broker.
	ID string
	// Endpoint is the destination; empty when System is set.
	Endpoint task.EndpointID
	System   System
	// ETA: deliver not before this moment (zero: now).
	ETA time.Time
	// Meta is at most 256 bytes of printable ASCII.
	Meta string
	Body []byte
}

// Delivery is one message in a worker's hands. Exactly one of its three ends
// (Ack, Postpone, Release) is called, once, from any goroutine. Until then the broker keeps the
// message; when the worker's connection dies the broker delivers it again.
type Delivery interface {
	Wire() Wire
	// Redelivered: this copy may have been delivered before. True for every
	// delivery after a worker died with it; may be true without need. The
	// copy that Postpone or Release makes of it keeps it.
	Redelivered() bool
	// Doubt says that its work may have been done though its outcome is not
	// known: this delivery and the copies made of it are Redelivered from now
	// on.
	Doubt()
	// Ack removes the message. ErrClosed when it is no longer ours. It may
	// return before the removal is durable (a lost ack is a redelivery).
	Ack(ctx context.Context) error
	// Postpone stores the message for delivery at eta, then removes this
	// copy. It does not count as a failed delivery. The message returns to the
	// queue that delivered it.
	Postpone(ctx context.Context, eta time.Time) error
	// Release gives an unstarted message back for delivery to anyone, now.
	// It does not count as a failed delivery.
	Release(ctx context.Context) error
}

// Handler takes a delivery. It must return quickly: it hands the delivery to
// a worker. It is called by one goroutine per consumer.
type Handler func(Delivery)

// Consumer is a running subscription.
type Consumer interface {
	// Stop ends deliveries: when it returns the handler is not called any
	// more. Deliveries already handed out stay valid.
	Stop(ctx context.Context) error
}

// Fate says what the janitor does with a message that found no queue.
type Fate int

// The fates.
const (
	// Hold: declare the endpoint's queue and keep the message in it.
	Hold Fate = iota
	// Drop: the endpoint was deleted by its owner; remove the message once
	// the janitor's callback has recorded that.
	Drop
)

// Depth is what a queue holds, as far as the broker can tell cheaply.
type Depth struct{ Ready int64 }

// Stats tells how a driver fares.
type Stats struct {
	// Connects counts the connections made, by link; empty for a driver that
	// has none. More than one of a link are reconnects.
	Connects map[string]int64
	// Blocked: the broker takes no messages now, though it is connected.
	Blocked bool
	// Consumers is how many subscriptions are alive.
	Consumers int
}

// Driver is what a broker must do for Taskgate. brokertest proves each
// sentence here for every driver; no driver opts out.
//
// All methods are safe for concurrent use. A driver reconnects by itself, for
// ever; while it cannot, methods fail fast or at their context's end, and
// consumers wait and resume with fresh deliveries.
type Driver interface { //nolint:interfacebloat // one broker, one contract; who uses it declares the part it needs
	// Declare makes sure the endpoint's queue exists and is bound. Idempotent.
	Declare(ctx context.Context, ep task.EndpointID) error
	// Delete unbinds the endpoint's queue and removes it. What it still holds
	// goes the way of messages without a queue: Maintain asks for its fate, so
	// that nothing ends without a verdict. Deleting what does not exist is no
	// error.
	Delete(ctx context.Context, ep task.EndpointID) error
	// Publish stores the message durably (quorum and fsync, or commit and
	// fsync) and only then returns nil. Any number of publishes may be in
	// flight at once. It returns by its context's end at the latest, with an
	// error that wraps ErrNotStored or ErrUnknown. A message for an endpoint
	// whose queue is missing is stored all the same (see Janitor). A delayed
	// message is never delivered early, and at rest at most 300 ms late; it
	// never occupies a worker while it waits. A missing, full or slow target
	// never delays messages for others.
	Publish(ctx context.Context, w Wire) error
	// Consume delivers the endpoint's due messages in order of becoming due,
	// roughly, with at most prefetch of them unfinished at a time. A message
	// delivered more than about 100 times goes to Quarantine.
	Consume(ctx context.Context, ep task.EndpointID, prefetch int, h Handler) (Consumer, error)
	// ConsumeSystem is Consume for a system queue. Of CanaryQueue every
	// consumer in another process gets all that comes.
	ConsumeSystem(ctx context.Context, q System, prefetch int, h Handler) (Consumer, error)
	// Maintain runs the driver's housekeeping (delay router, janitor of
	// messages that found no queue) until ctx ends. Several processes may
	// run it at once. fate is asked for each message without a queue; for
	// Drop it has recorded the task's end before it returns. After an error it
	// is asked again later; the message stays.
	Maintain(ctx context.Context, fate func(context.Context, Wire) (Fate, error)) error
	// Depth tells what waits in the endpoint's queue, due and undelivered.
	Depth(ctx context.Context, ep task.EndpointID) (Depth, error)
	// DepthSystem is Depth for a system queue.
	DepthSystem(ctx context.Context, q System) (Depth, error)
	// Stats tells how the driver fares, from memory.
	Stats() Stats
	// Ready reports nil when a publish has a fair chance now.
	Ready(ctx context.Context) error
	// Close stops everything and waits for it. Unfinished deliveries are
	// delivered again later, to whoever consumes then.
	Close(ctx context.Context) error
}
