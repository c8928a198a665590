package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/results/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newRow(n int) results.Create {
	id := task.MakeID(fmt.Sprintf("%026d", n), n)
	return results.Create{
		Row:      results.Row{ID: id, Version: 1, Head: []byte("head"), Spec: []byte("spec")},
		Index:    results.Index{Project: "p", Endpoint: task.MakeEndpointID("p", "e"), Created: epoch, Lane: 2},
		AcceptBy: epoch.Add(10 * time.Second), KeepTill: epoch.Add(24 * time.Hour),
	}
}

func create(t *testing.T, d *sqlite.Driver, c results.Create) results.Created {
	t.Helper()
	got, err := d.Create(bg, c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func read(t *testing.T, d *sqlite.Driver, id task.ID) results.Row {
	t.Helper()
	r, err := d.Read(bg, id, false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSyncs: of a task's steps only the swap that ends it is synced here.
func TestSyncs(t *testing.T) {
	db := openDB(t, t.TempDir())
	d := open(t, db, sqlite.WithClock(func() time.Time { return epoch }))
	c := newRow(1)
	swap := func(from int64, wake bool) error {
		_, err := d.Swap(bg, results.Swap{
			ID: c.ID, Expect: from, Version: from + 1, Head: []byte("h"), Index: c.Index, KeepTill: c.KeepTill, Wake: wake,
		})
		return err
	}
	steps := []struct {
		name string
		do   func() error
		want int64
	}{
		{"create", func() error { _, err := d.Create(bg, c); return err }, 0},
		{"accepted", func() error { return d.Accepted(bg, c.ID) }, 0},
		{"begin", func() error { return swap(1, false) }, 0},
		{"end", func() error { return swap(2, true) }, 1},
	}
	for _, s := range steps {
		before := db.Stats().Syncs
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := db.Stats().Syncs - before; got != s.want {
			t.Errorf("%s: %d syncs, want %d", s.name, got, s.want)
		}
	}
	if v := read(t, d, c.ID).Version; v != 3 {
		t.Errorf("version %d", v)
	}
}

// TestLostNote: after the machine's end a row without a note may be one whose
// submitter heard 202: it is never abandoned, and a repeat renews it. After
// the process's end alone nothing is in doubt.
func TestLostNote(t *testing.T) {
	for _, machine := range []bool{false, true} {
		t.Run(fmt.Sprint("machine ended: ", machine), func(t *testing.T) {
			dir := t.TempDir()
			db := openDB(t, dir)
			clock := sqlite.WithClock(func() time.Time { return epoch })
			d := open(t, db, clock)
			c := newRow(1)
			c.Idem = &results.IdemKey{Key: "k", Fingerprint: "f", Until: epoch.Add(time.Hour)}
			create(t, d, c)
			d = open(t, openDB(t, crash(t, db, dir, machine)), clock)
			late := epoch.Add(time.Hour)

			again := newRow(2)
			again.Idem = c.Idem
			got := create(t, d, again)
			if got.New || !got.SameRequest || got.Row.ID != c.ID || !got.AcceptBy.Equal(c.AcceptBy) {
				t.Fatalf("a repeat got %+v", got)
			}
			next := c.AcceptBy.Add(time.Minute)
			if ok, err := d.Renew(bg, c.ID, c.AcceptBy, next); err != nil || !ok {
				t.Fatalf("renew: %v, %v", ok, err)
			}
			if got := create(t, d, again); !got.AcceptBy.Equal(next) {
				t.Errorf("AcceptBy %v, want %v", got.AcceptBy, next)
			}
			n, err := d.Abandon(bg, late, 10)
			if err != nil || (n == 0) != machine {
				t.Errorf("abandoned %d, %v", n, err)
			}
			fresh := newRow(3)
			create(t, d, fresh)
			if n, err := d.Abandon(bg, late, 10); err != nil || n != 1 {
				t.Errorf("abandoned %d of this run's rows, %v", n, err)
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
	for _, name := range []string{"taskgate.db", "taskgate.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestEarlierProcessIsDead: beats do not outlive the process.
func TestEarlierProcessIsDead(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	d := open(t, db)
	if err := d.Beat(bg, "me", time.Hour); err != nil {
		t.Fatal(err)
	}
	if ok, err := d.Alive(bg, "me"); err != nil || !ok {
		t.Error("not alive after a beat", err)
	}
	d = open(t, openDB(t, crash(t, db, dir, false)))
	if ok, err := d.Alive(bg, "me"); err != nil || ok {
		t.Error("an earlier process is alive", err)
	}
}

func TestForgetRemovesAllParts(t *testing.T) {
	now := epoch
	db := openDB(t, t.TempDir())
	d := open(t, db, sqlite.WithClock(func() time.Time { return now }))
	const rows = 1200 // more than one step
	for i := range rows {
		c := newRow(i)
		c.Payload = []byte("payload")
		c.Idem = &results.IdemKey{Key: fmt.Sprint("k", i), Fingerprint: "f", Until: epoch.Add(time.Hour)}
		create(t, d, c)
		if _, err := d.Swap(bg, results.Swap{
			ID: c.ID, Expect: 1, Version: 2, Head: []byte("h"), Index: c.Index, KeepTill: c.KeepTill,
			Result: []byte("r"), Attempts: []results.NumberedAttempt{{Number: 1, Data: []byte("a")}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	now = epoch.Add(25 * time.Hour)
	tables := []string{"tasks", "payloads", "outcomes", "attempts", "idem"}
	for left := rows; left > 0; {
		if err := d.Forget(bg, "p", now); err != nil {
			t.Fatal(err)
		}
		was := left
		if left = count(t, db, tables[0]); left >= was || was-left > 500 {
			t.Fatalf("a step went from %d to %d rows", was, left)
		}
	}
	for _, table := range tables {
		if n := count(t, db, table); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func count(t *testing.T, db *sqlitedb.DB, table string) (n int) {
	t.Helper()
	if _, err := db.Row(bg, "SELECT count(*) FROM "+table, nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSlowEarIsReset: hints past the bound are dropped, and it is said.
func TestSlowEarIsReset(t *testing.T) {
	const far = 5000 // past the bound
	d := open(t, openDB(t, t.TempDir()))
	first, goOn, resets := make(chan struct{}), make(chan struct{}), make(chan struct{}, far)
	done := make(chan error, 1)
	var once sync.Once
	go func() {
		done <- d.Subscribe(t.Context(), "t", func(string) {
			once.Do(func() {
				close(first)
				<-goOn
			})
		}, func() { resets <- struct{}{} })
	}()
	<-resets // the start
	for i := range far {
		if err := d.Hint(bg, "t", "m"); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-first
		}
	}
	close(goOn)
	<-resets
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Subscribe outlives its driver without an error")
	}
}

// TestPlans: lists and sweeps walk one index and sort nothing.
func TestPlans(t *testing.T) {
	db := openDB(t, t.TempDir())
	for q, index := range map[string]string{
		sqlite.Lists[results.ListAll]:    "INDEX tasks_all (project=? AND (created,id)<(?,?))",
		sqlite.Lists[results.ListFailed]: "INDEX tasks_failed (project=? AND (created,id)<(?,?))",
		fmt.Sprintf(sqlite.ListLane, 2):  "INDEX tasks_live (endpoint=? AND live=? AND (created,id)<(?,?))",
		sqlite.SelectAbandoned:           "INDEX tasks_accept (accept_by>? AND accept_by<?)",
		sqlite.SelectFlagged:             "INDEX tasks_flagged (flag_at<?)",
		sqlite.SelectForgotten:           "INDEX tasks_keep (keep_till<?)",
		sqlite.ListDocuments:             "PRIMARY KEY (kind=? AND grp=? AND name<?)",
	} {
		var plan []string
		args := make([]any, strings.Count(q, "?"))
		if strings.Contains(q, "?6") {
			args = make([]any, 6)
		}
		err := db.Rows(bg, "EXPLAIN QUERY PLAN "+q, args, func(scan func(...any) error) error {
			var id, parent, unused int
			var detail string
			err := scan(&id, &parent, &unused, &detail)
			if strings.Contains(detail, "tasks") || strings.Contains(detail, "documents") || strings.Contains(detail, "TEMP B-TREE") {
				plan = append(plan, detail)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		other := func(step string) bool { return !strings.HasSuffix(step, " USING "+index) }
		if len(plan) == 0 || slices.ContainsFunc(plan, other) {
			t.Errorf("plan of %s:\n%s\nwant %s", q, strings.Join(plan, "\n"), index)
		}
	}
}

// Many who come at once share statements, and each gets its own row.
func TestWaitersReadTogether(t *testing.T) {
	db := openDB(t, t.TempDir())
	d := open(t, db, sqlite.WithClock(func() time.Time { return epoch }))
	const n = 2000
	for i := range n {
		create(t, d, newRow(i))
	}
	var wg sync.WaitGroup
	for i := range n + 1 { // the last one is unknown
		wg.Go(func() {
			id := newRow(i).ID
			r, err := d.Await(bg, id, "g")
			want := id
			if i == n {
				want = ""
			}
			if err != nil || r.ID != want {
				t.Errorf("%s: got %q, %v", id, r.ID, err)
			}
		})
	}
	wg.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Await(bg, newRow(1).ID, "g"); !errors.Is(err, results.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}
