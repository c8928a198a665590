package redisdb_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
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
	const good = "redis_version:7.0.15 aof_enabled:1 maxmemory_policy:noeviction maxmemory:0 cluster_enabled:0 role:master aof_last_write_status:ok"
	for name, c := range map[string]struct {
		change string // of what is good
		says   string // the one warning or the error; "": nothing
		unfit  bool
	}{
		"good":          {"", "", false},
		"newer":         {"redis_version:8.2.1", "", false},
		"no aof":        {"aof_enabled:0", "appendonly no", false},
		"broken aof":    {"aof_last_write_status:err", "aof_last_write_status err", false},
		"may not evict": {"maxmemory_policy:allkeys-lru", "maxmemory-policy allkeys-lru", false},
		"evicts":        {"maxmemory_policy:volatile-ttl maxmemory:1000000", "set maxmemory-policy to noeviction", true},
		"full":          {"maxmemory:1000000", "", false},
		"old":           {"redis_version:6.2.14", "7.0 or later is needed", true},
		"no answer":     {"redis_version:", "7.0 or later is needed", true},
		"cluster":       {"cluster_enabled:1", "cluster mode", true},
		"replica":       {"role:slave", "give the address of its primary", true},
	} {
		info := "# Server\r\n" + strings.ReplaceAll(good+" "+c.change, " ", "\r\n") + "\r\n"
		warnings, err := redisdb.Judge(info)
		if c.unfit != errors.Is(err, redisdb.ErrUnfit) {
			t.Errorf("%s: %v", name, err)
		}
		if c.unfit {
			warnings = []string{err.Error()}
		}
		if said := strings.Join(warnings, "\n"); (c.says == "") != (said == "") || !strings.Contains(said, c.says) || len(warnings) > 1 {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// own starts a Redis with other settings.
func own(t *testing.T, args ...string) *redisdb.DB {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed") // another source of servers, see scripts/services
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", ""}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // nothing of it is kept
		_ = cmd.Wait()
	})
	db, err := redisdb.New("unix://"+socket, redisdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for end := time.Now().Add(30 * time.Second); db.Client().Ping(t.Context()).Err() != nil; {
		if time.Now().After(end) {
			t.Fatal("it does not start: ", db.Client().Ping(t.Context()).Err())
		}
		<-time.After(20 * time.Millisecond)
	}
	return db
}

// Real servers with settings that lose or refuse data.
func TestCheckOfServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		says  string
		unfit bool
	}{
		"as wanted":   {[]string{"--appendonly", "yes"}, "", false},
		"as packaged": {nil, "appendonly no", false},
		"evicting":    {[]string{"--appendonly", "yes", "--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"}, "set maxmemory-policy to noeviction", true},
		"unsynced":    {[]string{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync no", false},
		"a replica":   {[]string{"--replicaof", "127.0.0.1 1"}, "give the address of its primary", true},
		"cluster":     {[]string{"--cluster-enabled", "yes"}, "cluster mode", true},
		"closed":      {[]string{"--user", "default", "on", "nopass", "~*", "&*", "+@all", "-info"}, "does not let us ask", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := own(t, c.args...).Check(t.Context())
			if err != nil {
				warnings = []string{err.Error()}
			}
			if said := strings.Join(warnings, "\n"); errors.Is(err, redisdb.ErrUnfit) != c.unfit || (c.says == "") != (said == "") || !strings.Contains(said, c.says) {
				t.Errorf("%q, %v", said, err)
			}
		})
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
