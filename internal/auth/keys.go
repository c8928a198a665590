package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
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
	last   time.Time // begin of the latest look
	next   *look     // that has not begun; nil: none
}

// look is one look into the store, shared by all who wait for it.
type look struct {
	done chan struct{}
	err  error // once done
}

// NewKeys makes an authenticator.
func NewKeys(store KeyStore, bootstrap *AdminKey) *Keys {
	return &Keys{store: store, bootstrap: bootstrap, now: time.Now}
}

// Authenticate takes the key from "Authorization: Bearer". Errors carry
// [CodeUnauthenticated], or task.CodeUnavailable when the key is not known
// here and the store cannot be asked.
//
// A key that was made on another gateway a moment ago works here too: an
// unknown one waits for the next look into the store, up to syncEvery. A
// revoked one works until the store's change is seen here.
func (a *Keys) Authenticate(r *http.Request) (Principal, error) {
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
	a.store.UseKey(id, now)
	return Principal{Project: k.Project, Scopes: k.Scopes, KeyID: id, ExpiresAt: k.ExpiresAt}, nil
}

func unknownKey() error { return task.Errorf(CodeUnauthenticated, "the key is not known") }

// find returns a key, nil for none.
func (a *Keys) find(ctx context.Context, id string) (*task.APIKey, error) {
	if k, known := a.store.FindKey(id); known {
		return k, nil
	}
	l, first := a.join()
	if l == nil {
		return nil, nil //nolint:nilnil // too many ask at once: unknown it is
	}
	defer a.leave()
	if first {
		a.run(ctx, l)
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.err != nil {
		return nil, l.err
	}
	k, _ := a.store.FindKey(id)
	return k, nil
}

// join returns the look to wait for, and whether the caller is to run it. It
// returns nil when too many wait.
func (a *Keys) join() (l *look, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking >= maxAsking {
		return nil, false
	}
	a.asking++
	if first = a.next == nil; first {
		a.next = &look{done: make(chan struct{})}
	}
	return a.next, first
}

func (a *Keys) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
}

// run looks into the store as soon as that is allowed. Others wait for it: it
// goes on when its own caller has left.
func (a *Keys) run(ctx context.Context, l *look) {
	ctx = context.WithoutCancel(ctx)
	a.mu.Lock()
	wait := a.last.Add(syncEvery).Sub(a.now())
	a.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		<-timer.C
	}
	a.mu.Lock()
	a.last, a.next = a.now(), nil
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	l.err = a.store.Sync(ctx)
	close(l.done)
}
