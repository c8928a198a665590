package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
	"github.com/taskgate/taskgate/internal/registry"
	registryredis "github.com/taskgate/taskgate/internal/registry/redis"
	registrysqlite "github.com/taskgate/taskgate/internal/registry/sqlite"
	"github.com/taskgate/taskgate/internal/seal"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// onBoth runs a case on a registry of each kind.
func onBoth(t *testing.T, run func(t *testing.T, role config.Role, open func() *registry.Registry)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		db, err := sqlitedb.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		d := registrysqlite.Open(db)
		t.Cleanup(func() {
			if err := errors.Join(d.Close(), db.Close()); err != nil {
				t.Error(err)
			}
		})
		run(t, config.Serve, func() *registry.Registry { return registry.New(d, registry.Options{}) })
	})
	t.Run("redis", func(t *testing.T) {
		ns, db := redisdbtest.Namespace(t), redisdbtest.Open(t, redisdb.Options{})
		d := registryredis.New(db, ns)
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		run(t, config.Gateway, func() *registry.Registry { return registry.New(d, registry.Options{}) })
	})
}

func ringOf(t *testing.T, keys ...[]byte) secrets {
	t.Helper()
	ring, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return secrets{ring}
}

// process is one of several on the same registry.
func process(t *testing.T, role config.Role, r *registry.Registry, keys ...[]byte) (a *App, b *backends, log *bytes.Buffer) {
	t.Helper()
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	return &App{cfg: config.Config{Role: role}, log: slog.New(slog.NewTextHandler(log, nil))}, &backends{registry: r, secrets: ringOf(t, keys...)}, log
}

