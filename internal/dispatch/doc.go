// Package dispatch delivers: it takes tasks from the queue, makes one bounded
// HTTP attempt for each, and settles what came of it.
//
//   - [Guard] decides which addresses may be dialled,
//   - [Sender] makes exactly one request,
//   - [Verdict] says what the answer means,
//   - [Handler] takes one delivery through all of it,
//   - [Pool] bounds what runs at once, so that no endpoint delays another,
//   - circuits keep what is down from being called, but for probes,
//   - [Manager] consumes each deliverable endpoint's queue,
//   - [Sweeper] keeps this process alive in the store's eyes and tidies up,
//   - [Dispatcher] owns them, and every goroutine.
package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

// Engine is what delivering needs of the lifecycle.
type Engine interface {
	Begin(ctx context.Context, m *task.Message, redelivered bool, timeout time.Duration) (lifecycle.Start, error)
	Settle(ctx context.Context, run *lifecycle.Running, p task.Policy, o task.Outcome) (task.Decision, error)
	// ApplyParked: nil is done, task.CodeUnavailable not yet, anything else
	// that the body is no settlement.
	ApplyParked(ctx context.Context, body []byte) error
}

// Endpoints is what delivering needs of the registry, from memory except for
// DisableEndpoint.
type Endpoints interface {
	EndpointByID(id task.EndpointID) (ep *task.Endpoint, deleted, ok bool)
	// Endpoints lists those of every project for "".
	Endpoints(project string) []task.Endpoint
	// Changes is closed at the next change.
	Changes() <-chan struct{}
	// DisableEndpoint holds the endpoint's tasks, unless it has another URL
	// than the one that was called.
	DisableEndpoint(ctx context.Context, called *task.Endpoint, why task.Reason) error
}

// Secrets opens an endpoint's signing secrets, the current one first.
type Secrets func(ep *task.Endpoint) ([]signing.Secret, error)

// ErrGone is wrapped by the errors of deliveries that are no longer ours: the
// queue has taken them back.
var ErrGone = errors.New("delivery is no longer ours")

// Settling ends a delivery; exactly one of its methods succeeds, once. Until
// then the queue keeps the message, and delivers it again when this process
// dies.
type Settling interface {
	Ack(ctx context.Context) error
	// Postpone has the same message delivered again at eta.
	Postpone(ctx context.Context, eta time.Time) error
}

// Delivery is a task's message in our hands.
type Delivery interface {
	Settling
	Message() *task.Message
	Redelivered() bool
	// Doubt has every later delivery of the message say Redelivered.
	Doubt()
	// Release gives the unstarted message back, for anyone, now.
	Release(ctx context.Context) error
}

// Parked is a settlement in our hands that waited for its store.
type Parked interface {
	Settling
	Body() []byte
}

// Consumer is a running subscription.
type Consumer interface {
	// Stop ends deliveries; those handed out stay valid.
	Stop(ctx context.Context) error
}

// Source is what delivering needs of the queue. Handlers return at once.
type Source interface {
	Consume(ctx context.Context, id task.EndpointID, prefetch int, h func(Delivery)) (Consumer, error)
	ConsumeQuarantine(ctx context.Context, prefetch int, h func(Delivery)) (Consumer, error)
	ConsumeParked(ctx context.Context, prefetch int, h func(Parked)) (Consumer, error)
}
