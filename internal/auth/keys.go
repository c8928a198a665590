package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// KeyStore knows the keys, from memory except for Sync.
type KeyStore interface {
	// FindKey returns a key by its id; the value is shared and must not be
	// changed. known is true for one that was revoked, too.
	FindKey(id string) (k *task.APIKey, known bool)
	// UseKey notes that a key was used.
	UseKey(id string, at time.Time)
	// Changes is closed at the next change of anything.
	Changes() <-chan struct{}
	// Sync makes what was written anywhere before the call seen after it.
	Sync(ctx context.Context) error
}

// Bounds of the looks into the store for keys that are not known here. What
// anybody can send must not become the store's load.
const (
	syncEvery = time.Second // at most one look in this time, for all together
	syncTime  = 2 * time.Second
	maxAsking = 1000 // requests that wait for a look
)

// Keys authenticates by the keys of a store and by the bootstrap key.
type Keys struct {
	store     KeyStore
	bootstrap *AdminKey
	now       func() time.Time

	mu     sync.Mutex
	asking int
	latest *look // never nil
}

// look is one look into the store, shared by all who came before it began.
type look struct {
	number int // of all looks
	begin  time.Time
	done   chan struct{}
	err    error // once done
}

// NewKeys makes an authenticator.
func NewKeys(store KeyStore, bootstrap *AdminKey) *Keys {
	long := &look{done: make(chan struct{})} // ago
	close(long.done)
	return &Keys{store: store, bootstrap: bootstrap, now: time.Now, latest: long}
}

// Authenticate takes the key from "Authorization: Bearer". Errors carry
// [CodeUnauthenticated], or task.CodeUnavailable when the key is not known
// here and the store cannot be asked. A key that is not used from where it may
// be is [CodeAddress]; then the principal says whose it is, and can do nothing.
//
// A key that was made on another gateway a moment ago works here too: an
// unknown one waits for the news of it, at most until the next look into the
// store. A revoked one works until the store's change is seen here.
func (a *Keys) Authenticate(r *http.Request, from netip.Addr) (Principal, error) {
	text, err := bearer(r.Header)
	if err != nil {
		return Principal{}, err
	}
	digest := sha256.Sum256([]byte(text))
	if a.bootstrap.is(digest) {
		return admin(bootstrapID), nil
	}
	id, ok := idOf(text)
	if !ok {
		return Principal{}, unknownKey()
	}
	k, err := a.find(r.Context(), id)
	if err != nil {
		return Principal{}, err
	}
	if k == nil || subtle.ConstantTimeCompare(digest[:], k.Digest) != 1 {
		return Principal{}, unknownKey()
	}
	now := a.now()
	if k.ExpiredAt(now) {
		return Principal{}, task.Errorf(CodeUnauthenticated, "the key has expired")
	}
	if !k.Addresses.Has(from) {
		return Principal{Project: k.Project, KeyID: id}, task.Errorf(CodeAddress, "this key may not be used from this address")
	}
	a.store.UseKey(id, now)
	return Principal{
		Project: k.Project, Scopes: k.Scopes, KeyID: id, ExpiresAt: k.ExpiresAt, Rate: k.Rate,
		Endpoints: k.Endpoints, Addresses: k.Addresses,
	}, nil
}

func unknownKey() error { return task.Errorf(CodeUnauthenticated, "the key is not known") }

// find returns a key, nil for none.
func (a *Keys) find(ctx context.Context, id string) (*task.APIKey, error) {
	if k, known := a.store.FindKey(id); known {
		return k, nil
	}
	before, ok := a.join()
	if !ok {
		return nil, nil //nolint:nilnil // too many ask at once: unknown it is
	}
	defer a.leave()
	for {
		changed := a.store.Changes()
		if k, known := a.store.FindKey(id); known {
			return k, nil
		}
		l, early := a.lookAfter(ctx, before)
		if l == nil {
			if err := pause(ctx, early, changed); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-l.done:
			if k, known := a.store.FindKey(id); known {
				return k, nil
			}
			return nil, l.err
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pause waits for d or for the news.
func pause(ctx context.Context, d time.Duration, news <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-news:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// join returns the number of the latest look that began before the caller
// came; false when too many wait.
func (a *Keys) join() (before int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking >= maxAsking {
		return 0, false
	}
	a.asking++
	return a.latest.number, true
}

func (a *Keys) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
}

// lookAfter returns a later look than that of the number, or says how early it
// is for one. When it is time, the caller makes it, for all.
func (a *Keys) lookAfter(ctx context.Context, before int) (l *look, early time.Duration) {
	a.mu.Lock()
	if a.latest.number > before {
		defer a.mu.Unlock()
		return a.latest, 0
	}
	if early = a.latest.begin.Add(syncEvery).Sub(a.now()); early > 0 {
		a.mu.Unlock()
		return nil, early
	}
	l = &look{number: before + 1, begin: a.now(), done: make(chan struct{})}
	a.latest = l
	a.mu.Unlock()
	defer close(l.done)
	// Others wait for it: it goes on when its caller leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTime)
	defer cancel()
	l.err = a.store.Sync(ctx)
	return l, 0
}
