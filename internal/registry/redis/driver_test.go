package redis_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/registry/redis"
	"github.com/taskgate/taskgate/internal/registry/registrytest"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		t.Helper()
		ns := redisdbtest.Namespace(t)
		driver := func() *redis.Driver {
			d := redis.New(redisdbtest.Open(t, redisdb.Options{}), ns)
			t.Cleanup(func() { _ = d.Close() }) // never fails
			return d
		}
		return registrytest.Harness{Driver: driver(), Peer: driver()}
	})
}

// TestEmptied: a registry that is in use gives an emptied Redis everything
// back, and a second process that joins later finds it there.
func TestEmptied(t *testing.T) {
	ns := redisdbtest.Namespace(t)
	db := redisdbtest.Open(t, redisdb.Options{})
	d := redis.New(db, ns)
	r := registry.New(d, registry.Options{PollEvery: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for _, name := range []string{"a", "b"} {
		_, _, err := r.UpdateEndpoint(ctx, "p", name, func(*task.Endpoint) (task.Endpoint, error) {
			return task.Endpoint{URL: "http://" + name}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	redisdbtest.Empty(t, db, ns)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-poll.C {
		s, err := d.Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Items) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never seeded again")
		}
	}
	other := registry.New(redis.New(redisdbtest.Open(t, redisdb.Options{}), ns), registry.Options{})
	if err := other.Sync(ctx); err != nil || len(other.Endpoints("p")) != 2 {
		t.Fatal(other.Endpoints("p"), err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
