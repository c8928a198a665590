// Package lifecycle holds the steps of a task's life, each once: accept,
// begin, settle, cancel, replay, expire, and what the sweeper does. Gateway,
// dispatcher and sweeper call it; it decides nothing itself (package task
// does) and stores nothing itself, but it owns the order of writes, because
// the order is what makes a crash between any two of them harmless:
//
//   - accept: create record → publish → confirm → note → 202
//   - settle with a successor: publish → confirm → swap → acknowledge
//   - settle as final: swap → callback, if one is due → acknowledge
//   - replay, run now: callback still to come → publish → confirm → swap → answer
//
// The last step, acknowledging the message, belongs to the caller.
package lifecycle

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskgate/taskgate/internal/task"
)

// Queue publishes messages. Errors carry task.CodeNotAccepted (surely not
// stored) or task.CodeOutcomeUnknown.
type Queue interface {
	// Publish returns nil once the message is durable.
	Publish(ctx context.Context, m task.Message) error
	// Park keeps an encoded settlement until the store is back.
	Park(ctx context.Context, id string, body []byte) error
}

// Acceptance is what accepting needs of the store.
type Acceptance interface {
	Create(ctx context.Context, t task.NewTask) (task.Claim, error)
	Accepted(ctx context.Context, id task.ID) error
	Renew(ctx context.Context, id task.ID, old, next time.Time) (bool, error)
	Abandon(ctx context.Context, now time.Time, limit int) (int, error)
}

// Records is what every later step needs of the store. Failures to reach it
// carry task.CodeUnavailable.
type Records interface {
	Swap(ctx context.Context, c task.Change) (task.ChangeReply, error)
	// Get returns nil for an unknown id.
	Get(ctx context.Context, id task.ID) (*task.Snapshot, error)
	Payload(ctx context.Context, id task.ID) ([]byte, bool, error)
	List(ctx context.Context, q task.Query) (task.Page, error)
	Expiring(ctx context.Context, now time.Time, limit int) ([]task.ID, error)
}

// Outbox knows the tasks whose callback may not be published yet.
type Outbox interface {
	// Outbox returns up to limit tasks that have been in it since before the
	// given time.
	Outbox(ctx context.Context, before time.Time, limit int) ([]task.ID, error)
	// LeaveOutbox takes s out, if it is in for the end of s.Outbox. It is
	// kept at least until keep.
	LeaveOutbox(ctx context.Context, s *task.Snapshot, keep time.Time) error
	// GetResult returns a task with its result; both may be nil.
	GetResult(ctx context.Context, id task.ID) (*task.Snapshot, *task.Result, error)
}

// Liveness tells living processes from dead ones.
type Liveness interface {
	Beat(ctx context.Context, owner string, ttl time.Duration) error
	Alive(ctx context.Context, owner string) (bool, error)
	Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	HintCancel(ctx context.Context, id task.ID) error
	Forget(ctx context.Context, project string, now time.Time) error
}

// Store is the whole of it.
type Store interface {
	Acceptance
	Records
	Outbox
	Liveness
}

// Observer is told of what happens to tasks. It must not block.
type Observer interface {
	// Accepted: a new task was accepted; repeats do not count.
	Accepted(project, endpoint string)
	// Finished: a task reached a final state, which is written.
	Finished(project, endpoint string, s task.State)
}

// Options of an [Engine]. Zero values get defaults.
type Options struct {
	// Owner names this process and boot; leases carry it.
	Owner string
	// KeepPayload is the largest payload kept beside a record that has not
	// failed. Failed tasks keep theirs whole.
	KeepPayload int
	// Keeps reports whether so many bytes of a failed task's payload may be
	// kept; nil: all may. The payload that may not is dropped, and replaying
	// its task is task.CodePayloadNotKept.
	Keeps func(ctx context.Context, project string, bytes int) bool
	// AcceptWithin is how long an acceptance may take before it is taken for
	// abandoned.
	AcceptWithin time.Duration
	// PublishTimeout bounds one wait for a confirm.
	PublishTimeout time.Duration
	// StoreTimeout bounds one call of the store.
	StoreTimeout time.Duration
	// CallbackBody shows a task that has ended, with its result, to its
	// submitter, in at most task.MaxCallbackBody bytes of JSON.
	CallbackBody func(s *task.Snapshot, r *task.Result) ([]byte, error)
	// Life names the store's present life: another one than before means that
	// it may have lost what it had confirmed last. nil: it never does.
	Life     func(ctx context.Context) (string, error)
	Now      func() time.Time
	Rand     func() float64
	NewID    func(now time.Time, shard int) task.ID
	Logger   *slog.Logger
	Observer Observer // nil: nobody
}

// Engine runs the steps. It is safe for concurrent use.
type Engine struct {
	queue Queue
	store Store
	opt   Options

	mu      sync.Mutex
	unnoted map[task.ID]struct{} // accepted, but the note did not reach the store

	memory    memory
	lastHeard atomic.Int64 // when the store answered last, Unix ms
}

// Defaults of [Options].
const (
	defaultKeepPayload    = 16 << 10
	defaultAcceptWithin   = 10 * time.Second
	defaultPublishTimeout = 10 * time.Second
	defaultStoreTimeout   = 5 * time.Second
	maxUnnoted            = 100_000
)

// New makes an engine.
func New(q Queue, s Store, opt Options) *Engine {
	def(&opt.KeepPayload, defaultKeepPayload)
	def(&opt.AcceptWithin, defaultAcceptWithin)
	def(&opt.PublishTimeout, defaultPublishTimeout)
	def(&opt.StoreTimeout, defaultStoreTimeout)
	def(&opt.Owner, token())
	// No acceptance may outlive its own deadline: a repeat would be told that
	// nobody is at it.
	opt.AcceptWithin = max(opt.AcceptWithin, opt.PublishTimeout+2*opt.StoreTimeout)
	if opt.CallbackBody == nil {
		opt.CallbackBody = bareBody
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Rand == nil {
		opt.Rand = mathrand.Float64
	}
	if opt.NewID == nil {
		opt.NewID = newID
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Observer == nil {
		opt.Observer = nobody{}
	}
	e := &Engine{queue: q, store: s, opt: opt, unnoted: make(map[task.ID]struct{})}
	e.heard()
	return e
}

type nobody struct{}

func (nobody) Accepted(string, string)             {}
func (nobody) Finished(string, string, task.State) {}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// now is the present in whole milliseconds, the precision of every stored
// time, so that what is read back equals what was written.
func (e *Engine) now() time.Time { return e.opt.Now().UTC().Truncate(time.Millisecond) }

func newID(now time.Time, shard int) task.ID {
	return task.MakeID(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String(), shard)
}

const tokenBytes = 8

func token() string {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return hex.EncodeToString(b[:])
}

func unavailable(err error) bool { return task.CodeOf(err) == task.CodeUnavailable }
