package redis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/redisdb/redisdbtest"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/results/redis"
	"github.com/taskgate/taskgate/internal/task"
)

// bench is a store in a namespace of its own, and the database under it.
type bench struct {
	store *results.Store
	d     *redis.Driver
	db    *redisdb.DB
	ns    string
	name  string
}

func setUp(t *testing.T) *bench {
	t.Helper()
	b := &bench{ns: redisdbtest.Namespace(t), name: "test-" + rand.Text()}
	b.db = redisdbtest.Open(t, redisdb.Options{Name: b.name})
	b.d = redis.New(b.db, b.ns)
	t.Cleanup(func() { _ = b.d.Close() }) // never fails
	b.store = results.NewStore(b.d)
	return b
}

func newTask(n int) task.NewTask {
	now := time.Now().UTC().Truncate(time.Millisecond)
	s := task.Spec{
		ID: task.MakeID(fmt.Sprintf("%026d", n), n), Project: "default", Endpoint: "endpoint", CreatedAt: now,
		ContentType: "application/json", PayloadSize: 300,
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	return task.NewTask{
		Spec: s, Record: task.NewRecord(&s), Payload: []byte(strings.Repeat("x", s.PayloadSize)), AcceptBy: now.Add(time.Minute),
	}
}

// finish takes a task through its whole life as the dispatcher does.
func (b *bench) finish(t *testing.T, nt task.NewTask) {
	t.Helper()
	ctx := t.Context()
	claim, err := b.store.Create(ctx, nt)
	if err != nil || !claim.New {
		t.Fatal(claim, err)
	}
	if err := b.store.Accepted(ctx, nt.Spec.ID); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := task.First(task.Envelope{Spec: nt.Spec}, nt.Record.Version)
	run := nt.Record.Started(&m, task.Lease{Token: rand.Text(), Owner: rand.Text(), Until: now.Add(time.Minute)}, false, false, now)
	b.swap(t, task.Change{Expect: nt.Record.Version, Next: run, Spec: &nt.Spec})
	done := run.Settled(task.Decision{State: task.Succeeded, Status: 200, Used: 1}, now)
	b.swap(t, task.Change{
		Expect: run.Version, Next: done, Spec: &nt.Spec,
		Result:   &task.Result{Status: 200, ContentType: "application/json", Body: []byte(strings.Repeat("y", 200))},
		Attempts: []task.Attempt{{Number: 1, Gen: 1, StartedAt: now, Status: 200, Took: task.Duration(time.Second)}},
	})
}

func (b *bench) swap(t *testing.T, c task.Change) {
	t.Helper()
	reply, err := b.store.Swap(t.Context(), c)
	if err != nil || !reply.OK {
		t.Fatal(reply, err)
	}
}

// counter counts round trips of scripts; setting up connections is not counted.
type counter struct{ n atomic.Int64 }

func (c *counter) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) count(cmd goredis.Cmder) {
	if strings.HasPrefix(cmd.Name(), "eval") {
		c.n.Add(1)
	}
}

func (c *counter) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		c.count(cmds[0])
		return next(ctx, cmds)
	}
}

func TestRoundTrips(t *testing.T) {
	b := setUp(t)
	b.finish(t, newTask(1)) // loads the scripts
	c := new(counter)
	b.db.Client().AddHook(c)
	b.finish(t, newTask(2))
	if n := c.n.Load(); n != 4 {
		t.Errorf("%d round trips for a task, want 4", n)
	}
}

