package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
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

// Observer is told of failed authentications. It must not block.
type Observer interface {
	// AuthFailed: slowed is true for those that were refused unseen.
	AuthFailed(slowed bool)
}

type nobody struct{}

func (nobody) AuthFailed(bool) {}

// Options of [Keys]. Zero values get defaults.
type Options struct {
	// Tokens authenticates what is no key but a JWT; nil: nothing.
	Tokens *Tokens
	// Failures is how many an address has free before it is slowed; 0: it
	// never is.
	Failures int
	Logger   *slog.Logger
	Observer Observer
}

// Keys authenticates by the keys of a store, by the bootstrap key, and by the
// tokens of an issuer.
//
// Failures slow their address, and all together, but never lock out: a key
// that is known here works at all times, whoever fails beside it, and so does
// a good token. What is refused unseen (429) while an address is slowed is
// what would cost a look into the store, and what could guess the bootstrap
// key, the only one that people choose. All others have 160 random bits.
type Keys struct {
	store     KeyStore
	bootstrap *AdminKey
	opt       Options
	now       func() time.Time
	slow      *throttle
	absent    *absent

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
func NewKeys(store KeyStore, bootstrap *AdminKey, opt Options) *Keys {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Observer == nil {
		opt.Observer = nobody{}
	}
	long := &look{done: make(chan struct{})} // ago
	close(long.done)
	return &Keys{
		store: store, bootstrap: bootstrap, opt: opt, now: time.Now, latest: long,
		slow: newThrottle(opt.Failures, time.Now), absent: newAbsent(),
	}
}

// Authenticate takes the key from "Authorization: Bearer". Errors carry
// [CodeUnauthenticated], [CodeTooManyFailures] when more of them came from the
// address than people make, or task.CodeUnavailable when the key is not known
// here and who knows cannot be asked. A key that is not used from where it may
// be is [CodeAddress]; then the principal says whose it is, and can do nothing.
//
// A key that was made on another gateway a moment ago works here too: an
// unknown one waits for the news of it, at most until the next look into the
// store. A revoked one works until the store's change is seen here.
func (a *Keys) Authenticate(r *http.Request, from netip.Addr) (Principal, error) {
	text, err := bearer(r.Header)
	if err != nil {
		return Principal{}, err // nothing was tried
	}
	digest := sha256.Sum256([]byte(text))
	id, isKey := idOf(text)
	if !isKey {
		return a.other(r.Context(), text, digest, from)
	}
	k, known := a.store.FindKey(id)
	switch {
	case known && k == nil:
		return Principal{}, unknownKey() // revoked: no secret opens it, so none can be guessed
	case known && opens(k, digest):
		return a.principal(k, from)
	case a.bootstrap.is(digest):
		return admin(bootstrapID), nil
	}
	if pause := max(a.slow.pause(from), a.slow.rest()); pause > 0 {
		return Principal{}, a.slowed(pause)
	}
	if !known && !a.absent.has(id) {
		if k, err = a.find(r.Context(), id); err != nil {
			return Principal{}, err
		}
		if opens(k, digest) {
			return a.principal(k, from)
		}
		if k == nil {
			a.absent.add(id)
		}
	}
	return Principal{}, a.failed(r.Context(), from, unknownKey())
}

// opens takes the same time for every secret.
func opens(k *task.APIKey, digest [sha256.Size]byte) bool {
	return k != nil && subtle.ConstantTimeCompare(digest[:], k.Digest) == 1
}

// other authenticates what has not the shape of our keys: a token, or the
// bootstrap key.
func (a *Keys) other(ctx context.Context, text string, digest [sha256.Size]byte, from netip.Addr) (Principal, error) {
	refusal := unknownKey()
	if a.opt.Tokens != nil && isToken(text) {
		var p Principal
		if p, refusal = a.opt.Tokens.authenticate(ctx, text); task.CodeOf(refusal) != CodeUnauthenticated {
			return p, refusal
		}
	}
	if pause := a.slow.pause(from); pause > 0 {
		return Principal{}, a.slowed(pause)
	}
	if a.bootstrap.is(digest) { // which may have the shape of a token, too
		return admin(bootstrapID), nil
	}
	return Principal{}, a.failed(ctx, from, refusal)
}

// principal is whom a key stands for, when it is used as it may be.
func (a *Keys) principal(k *task.APIKey, from netip.Addr) (Principal, error) {
	now := a.now()
	if k.ExpiredAt(now) {
		return Principal{}, task.Errorf(CodeUnauthenticated, "the key has expired")
	}
	if !k.Addresses.Has(from) {
		return Principal{Project: k.Project, KeyID: k.ID}, task.Errorf(CodeAddress, "this key may not be used from this address")
	}
	a.store.UseKey(k.ID, now)
	return Principal{
		Project: k.Project, Scopes: k.Scopes, KeyID: k.ID, ExpiresAt: k.ExpiresAt, Rate: k.Rate,
		Endpoints: k.Endpoints, Addresses: k.Addresses,
	}, nil
}

// failed counts a failure. The log names the address, and nothing of what was
// tried: it may be a key with a letter missing.
func (a *Keys) failed(ctx context.Context, from netip.Addr, err error) error {
	f := a.slow.fail(from)
	a.opt.Observer.AuthFailed(false)
	if !f.until.IsZero() && (f.over == 1 || f.over > 1 && pauseAfter(f.over) > pauseAfter(f.over-1)) {
		a.opt.Logger.WarnContext(ctx, "authentication fails again and again; the address is slowed",
			"client", f.client.String(), "failures", f.count, "until", f.until.UTC())
	}
	return err
}

func (a *Keys) slowed(pause time.Duration) error {
	a.opt.Observer.AuthFailed(true)
	err := task.Errorf(CodeTooManyFailures, "too many authentications from this address have failed; a good key works, what is unknown has to wait")
	err.RetryAfter = pause
	return err
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
