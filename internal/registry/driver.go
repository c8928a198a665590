package registry

import (
	"context"
	"errors"
	"time"
)

// ErrUnavailable wraps every failure to reach the registry's store.
var ErrUnavailable = errors.New("registry unavailable")

// Key names an item: what kind of thing, whose, which.
type Key struct {
	Kind    string // "endpoint", "project", "key"; later "schedule"
	Project string
	Name    string
}

// Item is one stored thing. Revision is the registry's version at its last
// change. A deleted item stays as a tombstone (Deleted, Value kept empty).
type Item struct {
	Key
	Value    []byte
	Revision int64
	Deleted  bool
}

// State is the whole registry at one version.
type State struct {
	// Epoch is a random token made when the registry's store was first
	// seeded; a new one means that the store was emptied in between.
	Epoch   string
	Version int64 // +1 with every change
	Items   []Item
}

// Driver is what the registry's store must do. registrytest proves each
// sentence here for every driver.
type Driver interface {
	// Version returns epoch and version; ("", 0) for an empty store.
	Version(ctx context.Context) (epoch string, version int64, err error)
	// Load returns everything; the zero State for an empty store.
	Load(ctx context.Context) (State, error)
	// Put writes one item if the present revision of its key is expect
	// (0: absent or a tombstone; -1: whatever it is) and returns the new
	// version. ok is false on a mismatch. Exactly one winner of concurrent
	// puts with the same expectation. An empty store gets the epoch given.
	// Durable when it returns.
	Put(ctx context.Context, it Item, expect int64, epoch string) (version int64, ok bool, err error)
	// Seed replaces the store's content with s if the store is empty, or has
	// the same epoch and a lower version. It reports whether it did.
	Seed(ctx context.Context, s State) (bool, error)
	// Watch calls changed after every change by anyone, and after every time
	// changes may have been missed, the start included, until ctx ends. It
	// blocks, reconnects by itself, and returns nil when ctx ends and
	// ErrUnavailable when the driver is closed; then changed is called no
	// more. changed must not block.
	Watch(ctx context.Context, changed func()) error
	// Touch notes when keys were last used, to the millisecond. The later of
	// two times stays; a zero time forgets. It is no change of the registry:
	// the version stays, nobody is told, and Seed leaves it alone. It need
	// not be durable when it returns.
	Touch(ctx context.Context, uses map[string]time.Time) error
	// Touched returns what Touch noted; empty for nothing.
	Touched(ctx context.Context) (map[string]time.Time, error)
	// Close may be called twice. After it every method fails.
	Close() error
}