// TestScriptsForgotten: a server that lost its scripts (a restart, SCRIPT
// FLUSH) gets them again, alone and in pipelines.
func TestScriptsForgotten(t *testing.T) {
	b := setUp(t)
	flush := func() {
		t.Helper()
		if err := b.db.Client().ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	b.finish(t, newTask(1))
	flush()
	page, err := b.store.List(t.Context(), task.Query{Project: "default"})
	if err != nil || len(page.Items) != 1 {
		t.Fatal(page, err)
	}
	flush()
	if err := b.store.Forget(t.Context(), "default", time.Now()); err != nil {
		t.Fatal(err)
	}
	flush()
	if _, err := b.store.Expiring(t.Context(), time.Now(), 10); err != nil {
		t.Fatal(err)
	}
}

// TestWaiterOutlivesItsSubscription: the pub/sub connection is cut while a
// caller waits; a task that ends in between wakes it all the same.
func TestWaiterOutlivesItsSubscription(t *testing.T) {
	b := setUp(t)
	nt := newTask(1)
	if _, err := b.store.Create(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	hub := results.NewHub(b.store, b.name)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx) }()
	type answer struct {
		snap *task.Snapshot
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		snap, err := hub.Wait(t.Context(), nt.Spec.ID, time.Now().Add(time.Minute))
		got <- answer{snap, err}
	}()
	waits := b.ns + ":{1}:w:" + string(nt.Spec.ID)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for b.db.Client().Exists(t.Context(), waits).Val() == 0 {
		<-poll.C
	}
	for redisdbtest.KillPubSub(t, b.db, b.name) == 0 {
		<-poll.C
	}
	start := time.Now()
	next, _ := nt.Record.Ended(task.Cancelled, task.ReasonCancelled, time.Now())
	b.swap(t, task.Change{Expect: nt.Record.Version, Next: next, Spec: &nt.Spec})
	a := <-got
	if a.err != nil || a.snap == nil || a.snap.State != task.Cancelled {
		t.Fatal(a.snap, a.err)
	}
	t.Logf("woken %v after the end", time.Since(start))
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestEverythingLost: an emptied Redis forgets tasks and nothing gets stuck;
// their messages make them again.
func TestEverythingLost(t *testing.T) {
	b := setUp(t)
	nt := newTask(1)
	b.finish(t, nt)
	redisdbtest.Empty(t, b.db, b.ns)
	if snap, err := b.store.Get(t.Context(), nt.Spec.ID); snap != nil || err != nil {
		t.Fatal(snap, err)
	}
	b.swap(t, task.Change{Expect: 0, Next: nt.Record, Spec: &nt.Spec})
	if d, err := b.store.Depths(t.Context(), "default", nt.Spec.EndpointID()); d.Total() != 1 || err != nil {
		t.Fatal(d, err)
	}
}

// TestNothingIsLeftBehind: what remains of abandoned and forgotten tasks.
func TestNothingIsLeftBehind(t *testing.T) {
	b := setUp(t)
	nt := newTask(1)
	nt.IdemKey, nt.Fingerprint = "key", "f"
	nt.Spec.IdempotentUntil = time.Now().Add(time.Hour)
	nt.AcceptBy = time.Now().Add(-time.Second)
	if _, err := b.store.Create(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	if n, err := b.store.Abandon(t.Context(), time.Now(), 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := b.store.Forget(t.Context(), "default", time.Now()); err != nil {
		t.Fatal(err)
	}
	keys, err := b.db.Client().Keys(t.Context(), b.ns+":*").Result()
	if err != nil || len(keys) != 0 {
		t.Fatal(keys, err)
	}
}

// TestMemory logs what a finished task costs.
func TestMemory(t *testing.T) {
	const tasks = 1600
	b := setUp(t)
	var last task.NewTask
	for i := range tasks {
		last = newTask(i)
		b.finish(t, last)
	}
	keys, err := b.db.Client().Keys(t.Context(), b.ns+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var rows, lists int64
	for _, key := range keys {
		n, err := b.db.Client().MemoryUsage(t.Context(), key, 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(key, ":t:") {
			rows += n
		} else {
			lists += n
		}
	}
	t.Logf("a finished task with 300 bytes of payload and 200 of result: row %d bytes, lists %d bytes", rows/tasks, lists/tasks)
}

func BenchmarkLife(b *testing.B) {
	db := redisdbtest.Open(b, redisdb.Options{})
	d := redis.New(db, redisdbtest.Namespace(b))
	defer func() { _ = d.Close() }() // never fails
	s := results.NewStore(d)
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			nt := newTask(int(n.Add(1)))
			if _, err := s.Create(b.Context(), nt); err != nil {
				b.Error(err)
			}
			if err := s.Accepted(b.Context(), nt.Spec.ID); err != nil {
				b.Error(err)
			}
			next, _ := nt.Record.Ended(task.Cancelled, task.ReasonCancelled, nt.Spec.CreatedAt)
			if _, err := s.Swap(b.Context(), task.Change{Expect: nt.Record.Version, Next: next, Spec: &nt.Spec}); err != nil {
				b.Error(err)
			}
		}
	})
}
