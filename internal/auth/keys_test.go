package auth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// store is a registry whose changes show only after a Sync.
type store struct {
	mu      sync.Mutex
	keys    map[string]*task.APIKey // nil: revoked
	later   map[string]*task.APIKey
	uses    map[string]time.Time
	syncs   []time.Time
	failing error
	changed chan struct{}
}

func (s *store) FindKey(id string) (*task.APIKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, known := s.keys[id]
	return k, known
}

func (s *store) UseKey(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses[id] = at
}

func (s *store) Changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// hear is what a hint does: a key that was made elsewhere is known now.
func (s *store) hear(k *task.APIKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.ID] = k
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncs = append(s.syncs, time.Now())
	if s.failing != nil {
		return s.failing
	}
	maps.Copy(s.keys, s.later)
	return nil
}

func newStore() *store {
	return &store{
		keys: make(map[string]*task.APIKey), later: make(map[string]*task.APIKey), uses: make(map[string]time.Time),
		changed: make(chan struct{}),
	}
}

func newKeys(t *testing.T, s *store) *auth.Keys {
	t.Helper()
	bootstrap, err := auth.NewAdminKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return auth.NewKeys(s, bootstrap, auth.Options{})
}

func stored(token auth.Token, expires time.Time) *task.APIKey {
	return &task.APIKey{
		ID: token.ID, Project: "acme", Scopes: []auth.Scope{auth.ScopeTasksRead}, Digest: token.Digest, ExpiresAt: expires,
	}
}

func request(ctx context.Context, key string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	return r
}

func TestKeys(t *testing.T) {
	s := newStore()
	a := newKeys(t, s)
	now := time.Now()
	live, expired, revoked := auth.NewToken(now), auth.NewToken(now), auth.NewToken(now)
	s.keys[live.ID] = stored(live, now.Add(time.Hour))
	s.keys[expired.ID] = stored(expired, now)
	s.keys[revoked.ID] = nil
	text := live.Reveal()
	other := auth.NewToken(now).Reveal()
	secretOf := func(text string) string { return text[strings.LastIndex(text, "_")+1:] }
	for name, c := range map[string]struct {
		key string
		ok  bool
	}{
		"the bootstrap key":       {key, true},
		"live":                    {text, true},
		"expired":                 {expired.Reveal(), false},
		"revoked":                 {revoked.Reveal(), false},
		"another secret":          {strings.TrimSuffix(text, secretOf(text)) + secretOf(other), false},
		"secret of another key":   {strings.TrimSuffix(text, secretOf(text)) + secretOf(expired.Reveal()), false},
		"no secret":               {auth.Shown(live.ID), false},
		"empty secret":            {auth.Shown(live.ID) + "_", false},
		"cut off":                 {text[:len(text)-1], false},
		"longer":                  {text + "0", false},
		"in upper case":           {strings.ToUpper(text), false},
		"other prefix":            {"sk" + strings.TrimPrefix(text, "tg"), false},
		"letters that no key has": {strings.TrimSuffix(text, text[len(text)-1:]) + "z", false},
	} {
		p, err := a.Authenticate(request(t.Context(), c.key), netip.Addr{})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (task.CodeOf(err) != auth.CodeUnauthenticated || strings.Contains(err.Error(), c.key)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && c.key == text &&
			(p.Project != "acme" || p.KeyID != live.ID || !p.Can(auth.ScopeTasksRead) || p.Can(auth.ScopeTasksWrite) || p.Admin() || p.ExpiresAt.IsZero()) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(s.uses) != 1 || s.uses[live.ID].Before(now) {
		t.Errorf("uses %v", s.uses)
	}
	if len(s.syncs) != 0 {
		t.Errorf("%d looks into the store for keys that are known, or none", len(s.syncs))
	}
}

// TestKeyOfAnAddress: a key opens nothing from elsewhere, and nobody learns by
// the refusal whether a secret is right that is not.
func TestKeyOfAnAddress(t *testing.T) {
	s := newStore()
	a := newKeys(t, s)
	token := auth.NewToken(time.Now())
	k := stored(token, time.Time{})
	k.Addresses = task.AddressSet{netip.MustParsePrefix("192.0.2.0/24")}
	s.keys[token.ID] = k
	text := token.Reveal()
	wrong := text[:len(text)-1] + map[bool]string{true: "0", false: "1"}[!strings.HasSuffix(text, "0")]
	for _, c := range []struct {
		key, from string
		code      task.Code
	}{
		{text, "192.0.2.9", ""},
		{text, "::ffff:192.0.2.9", ""},
		{text, "192.0.3.9", auth.CodeAddress},
		{text, "2001:db8::1", auth.CodeAddress},
		{text, "", auth.CodeAddress},
		{wrong, "192.0.3.9", auth.CodeUnauthenticated},
		{wrong, "192.0.2.9", auth.CodeUnauthenticated},
	} {
		clear(s.uses)
		from, _ := netip.ParseAddr(c.from)
		p, err := a.Authenticate(request(t.Context(), c.key), from)
		if (err == nil) != (c.code == "") || err != nil && task.CodeOf(err) != c.code {
			t.Errorf("from %q: %v", c.from, err)
		}
		if used := len(s.uses) > 0; used != (c.code == "") || p.Can(auth.ScopeTasksRead) != used {
			t.Errorf("from %q: used %v, %+v", c.from, used, p)
		}
		if c.code == auth.CodeAddress && p.KeyID != token.ID {
			t.Errorf("from %q: nobody is named", c.from)
		}
	}
}

func TestToken(t *testing.T) {
	now := time.Now()
	seen := make(map[string]bool)
	last := ""
	for i := range 100 {
		token := auth.NewToken(now.Add(time.Duration(i) * time.Millisecond))
		if token.ID <= last {
			t.Fatalf("%s is not after %s", token.ID, last)
		}
		last = token.ID
		text := token.Reveal()
		if seen[text] || !strings.HasPrefix(text, "tg_"+token.ID+"_") || len(text) != 3+18+1+32 || !auth.IsKeyID(token.ID) {
			t.Fatalf("%s", text)
		}
		seen[text] = true
		for _, out := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s", token, token, token, token)} {
			if strings.Contains(out, text) {
				t.Fatalf("shows its secret: %s", out)
			}
		}
	}
	for _, bad := range []string{"", "x", last + "0", strings.ToUpper(last), strings.Repeat("z", len(last))} {
		if auth.IsKeyID(bad) {
			t.Errorf("%q is the id of a key", bad)
		}
	}
}

// TestUnknownKey: a key that was made elsewhere works after a look into the
// store, of which there is at most one a second, whoever asks.
func TestUnknownKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a := newKeys(t, s)
		var callers atomic.Int32 // each from an address of its own
		try := func(token auth.Token) error {
			_, err := a.Authenticate(request(t.Context(), token.Reveal()), client(int(callers.Add(1))))
			return err
		}
		first := auth.NewToken(time.Now())
		s.later[first.ID] = stored(first, time.Time{})
		if err := try(first); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		fresh := auth.NewToken(time.Now())
		s.later[fresh.ID] = stored(fresh, time.Time{})
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				token := fresh
				if i%2 == 1 {
					token = auth.NewToken(time.Now())
				}
				if err := try(token); (err == nil) != (i%2 == 0) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 1001*time.Millisecond {
			t.Errorf("known after %v", took)
		}
		for range 5 {
			if err := try(auth.NewToken(time.Now())); task.CodeOf(err) != auth.CodeUnauthenticated {
				t.Error(err)
			}
		}
		if len(s.syncs) != 7 {
			t.Errorf("%d looks into the store", len(s.syncs))
		}
		for i := 1; i < len(s.syncs); i++ {
			if gap := s.syncs[i].Sub(s.syncs[i-1]); gap < time.Second {
				t.Errorf("a look after %v", gap)
			}
		}
	})
}

