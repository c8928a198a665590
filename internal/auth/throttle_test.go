package auth_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// client is one of many addresses.
func client(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
}

type counted struct {
	mu              sync.Mutex
	refused, slowed int
}

func (c *counted) AuthFailed(slowed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slowed {
		c.slowed++
		return
	}
	c.refused++
}

// slow is an authenticator, and what it tells.
type slow struct {
	*auth.Keys
	store *store
	seen  counted
	log   strings.Builder
}

func newSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{store: newStore()}
	bootstrap, err := auth.NewAdminKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.Keys = auth.NewKeys(s.store, bootstrap, auth.Options{Failures: 50, Observer: &s.seen, Logger: slog.New(slog.NewTextHandler(&s.log, nil))})
	return s
}

func (s *slow) try(t *testing.T, key string, from netip.Addr) error {
	t.Helper()
	_, err := s.Authenticate(request(t.Context(), key), from)
	return err
}

// fails until the address is slowed, and returns how often that took.
func (s *slow) untilSlowed(t *testing.T, from netip.Addr) int {
	t.Helper()
	for n := range 1000 {
		if err := s.try(t, "guess-of-a-bootstrap-key", from); task.CodeOf(err) == auth.CodeTooManyFailures {
			return n
		}
	}
	t.Fatal("never slowed")
	return 0
}

// TestFailuresAreSlowed: who fails again and again is refused unseen, longer
// and longer, and nobody else is.
func TestFailuresAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		bad, good := client(1), client(2)
		if n := s.untilSlowed(t, bad); n < 10 || n > 100 {
			t.Errorf("slowed after %d failures", n)
		}
		var last time.Duration
		for i := range 14 {
			err := s.try(t, "guess-of-a-bootstrap-key", bad)
			e := (*task.Error)(nil)
			if !errors.As(err, &e) || e.Code != auth.CodeTooManyFailures || e.RetryAfter <= 0 {
				t.Fatalf("%d: %v", i, err)
			}
			if grown := e.RetryAfter > last; !grown && e.RetryAfter < 5*time.Minute || e.RetryAfter > 5*time.Minute {
				t.Errorf("pause %v after %v", e.RetryAfter, last)
			}
			last = e.RetryAfter
			pauseFor(t, e.RetryAfter)
			if err := s.try(t, "guess-of-a-bootstrap-key", bad); task.CodeOf(err) != auth.CodeUnauthenticated {
				t.Fatalf("after the pause: %v", err)
			}
		}
		if last != 5*time.Minute {
			t.Errorf("the longest pause is %v", last)
		}
		if err := s.try(t, "guess-of-a-bootstrap-key", good); task.CodeOf(err) != auth.CodeUnauthenticated {
			t.Errorf("another address: %v", err)
		}
		if err := s.try(t, key, good); err != nil {
			t.Errorf("the bootstrap key from another address: %v", err)
		}
		// The bootstrap key could be guessed: it is not looked at meanwhile.
		if err := s.try(t, key, bad); task.CodeOf(err) != auth.CodeTooManyFailures {
			t.Errorf("the bootstrap key while slowed: %v", err)
		}
		pauseFor(t, last)
		if err := s.try(t, key, bad); err != nil {
			t.Errorf("the bootstrap key after the pause: %v", err)
		}
		if s.seen.slowed != 16 || s.seen.refused < 30 {
			t.Errorf("told of %+v", &s.seen)
		}
		if log := s.log.String(); !strings.Contains(log, "198.51.0.1/32") || strings.Contains(log, "guess") || strings.Count(log, "\n") > 12 {
			t.Errorf("log: %s", log)
		}
		pauseFor(t, 16*time.Minute)
		if n := s.untilSlowed(t, bad); n < 10 {
			t.Errorf("failures of long ago count: slowed after %d", n)
		}
	})
}

