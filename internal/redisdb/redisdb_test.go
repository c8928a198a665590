package redisdb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestURL(t *testing.T) {
	for _, good := range []string{
		"redis://localhost", "redis://127.0.0.1:6380/3", "rediss://user:pw@host:6380", "unix:///run/redis.sock",
		"redis://a:26379/3?master_name=tasks&addr=b:26379&addr=c:26379&password=pw", "rediss://u:pw@a?master_name=tasks",
	} {
		db, err := redisdb.New(good, redisdb.Options{})
		if err != nil {
			t.Errorf("%s: %v", good, err)
			continue
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "localhost:6379", "http://user:s3cret@host", "redis://user:s3cret@host:port", "redis://:s3cret@a,b/0",
		"redis://:s3cret@a?addr=b", "redis://:s3cret@%zz", "redis://:s3cret@host/nodb", "redis://:s3cret@host?what=1",
		"redis://:s3cret@a?master_name=", "redis://:s3cret@a?master_name=m&addr=s3cret", "redis://:s3cret@a,b:1?master_name=m",
		"redis://:s3cret@a?master_name=m&replica_only=true", "redis://:s3cret@a?master_name=m&what=1", "unix:///s3cret?master_name=m",
	} {
		_, err := redisdb.New(bad, redisdb.Options{})
		if !errors.Is(err, redisdb.ErrURL) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestJudge(t *testing.T) {
	info := func(version, aof, policy, cluster string) string {
		return "# Server\r\nredis_version:" + version + "\r\n\r\naof_enabled:" + aof +
			"\r\nmaxmemory_policy:" + policy + "\r\ncluster_enabled:" + cluster + "\r\n"
	}
	for name, c := range map[string]struct {
		info     string
		warnings int
		bad      bool
	}{
		"good":      {info("7.0.15", "1", "noeviction", "0"), 0, false},
		"newer":     {info("8.2.1", "1", "noeviction", "0"), 0, false},
		"no aof":    {info("7.2.0", "0", "noeviction", "0"), 1, false},
		"evicts":    {info("7.0.0", "1", "allkeys-lru", "0"), 1, false},
		"both":      {info("7.0.0", "0", "volatile-ttl", "0"), 2, false},
		"old":       {info("6.2.14", "1", "noeviction", "0"), 0, true},
		"no answer": {"", 0, true},
		"cluster":   {info("7.0.0", "1", "noeviction", "1"), 0, true},
	} {
		warnings, err := redisdb.Judge(c.info)
		if len(warnings) != c.warnings || (err != nil) != c.bad {
			t.Errorf("%s: %q, %v", name, warnings, err)
		}
	}
}

func TestCheck(t *testing.T) {
	warnings, err := redisdbtest.Open(t, redisdb.Options{}).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(warnings)
}

// TestLife: every connection to one run of the server hears the same name. Of
// a restarted one the chaos suite tells.
func TestLife(t *testing.T) {
	one, err := redisdbtest.Open(t, redisdb.Options{}).Life(t.Context())
	two, again := redisdbtest.Open(t, redisdb.Options{}).Life(t.Context())
	if one == "" || one != two || errors.Join(err, again) != nil {
		t.Errorf("lives %q (%v) and %q (%v)", one, err, two, again)
	}
}

// TestDeadline: a server that takes calls and never answers holds nobody
// longer than the context says.
func TestDeadline(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // ends the process's interest in it
	db, err := redisdb.New("redis://"+l.Addr().String(), redisdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // nothing to flush
	const limit, slack = 200 * time.Millisecond, 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	if _, err := db.Check(ctx); err == nil {
		t.Error("an answer out of nothing")
	}
	if took := time.Since(start); took > slack {
		t.Errorf("took %v", took)
	}
}

type ear struct {
	msgs   chan string
	resets chan struct{}
	done   chan error
}

const plenty = 100

func listen(ctx context.Context, db *redisdb.DB, channel string) *ear {
	e := &ear{msgs: make(chan string, plenty), resets: make(chan struct{}, plenty), done: make(chan error, 1)}
	go func() {
		e.done <- db.Subscribe(ctx, channel, func(m string) { e.msgs <- m }, func() { e.resets <- struct{}{} })
	}()
	return e
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// TestKilled: after its connection is cut a subscription is told and heard
// again, with one connection for all channels.
func TestKilled(t *testing.T) {
	name := "test-" + rand.Text()
	db := redisdbtest.Open(t, redisdb.Options{Name: name})
	ctx, cancel := context.WithCancel(t.Context())
	one, two := listen(ctx, db, name+":one"), listen(ctx, db, name+":two")
	next(t, one.resets)
	next(t, two.resets)
	before := db.Stats()
	killed := redisdbtest.KillPubSub(t, db, name)
	if killed != 1 {
		t.Errorf("%d pub/sub connections", killed)
	}
	next(t, one.resets)
	next(t, two.resets)
	for _, channel := range []string{":one", ":two"} {
		if err := db.Client().Publish(ctx, name+channel, "hello").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if next(t, one.msgs) != "hello" || next(t, two.msgs) != "hello" {
		t.Error("heard something else")
	}
	if after := db.Stats(); after.Dials <= before.Dials || after.Failures != 0 || after.Busy+after.Idle == 0 {
		t.Errorf("connections: %+v, before the cut %+v", after, before)
	}
	cancel()
	if err := errors.Join(next(t, one.done), next(t, two.done)); err != nil {
		t.Error(err)
	}
}

// TestServerComesLate: a subscription that cannot connect waits until it can,
// and ends with its DB.
func TestServerComesLate(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := redisdb.New("redis://"+addr, redisdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := listen(t.Context(), db, "c")
	warmup := time.NewTimer(300 * time.Millisecond)
	<-warmup.C
	if st := db.Stats(); st.Dials != 0 || st.Failures == 0 {
		t.Errorf("connections: %+v", st)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := next(t, e.done); !errors.Is(err, redisdb.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if len(e.resets) != 0 {
		t.Error("told of a subscription that was not")
	}
	if err := db.Subscribe(t.Context(), "c", nil, nil); !errors.Is(err, redisdb.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
