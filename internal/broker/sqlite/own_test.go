package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/broker/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

const ep = task.EndpointID("0123456789abcdef0123")

const patience = 20 * time.Second

func openDriver(tb testing.TB, db *sqlitedb.DB, opts ...sqlite.Option) *sqlite.Driver {
	tb.Helper()
	d, err := sqlite.Open(bg, db, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(bg); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func consume(tb testing.TB, d *sqlite.Driver, prefetch int) <-chan broker.Delivery {
	tb.Helper()
	ch := make(chan broker.Delivery, prefetch)
	if _, err := d.Consume(bg, ep, prefetch, func(dl broker.Delivery) { ch <- dl }); err != nil {
		tb.Fatal(err)
	}
	return ch
}

func next(tb testing.TB, ch <-chan broker.Delivery) broker.Delivery {
	tb.Helper()
	select {
	case dl := <-ch:
		return dl
	case <-time.After(patience):
		tb.Fatal("no delivery came")
		return nil
	}
}

// fill stores n rows, due a millisecond apart from first on.
func fill(tb testing.TB, db *sqlitedb.DB, n int, first int64) {
	tb.Helper()
	err := db.Write(bg, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("INSERT OR IGNORE INTO queues (name) VALUES (?)", string(ep)); err != nil {
			return err
		}
		_, err := tx.Exec(`WITH RECURSIVE i (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n + 1 < ?1)
			INSERT INTO messages (queue, due, eta, endpoint, system, task, meta, body)
			SELECT ?2, ?3 + n, 0, ?2, '', 'm' || n, 'meta', zeroblob(200) FROM i`, n, string(ep), first)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// TestPlans: the queries of the pump walk one index, at any backlog.
func TestPlans(t *testing.T) {
	db := openDB(t, t.TempDir())
	fill(t, db, 1000, 1)
	for q, want := range map[string]string{
		sqlite.SelectDue:  "SEARCH m USING INDEX messages_due (queue=? AND due>? AND due<?)",
		sqlite.SelectNext: "SEARCH messages USING COVERING INDEX messages_due (queue=? AND due>?)",
	} {
		var plan []string
		args := make([]any, strings.Count(q, "?"))
		err := db.Rows(bg, "EXPLAIN QUERY PLAN "+q, args, func(scan func(...any) error) error {
			var id, parent, unused int
			var detail string
			err := scan(&id, &parent, &unused, &detail)
			plan = append(plan, detail)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if plan[0] != want || strings.Contains(strings.Join(plan, "\n"), "TEMP B-TREE") {
			t.Errorf("plan of %s:\n%s\nwant %s", q, strings.Join(plan, "\n"), want)
		}
	}
}

// TestBacklog: neither what waits before nor what is due later slows a round.
func TestBacklog(t *testing.T) {
	const due, later, taken = 20_000, 20_000, 1000
	db := openDB(t, t.TempDir())
	now := time.Now()
	fill(t, db, due, now.Add(-time.Hour).UnixMilli())
	fill(t, db, later, now.Add(time.Hour).UnixMilli())
	d := openDriver(t, db)
	in := consume(t, d, 50)
	begin := time.Now()
	for i := range taken {
		dl := next(t, in)
		if want := fmt.Sprint("m", i); dl.Wire().ID != want {
			t.Fatalf("got %s, want %s", dl.Wire().ID, want)
		}
		if err := dl.Ack(bg); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v per message, one acknowledgement at a time", time.Since(begin)/taken)
	begin = time.Now()
	depth, err := d.Depth(bg, ep)
	if err != nil || depth.Ready < due-taken-50 || depth.Ready > due-taken {
		t.Errorf("depth %d, %v", depth.Ready, err)
	}
	t.Logf("depth of %d in %v", depth.Ready, time.Since(begin))
	if err := d.Delete(bg, ep); err != nil {
		t.Fatal(err)
	}
	if depth, err = d.Depth(bg, ep); err != nil || depth.Ready != 0 {
		t.Errorf("depth %d after the deletion, %v", depth.Ready, err)
	}
}

// TestLowerThanSeen: a row that is due before those already seen is not
// passed over.
func TestLowerThanSeen(t *testing.T) {
	d := openDriver(t, openDB(t, t.TempDir()))
	if err := d.Declare(bg, ep); err != nil {
		t.Fatal(err)
	}
	in := consume(t, d, 10)
	for i := range 100 {
		w := broker.Wire{ID: fmt.Sprint(i), Endpoint: ep, ETA: time.Now().Add(-time.Duration(i+1) * time.Hour)}
		if err := d.Publish(bg, w); err != nil {
			t.Fatal(err)
		}
		dl := next(t, in)
		if dl.Wire().ID != w.ID {
			t.Fatalf("got %s, want %s", dl.Wire().ID, w.ID)
		}
		if i%3 == 0 {
			continue // some stay in hands
		}
		if err := dl.Ack(bg); err != nil {
			t.Fatal(err)
		}
		if i%30 == 20 {
			return
		}
	}
}

// TestDeletedQueueHarmsNoNewcomer: a worker that holds a message of a deleted
// queue ends that one, not one that came since.
func TestDeletedQueueHarmsNoNewcomer(t *testing.T) {
	d := openDriver(t, openDB(t, t.TempDir()))
	publish := func(id string) {
		t.Helper()
		if err := d.Declare(bg, ep); err != nil {
			t.Fatal(err)
		}
		if err := d.Publish(bg, broker.Wire{ID: id, Endpoint: ep}); err != nil {
			t.Fatal(err)
		}
	}
	in := consume(t, d, 10)
	publish("old")
	old := next(t, in)
	if err := d.Delete(bg, ep); err != nil {
		t.Fatal(err)
	}
	publish("new")
	if err := old.Ack(bg); err != nil {
		t.Fatal(err)
	}
	if dl := next(t, in); dl.Wire().ID != "new" {
		t.Fatalf("got %s", dl.Wire().ID)
	}
	if err := old.Ack(bg); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("second end: %v, want ErrClosed", err)
	}
}

// TestRedeliveredIsExact: after a process's end only what was in hands is
// marked; after the machine's end all that was due.
func TestRedeliveredIsExact(t *testing.T) {
	for _, machine := range []bool{false, true} {
		t.Run(fmt.Sprint("machine ended: ", machine), func(t *testing.T) {
			dir := t.TempDir()
			db := openDB(t, dir)
			d := openDriver(t, db)
			if err := d.Declare(bg, ep); err != nil {
				t.Fatal(err)
			}
			in := consume(t, d, 1)
			for i := range 2 {
				if err := d.Publish(bg, broker.Wire{ID: fmt.Sprint(i), Endpoint: ep}); err != nil {
					t.Fatal(err)
				}
			}
			next(t, in)
			to := crash(t, db, dir, machine)

			d = openDriver(t, openDB(t, to))
			in = consume(t, d, 10)
			got := map[string]bool{}
			for range 2 {
				dl := next(t, in)
				got[dl.Wire().ID] = dl.Redelivered()
			}
			if err := d.Publish(bg, broker.Wire{ID: "new", Endpoint: ep}); err != nil {
				t.Fatal(err)
			}
			got["new"] = next(t, in).Redelivered()
			if !got["0"] || got["1"] != machine || got["new"] {
				t.Errorf("marks: %v", got)
			}
		})
	}
}

// crash copies the files as a crash leaves them.
func crash(t *testing.T, db *sqlitedb.DB, dir string, machine bool) string {
	t.Helper()
	if machine {
		if err := db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec("UPDATE meta SET value = 'earlier' WHERE key = 'machine_boot'")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	to := t.TempDir()
	if err := copyFiles(dir, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestFullDisk(t *testing.T) {
	db := openDB(t, t.TempDir())
	d := openDriver(t, db)
	limit := func(pages int) {
		t.Helper()
		// The pragma returns a row, so it is read, not executed.
		if err := db.Write(bg, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
			_, err := tx.Row(fmt.Sprint("PRAGMA max_page_count = ", pages), nil, new(int))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Declare(bg, ep); err != nil {
		t.Fatal(err)
	}
	limit(1)
	w := broker.Wire{ID: "big", Endpoint: ep, Body: make([]byte, 1<<20)}
	if err := d.Publish(bg, w); !errors.Is(err, broker.ErrNotStored) || errors.Is(err, broker.ErrUnknown) {
		t.Errorf("publish on a full disk: %v, want ErrNotStored", err)
	}
	if err := d.Publish(bg, broker.Wire{ID: "small", Endpoint: ep}); err != nil {
		t.Logf("a small message does not fit either: %v", err)
	}
	limit(1 << 30)
	if err := d.Publish(bg, w); err != nil {
		t.Error(err)
	}
	if err := d.Ready(bg); err != nil {
		t.Error(err)
	}
}

const childDir = "SQLITE_BROKER_TEST_DIR"

// child publishes from many goroutines and prints each id once it is told
// that the message is stored, until it is killed.
func child(dir string) int {
	db, err := sqlitedb.Open(bg, dir)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	d, err := sqlite.Open(bg, db)
	if err == nil {
		err = d.Declare(bg, ep)
	}
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	lines := make(chan string)
	for g := range 32 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := d.Publish(context.Background(), broker.Wire{ID: id, Endpoint: ep, Body: []byte(id)}); err != nil {
					id = "error " + err.Error()
				}
				lines <- id
			}
		}()
	}
	for l := range lines {
		fmt.Println(l)
	}
	return 0
}

// TestKillLosesNothing: every publish that was acknowledged outlives kill -9.
func TestKillLosesNothing(t *testing.T) {
	const kills, each = 3, 1000
	dir := t.TempDir()
	acked := map[string]bool{}
	for range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s := bufio.NewScanner(out)
		for n := 0; n < each && s.Scan(); n++ {
			if strings.HasPrefix(s.Text(), "error") {
				t.Error(s.Text())
			}
			acked[s.Text()] = true
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
	}
	if len(acked) != kills*each {
		t.Fatalf("%d acknowledged, want %d", len(acked), kills*each)
	}
	in := consume(t, openDriver(t, openDB(t, dir)), 200)
	for len(acked) > 0 {
		dl := next(t, in)
		if string(dl.Wire().Body) != dl.Wire().ID {
			t.Errorf("body of %s is %q", dl.Wire().ID, dl.Wire().Body)
		}
		delete(acked, dl.Wire().ID)
		if err := dl.Ack(bg); err != nil {
			t.Fatal(err)
		}
	}
}