// TestGoodKeysAreNotSlowed: nobody is locked out by whoever fails beside them.
func TestGoodKeysAreNotSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		here, revoked := auth.NewToken(time.Now()), auth.NewToken(time.Now())
		s.store.keys[here.ID], s.store.keys[revoked.ID] = stored(here, time.Time{}), nil
		at := client(1)
		s.untilSlowed(t, at)
		if err := s.try(t, here.Reveal(), at); err != nil {
			t.Errorf("a good key beside an attacker: %v", err)
		}
		elsewhere := auth.NewToken(time.Now())
		s.store.later[elsewhere.ID] = stored(elsewhere, time.Time{})
		if err := s.try(t, elsewhere.Reveal(), at); task.CodeOf(err) != auth.CodeTooManyFailures {
			t.Errorf("a key that is not known here: %v", err)
		}
		if len(s.store.syncs) != 0 {
			t.Errorf("%d looks into the store while slowed", len(s.store.syncs))
		}
		s.store.hear(s.store.later[elsewhere.ID])
		if err := s.try(t, elsewhere.Reveal(), at); err != nil {
			t.Errorf("once it is known: %v", err)
		}
		// A key that was revoked cannot be guessed: whoever forgot to change it
		// does not slow the address.
		other := client(2)
		for range 200 {
			if err := s.try(t, revoked.Reveal(), other); task.CodeOf(err) != auth.CodeUnauthenticated {
				t.Fatalf("a revoked key: %v", err)
			}
		}
		if err := s.try(t, "no-key-at-all", other); task.CodeOf(err) != auth.CodeUnauthenticated {
			t.Errorf("beside a revoked key: %v", err)
		}
	})
}

// TestUnknownKeysCostNothing: an id that the store did not know is not looked
// for again, and all addresses together are not worth more than some looks.
func TestUnknownKeysCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		unknown := auth.NewToken(time.Now())
		for i := range 10 {
			if err := s.try(t, unknown.Reveal(), client(i)); task.CodeOf(err) != auth.CodeUnauthenticated {
				t.Fatal(err)
			}
		}
		if len(s.store.syncs) != 1 {
			t.Errorf("%d looks for one id", len(s.store.syncs))
		}
		start := time.Now()
		var refused int
		for i := range 2000 {
			if task.CodeOf(s.try(t, "some-text-that-is-no-key", client(i))) == auth.CodeUnauthenticated {
				refused++
			}
		}
		if time.Since(start) > 0 || refused != 2000 {
			t.Fatalf("%d refused after %v", refused, time.Since(start))
		}
		if err := s.try(t, auth.NewToken(time.Now()).Reveal(), client(5000)); task.CodeOf(err) != auth.CodeTooManyFailures {
			t.Errorf("an unknown key while thousands fail: %v", err)
		}
		if err := s.try(t, key, client(5000)); err != nil {
			t.Errorf("the bootstrap key while thousands fail: %v", err)
		}
		if len(s.store.syncs) != 1 {
			t.Errorf("%d looks", len(s.store.syncs))
		}
	})
}

// TestNobodyIsSlowed, where that is configured.
func TestNobodyIsSlowed(t *testing.T) {
	bootstrap, _ := auth.NewAdminKey(key)
	a := auth.NewKeys(newStore(), bootstrap, auth.Options{})
	for range 2000 {
		if _, err := a.Authenticate(request(t.Context(), "guess"), client(1)); task.CodeOf(err) != auth.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
}

// TestNetworksAreSlowed: of IPv6 it is the network that counts, of IPv4 the
// address, however it is written; and who is forgotten is who failed first.
func TestNetworksAreSlowed(t *testing.T) {
	s := newSlow(t)
	for name, c := range map[string]struct {
		bad, other string
		slowed     bool
	}{
		"the same network": {"2001:db8:1:1::1", "2001:db8:1:1:ffff::2", true},
		"another network":  {"2001:db8:2:1::1", "2001:db8:2:2::1", false},
		"mapped":           {"192.0.2.1", "::ffff:192.0.2.1", true},
		"the next address": {"192.0.2.3", "192.0.2.4", false},
	} {
		s.untilSlowed(t, netip.MustParseAddr(c.bad))
		err := s.try(t, "guess", netip.MustParseAddr(c.other))
		if slowed := task.CodeOf(err) == auth.CodeTooManyFailures; slowed != c.slowed {
			t.Errorf("%s: %v", name, err)
		}
	}
	first := netip.MustParseAddr("203.0.113.1")
	s.untilSlowed(t, first)
	for i := range 10_001 {
		_ = s.try(t, "guess", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if err := s.try(t, "guess", first); task.CodeOf(err) != auth.CodeUnauthenticated {
		t.Errorf("the memory is not bounded: %v", err)
	}
}