// TestUnknownKeyIsHeardOf: the news of a key ends the wait for a look.
func TestUnknownKeyIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a := newKeys(t, s)
		_, _ = a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), netip.Addr{})
		fresh := auth.NewToken(time.Now())
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Authenticate(request(t.Context(), fresh.Reveal()), netip.Addr{}); err != nil || time.Since(start) > 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		})
		synctest.Wait()
		other := auth.NewToken(time.Now())
		s.hear(stored(other, time.Time{}))
		synctest.Wait()
		s.hear(stored(fresh, time.Time{}))
		wg.Wait()
		if len(s.syncs) != 1 {
			t.Errorf("%d looks into the store", len(s.syncs))
		}
	})
}

// TestUnknownKeyFlood: who waits is bounded; the rest is refused at once.
func TestUnknownKeyFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a := newKeys(t, s)
		_, _ = a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), netip.Addr{})
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { _, _ = a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), client(i)) })
		}
		synctest.Wait()
		start := time.Now()
		_, err := a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), netip.Addr{})
		if task.CodeOf(err) != auth.CodeUnauthenticated || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		wg.Wait()
		if len(s.syncs) != 2 {
			t.Errorf("%d looks into the store", len(s.syncs))
		}
	})
}

// TestUnknownKeyLeaves: a caller that leaves takes nobody's look along.
func TestUnknownKeyLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a := newKeys(t, s)
		_, _ = a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), netip.Addr{})
		fresh := auth.NewToken(time.Now())
		s.later[fresh.ID] = stored(fresh, time.Time{})
		gone, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.Authenticate(request(gone, auth.NewToken(time.Now()).Reveal()), netip.Addr{}) })
		synctest.Wait()
		wg.Go(func() {
			if _, err := a.Authenticate(request(t.Context(), fresh.Reveal()), netip.Addr{}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := a.Authenticate(request(gone, fresh.Reveal()), netip.Addr{}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestUnknownKeyWithoutStore(t *testing.T) {
	s := newStore()
	s.failing = task.Errorf(task.CodeUnavailable, "the registry cannot be reached now")
	a := newKeys(t, s)
	if _, err := a.Authenticate(request(t.Context(), auth.NewToken(time.Now()).Reveal()), netip.Addr{}); task.CodeOf(err) != task.CodeUnavailable {
		t.Error(err)
	}
}
