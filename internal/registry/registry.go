package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Options of a [Registry]. Zero values get defaults.
type Options struct {
	Logger *slog.Logger
	// PollEvery is how often the store's version is compared with the
	// memory's, in case a hint was lost. Default 5 s.
	PollEvery time.Duration
	Now       func() time.Time
}

const (
	defaultPoll = 5 * time.Second
	callTimeout = 5 * time.Second
)

// Registry is the whole registry in memory, kept equal to its store. When the
// store is emptied, the registry seeds it again. Errors are task.Errors:
// CodeNotFound, CodeUnavailable, CodeConflict.
type Registry struct {
	d   Driver
	opt Options

	rounds rounds
	latest atomic.Pointer[time.Time] // begin of the last reconciliation that succeeded

	mu      sync.RWMutex
	state   State // Items unused: see items
	items   map[Key]Item
	view    view
	changed chan struct{} // closed and replaced by every change

	uses uses
}

// New makes an empty registry over a driver, which stays the caller's to
// close. Sync fills it.
func New(d Driver, opt Options) *Registry {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.PollEvery <= 0 {
		opt.PollEvery = defaultPoll
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Registry{
		d: d, opt: opt, items: make(map[Key]Item), view: newView(), changed: make(chan struct{}),
		uses: uses{of: make(map[string]*use)},
	}
}

// Changes is closed at the next change of anything. Take it before reading:
// then no change is missed.
func (r *Registry) Changes() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// Run keeps the memory equal to the store, and writes the last uses of keys,
// until ctx ends. It returns an error
// only when the driver was closed under it.
func (r *Registry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	kick, closed := make(chan struct{}, 1), make(chan error, 1)
	wg.Go(func() {
		closed <- r.d.Watch(ctx, func() {
			select {
			case kick <- struct{}{}:
			default:
			}
		})
	})
	tick := time.NewTicker(r.opt.PollEvery)
	defer tick.Stop()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), useTime)
		defer cancel()
		r.writeUses(last, true)
	}()
	for failing := false; ; {
		select {
		case err := <-closed:
			cancel()
			return fail(err)
		case <-kick:
		case <-tick.C:
			r.writeUses(ctx, false)
		}
		err := r.Sync(ctx)
		switch {
		case err == nil:
			failing = false
		case ctx.Err() == nil && !failing:
			failing = true // said once, until it is over
			r.opt.Logger.WarnContext(ctx, "registry cannot be read; the last known one stays in use", "error", err)
		}
	}
}

// Status tells how well the memory knows its store.
type Status struct {
	Version int64
	// Synced is when memory and store were last seen to be equal; zero: never.
	Synced    time.Time
	Endpoints int // the built-in ones included
}

// Status is read from memory, at once.
func (r *Registry) Status() Status {
	r.mu.RLock()
	defer r.mu.RUnlock()
	st := Status{Version: r.state.Version, Endpoints: len(r.view.all)}
	if at := r.latest.Load(); at != nil {
		st.Synced = *at
	}
	return st
}

// maxRounds bounds a reconciliation that others keep overtaking.
const maxRounds = 10

var errBusy = errors.New("the registry changes too fast")

func (r *Registry) reconcile(ctx context.Context) error {
	for range maxRounds {
		epoch, version, err := r.d.Version(ctx)
		if err != nil {
			return err
		}
		mine := r.known()
		switch {
		case mine.Epoch == epoch && mine.Version == version:
			return nil
		case mine.Epoch != "" && (epoch == "" || epoch == mine.Epoch && version < mine.Version):
			err = r.giveBack(ctx, mine)
		case mine.Epoch != "" && epoch != mine.Epoch:
			err = r.merge(ctx, mine)
		default:
			err = r.load(ctx)
		}
		if err != nil {
			return err
		}
	}
	return errBusy
}

// giveBack seeds a store that lost everything, or its latest changes.
func (r *Registry) giveBack(ctx context.Context, mine State) error {
	did, err := r.d.Seed(ctx, mine)
	if did {
		r.uses.writeAgain()
		r.opt.Logger.WarnContext(ctx, "the registry's store was behind; seeded it again from memory",
			"version", mine.Version, "items", len(mine.Items))
	}
	return err
}

// merge takes over a store that began anew without us: what only we know is
// put back, the rest is theirs, but for revoked keys and elder projects.
func (r *Registry) merge(ctx context.Context, mine State) error {
	theirs, err := r.d.Load(ctx)
	if err != nil || theirs.Epoch == mine.Epoch || theirs.Epoch == "" {
		return err
	}
	known := make(map[Key]Item, len(theirs.Items))
	for _, it := range theirs.Items {
		known[it.Key] = it
	}
	n := 0
	for _, it := range mine.Items {
		there, both := known[it.Key]
		if !ours(it, there, both) {
			continue
		}
		if _, _, err := r.d.Put(ctx, it, there.Revision, theirs.Epoch); err != nil {
			return err
		}
		n++
	}
	r.opt.Logger.WarnContext(ctx, "the registry's store began anew; merged", "put_back", n)
	return r.load(ctx)
}

// ours reports whether a merge takes our item.
func ours(mine, theirs Item, both bool) bool {
	switch {
	case mine.Deleted:
		// A revoked key never comes back, whoever has not heard of its end.
		return mine.Kind == KindKey && !theirs.Deleted
	case both:
		return elder(mine, theirs)
	}
	return true
}

func (r *Registry) load(ctx context.Context) error {
	s, err := r.d.Load(ctx)
	if err != nil {
		return err
	}
	r.adopt(s)
	return nil
}

// adopt takes a state that was read. An older one (a read that was overtaken)
// is ignored.
func (r *Registry) adopt(s State) {
	items := make(map[Key]Item, len(s.Items))
	for _, it := range s.Items {
		items[it.Key] = it
	}
	r.mu.RLock()
	v, faults := makeView(items, r.items, r.view)
	r.mu.RUnlock()
	for _, f := range faults {
		r.opt.Logger.Error("unreadable item in the registry", "kind", f.Kind, "project", f.Project, "name", f.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Epoch == "" || s.Epoch == r.state.Epoch && s.Version < r.state.Version {
		return
	}
	r.state = State{Epoch: s.Epoch, Version: s.Version}
	r.show(items, v)
}

// show replaces what readers see. The caller holds the lock.
func (r *Registry) show(items map[Key]Item, v view) {
	r.items, r.view = items, v
	close(r.changed)
	r.changed = make(chan struct{})
}

// known is the state in memory.
func (r *Registry) known() State {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.state
	s.Items = make([]Item, 0, len(r.items))
	for _, it := range r.items {
		s.Items = append(s.Items, it)
	}
	return s
}

func fail(err error) error {
	switch {
	case err == nil:
		return nil
	case task.CodeOf(err) != task.CodeInternal:
		return err
	case errors.Is(err, ErrUnavailable), errors.Is(err, errBusy):
		return task.Wrap(task.CodeUnavailable, err, "the registry cannot be reached now")
	}
	return task.Wrap(task.CodeInternal, err, "the registry failed")
}

const epochBytes = 12

func newEpoch() string {
	var b [epochBytes]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return hex.EncodeToString(b[:])
}
