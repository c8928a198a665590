package redisdb_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
)

// Many callers share connections, each gets its own answer, and a script that
// the server does not know reaches it.
func TestCallersShareRoundTrips(t *testing.T) {
	db := redisdbtest.Open(t, redisdb.Options{})
	ns := redisdbtest.Namespace(t)
	// One that the server has not seen: its text is new with every run.
	echo := redis.NewScript("redis.call('HSET', KEYS[1], 'v', ARGV[1]) return ARGV[1] -- " + ns)
	const callers, calls = 200, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			key := fmt.Sprintf("%s:%d", ns, c)
			for i := range calls {
				want := fmt.Sprintf("%d of %d", i, c)
				got, err := db.Run(t.Context(), echo, []string{key}, want)
				if err != nil || got != want {
					t.Errorf("got %v, %v; want %s", got, err, want)
				}
				fields, err := db.Fields(t.Context(), key, "v", "none")
				if err != nil || len(fields) != 2 || fields[0] != want || fields[1] != nil {
					t.Errorf("read %v, %v; want %s", fields, err, want)
				}
			}
		})
	}
	wg.Wait()
	if dials := db.Stats().Dials; dials > callers/4 {
		t.Errorf("%d connections for %d callers", dials, callers)
	}
}

// A caller's time is over though the command is on its way, alone or with
// others: a server that has stopped must hold up nobody.
func TestCallersOfASilentServerEndInTime(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	db, err := redisdb.New("redis://"+silent.Addr().String(), redisdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	start := time.Now()
	for range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := db.Fields(ctx, "k", "f")
			if !errors.Is(err, context.DeadlineExceeded) && (err == nil || !strings.Contains(err.Error(), "timeout")) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	// Its own timeouts are 3 s and more.
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("callers were held for %s", took)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := db.Fields(t.Context(), "k", "f"); err == nil {
		t.Error("a closed DB answers")
	}
}
