// Package redisdbtest gives tests a namespace of their own in a real Redis.
package redisdbtest

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/redisdb"
)

// Variables of the environment.
const (
	urlVar     = "TASKGATE_TEST_REDIS_URL"
	requireVar = "TASKGATE_REQUIRE_SERVICES"
)

const (
	cleanupTime = time.Minute
	scanCount   = 10_000
)

// URL returns the address of the tests' Redis. Without one the test is
// skipped, or fails when services are required.
func URL(tb testing.TB) string {
	tb.Helper()
	u, required := env(urlVar), env(requireVar) == "1"
	switch {
	case u != "":
	case required:
		tb.Fatalf("%s is not set, and services are required", urlVar)
	default:
		tb.Skipf("%s is not set", urlVar)
	}
	return u
}

func env(name string) string {
	return os.Getenv(name) //nolint:forbidigo // tests are told of servers by whoever runs them
}

// Open opens the tests' Redis and closes it when the test ends.
func Open(tb testing.TB, opt redisdb.Options) *redisdb.DB {
	tb.Helper()
	db, err := redisdb.New(URL(tb), opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

// Namespace returns a fresh prefix; its keys are removed when the test ends.
func Namespace(tb testing.TB) string {
	tb.Helper()
	ns := "test-" + rand.Text()
	db := Open(tb, redisdb.Options{})
	tb.Cleanup(func() { Empty(tb, db, ns) })
	return ns
}

// Empty removes every key of a namespace, as if the server had lost it.
func Empty(tb testing.TB, db *redisdb.DB, ns string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	c := db.Client()
	for cursor := uint64(0); ; {
		keys, next, err := c.Scan(ctx, cursor, ns+":*", scanCount).Result()
		if err != nil {
			tb.Errorf("find the keys of %s: %v", ns, err)
			return
		}
		if len(keys) > 0 {
			if err := c.Unlink(ctx, keys...).Err(); err != nil {
				tb.Errorf("remove keys: %v", err)
			}
		}
		if cursor = next; cursor == 0 {
			return
		}
	}
}

// KillPubSub cuts the pub/sub connections of the client with this name and
// returns how many it had.
func KillPubSub(tb testing.TB, db *redisdb.DB, name string) int {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	list, err := db.Client().Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	if err != nil {
		tb.Fatal(err)
	}
	killed := 0
	for line := range strings.SplitSeq(list, "\n") {
		if !strings.Contains(line, " name="+name+" ") {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
		if err := db.Client().Do(ctx, "CLIENT", "KILL", "ID", id).Err(); err != nil {
			tb.Fatal(err)
		}
		killed++
	}
	return killed
}