// furnish makes a project and an endpoint with one of every secret, and
// returns what they are.
func furnish(t *testing.T, b *backends) map[string]string {
	t.Helper()
	s, out := b.secrets, map[string]string{}
	sealed := func(name, owner string) []byte {
		out[name] = s.Generate()
		v, err := s.Seal("p", owner, out[name])
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	_, _, err := b.registry.UpdateProject(t.Context(), "p", func(*task.Project) (task.Project, error) {
		return task.Project{CallbackSecret: task.SealedSecret{Current: sealed("callbacks", task.CallbackEndpoint)}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = b.registry.UpdateEndpoint(t.Context(), "p", "e", func(*task.Endpoint) (task.Endpoint, error) {
		ep := task.Endpoint{URL: "https://a.example.com/", Auth: &task.TargetAuth{Type: "bearer"}}
		ep.SealedSecret = task.SealedSecret{
			Current: sealed("current", "e"), Previous: sealed("previous", "e"), PreviousUntil: time.Now().Add(time.Hour),
		}
		var err error
		ep.Auth.Sealed, err = s.SealTarget("p", "e", task.TargetSecret{Token: "hush"})
		return ep, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// opened returns what a process with these keys makes of everything.
func opened(t *testing.T, r *registry.Registry, s secrets) (map[string]string, error) {
	t.Helper()
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	p, _ := r.Project("p")
	ep, _ := r.Endpoint("p", "e")
	callbacks, err := s.open(p.Callbacks())
	if err != nil {
		return nil, err
	}
	both, err := s.open(ep)
	if err != nil {
		return nil, err
	}
	target, err := s.openTarget(ep)
	if err != nil {
		return nil, err
	}
	if target.Token != "hush" || len(both) != 2 {
		t.Errorf("%d secrets", len(both))
	}
	out["callbacks"], out["current"], out["previous"] = callbacks[0].Reveal(), both[0].Reveal(), both[1].Reveal()
	return out, nil
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is another secret now", name)
		}
	}
}

// TestSecretKeyRotation, step by step as it is documented: at no step is there
// a process that cannot open a secret, and at the end the old key is of no use.
func TestSecretKeyRotation(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, role config.Role, open func() *registry.Registry) {
		t.Helper()
		old, next := seal.GenerateKey(), seal.GenerateKey()
		_, b, _ := process(t, role, open(), old)
		want := furnish(t, b)

		// Every process opens with the new key, the old one still seals.
		a, b, log := process(t, role, open(), old, next)
		if err := a.checkSealed(t.Context(), b); err != nil || log.Len() > 0 {
			t.Fatalf("%v: %s", err, log)
		}
		// The new one seals.
		a, b, log = process(t, role, open(), next, old)
		beside := ringOf(t, old, next)
		got, err := opened(t, open(), b.secrets)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		if err := a.checkSealed(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if role.Embedded() != strings.Contains(log.String(), "sealed anew with the first") || role.Embedded() == strings.Contains(log.String(), "registry reseal") {
			t.Errorf("log: %s", log)
		}
		if !role.Embedded() {
			// Processes that were not started anew yet are not cut off by one that was.
			if _, err := opened(t, open(), ringOf(t, old)); err != nil {
				t.Errorf("sealed anew without having been asked to: %v", err)
			}
			look, err := a.reseal(t.Context(), b, true)
			if err != nil || look.stale != 4 || look.changed != 0 {
				t.Errorf("a dry run: %+v, %v", look, err)
			}
			done, err := a.reseal(t.Context(), b, false)
			if err != nil || done.stale != 0 || done.changed != 4 || done.lost != nil {
				t.Errorf("the command: %+v, %v", done, err)
			}
		}
		for name, s := range map[string]secrets{"both, the old first": beside, "the new key alone": ringOf(t, next)} {
			got, err := opened(t, open(), s)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			same(t, got, want)
		}
		if _, err := opened(t, open(), ringOf(t, old)); !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("the old key opens what it should not: %v", err)
		}
		if again, err := a.reseal(t.Context(), b, false); err != nil || again.changed+again.stale > 0 {
			t.Errorf("again: %+v, %v", again, err)
		}
	})
}

// TestSealedByAMissingKey: the error names the endpoint and the key, what can
// be opened is not held up, and nothing is signed with nothing.
func TestSealedByAMissingKey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, role config.Role, open func() *registry.Registry) {
		t.Helper()
		lost, next := seal.GenerateKey(), seal.GenerateKey()
		_, b, _ := process(t, role, open(), lost)
		furnish(t, b)
		a, b, log := process(t, role, open(), next)
		if err := a.checkSealed(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"endpoint p/e", "callbacks of project p", seal.KeyID(lost), "what the target asks for"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %q: %s", want, log)
			}
		}
		ep, _ := b.registry.Endpoint("p", "e")
		found, err := b.secrets.open(ep)
		if len(found) > 0 || !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), "p/e") || !strings.Contains(err.Error(), seal.KeyID(lost)) {
			t.Errorf("%d secrets, %v", len(found), err)
		}
		if _, err := b.secrets.openTarget(ep); !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), "p/e") {
			t.Errorf("of the target: %v", err)
		}
		// One that can be opened is still sealed anew.
		_, _, err = b.registry.UpdateEndpoint(t.Context(), "p", "f", func(*task.Endpoint) (task.Endpoint, error) {
			v, err := b.secrets.Seal("p", "f", b.secrets.Generate())
			return task.Endpoint{URL: "https://a.example.com/", SealedSecret: task.SealedSecret{Current: v}}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		a, b, _ = process(t, role, open(), seal.GenerateKey(), next)
		if r, err := a.reseal(t.Context(), b, false); err != nil || r.changed != 1 || len(r.lost) != 2 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestResealBesideChanges: what operators change meanwhile stays changed.
func TestResealBesideChanges(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, role config.Role, open func() *registry.Registry) {
		t.Helper()
		old, next := seal.GenerateKey(), seal.GenerateKey()
		_, b, _ := process(t, role, open(), old)
		furnish(t, b)
		a, mine, _ := process(t, role, open(), next, old)
		_, theirs, _ := process(t, role, open(), next, old)
		rotated := theirs.secrets.Generate()
		_, _, err := theirs.registry.UpdateEndpoint(t.Context(), "p", "e", func(ep *task.Endpoint) (task.Endpoint, error) {
			v, err := theirs.secrets.Seal("p", "e", rotated)
			changed := *ep
			changed.SealedSecret, changed.Paused = changed.SealedSecret.Rotated(v, "", time.Now().Add(time.Hour)), true
			return changed, err
		})
		if err != nil {
			t.Fatal(err)
		}
		// What a has in memory is old by now.
		if _, err := a.reseal(context.WithoutCancel(t.Context()), mine, false); err != nil {
			t.Fatal(err)
		}
		after := open()
		got, err := opened(t, after, ringOf(t, next))
		if err != nil || got["current"] != rotated {
			t.Errorf("the rotated secret is lost: %v", err)
		}
		if ep, _ := after.Endpoint("p", "e"); !ep.Paused {
			t.Error("a pause is undone")
		}
	})
}
