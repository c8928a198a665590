package sqlitedb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/taskgate/taskgate/internal/sqlitedb"
)

var bg = context.Background()

// hold occupies the writer until the returned function is called, so that the
// writes after it share a group.
func hold(t *testing.T, db *sqlitedb.DB) (release func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	finished := make(chan error, 1)
	var once sync.Once
	go func() {
		finished <- db.Write(bg, sqlitedb.Lazy, func(*sqlitedb.Tx) error {
			once.Do(func() { close(begun) })
			<-end
			return nil
		})
	}()
	<-begun
	return func() {
		close(end)
		if err := <-finished; err != nil {
			t.Errorf("holder: %v", err)
		}
	}
}

func TestGroupSharesOneSync(t *testing.T) {
	db := open(t, t.TempDir())
	release := hold(t, db)
	const n = 50
	errs := start(n, func(i int) error {
		d := sqlitedb.Lazy
		if i%2 == 0 {
			d = sqlitedb.Durable
		}
		return db.Write(bg, d, func(tx *sqlitedb.Tx) error { return put(tx, fmt.Sprint("k", i)) })
	})
	sqlitedb.AwaitQueued(db, n)
	release()
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if s := db.Stats(); s.Groups != 2 || s.Syncs != 1 || s.Ops != n+1 {
		t.Errorf("got %+v, want %d ops in 2 groups with 1 sync", s, n+1)
	}
	for i := range n {
		if !has(t, db, fmt.Sprint("k", i)) {
			t.Errorf("row %d is missing", i)
		}
	}
}

func TestOneFailureHarmsNoNeighbour(t *testing.T) {
	db := open(t, t.TempDir())
	release := hold(t, db)
	const n = 20
	var mu sync.Mutex
	hooks := map[int]int{}
	boom := errors.New("boom")
	type outcome struct {
		i   int
		err error
	}
	out := make(chan outcome, n)
	start(n, func(i int) error {
		err := db.Write(bg, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
			if err := put(tx, fmt.Sprint("k", i)); err != nil {
				return err
			}
			tx.OnCommit(func() { mu.Lock(); hooks[i]++; mu.Unlock() })
			if i%5 == 0 {
				return boom
			}
			return nil
		})
		out <- outcome{i, err}
		return nil
	})
	sqlitedb.AwaitQueued(db, n)
	release()
	for range n {
		o := <-out
		if fails := o.i%5 == 0; errors.Is(o.err, boom) != fails || has(t, db, fmt.Sprint("k", o.i)) == fails {
			t.Errorf("write %d: %v", o.i, o.err)
		}
		mu.Lock()
		if want := min(1, o.i%5); hooks[o.i] != want {
			t.Errorf("write %d: hook ran %d times, want %d", o.i, hooks[o.i], want)
		}
		mu.Unlock()
	}
}

func TestContext(t *testing.T) {
	db := open(t, t.TempDir())
	t.Run("ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(bg)
		cancel(errors.New("shutdown"))
		err := db.Write(ctx, sqlitedb.Lazy, func(*sqlitedb.Tx) error { panic("must not run") })
		if err == nil || errors.Is(err, sqlitedb.ErrUnknown) || !strings.Contains(err.Error(), "shutdown") {
			t.Errorf("got %v, want a certain failure with its cause", err)
		}
	})
	t.Run("ends while waiting", func(t *testing.T) {
		release := hold(t, db)
		ctx, cancel := context.WithCancel(bg)
		errs := start(1, func(int) error {
			return db.Write(ctx, sqlitedb.Durable, func(*sqlitedb.Tx) error { panic("must not run") })
		})
		sqlitedb.AwaitQueued(db, 1)
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, sqlitedb.ErrUnknown) {
			t.Errorf("got %v, want a certain failure", err)
		}
		release()
	})
	t.Run("ends while running", func(t *testing.T) {
		ctx, cancel := context.WithCancel(bg)
		begun, end := make(chan struct{}), make(chan struct{})
		errs := start(1, func(int) error {
			return db.Write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
				close(begun)
				<-end
				return put(tx, "unknown")
			})
		})
		<-begun
		cancel()
		if err := <-errs; !errors.Is(err, sqlitedb.ErrUnknown) {
			t.Errorf("got %v, want ErrUnknown", err)
		}
		close(end)
	})
}

func TestCloseDrains(t *testing.T) {
	db := open(t, t.TempDir())
	release := hold(t, db)
	errs := start(10, func(i int) error {
		return db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return put(tx, fmt.Sprint("k", i)) })
	})
	sqlitedb.AwaitQueued(db, 10)
	closed := start(1, func(int) error { return db.Close() })
	release()
	for range 10 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := db.Write(bg, sqlitedb.Lazy, func(*sqlitedb.Tx) error { return nil }); !errors.Is(err, sqlitedb.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestFullDisk(t *testing.T) {
	db := open(t, t.TempDir())
	big := strings.Repeat("x", 1<<20)
	fill := func(tx *sqlitedb.Tx, key string, n int) error {
		_, err := tx.Exec("INSERT INTO meta (key, value) VALUES (?, ?)", key, big[:n])
		return err
	}
	sqlitedb.LimitPages(t, db, 200)
	release := hold(t, db)
	small := start(4, func(i int) error {
		return db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return fill(tx, fmt.Sprint("small", i), 10) })
	})
	large := start(1, func(int) error {
		return db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return fill(tx, "large", 1<<20) })
	})
	sqlitedb.AwaitQueued(db, 5)
	release()
	if err := <-large; err == nil || errors.Is(err, sqlitedb.ErrUnknown) ||
		!strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), db.Path()) {
		t.Errorf("got %v, want a certain failure that says full and where", err)
	}
	for range 4 {
		if err := <-small; err != nil {
			t.Errorf("a neighbour failed: %v", err)
		}
	}
	sqlitedb.LimitPages(t, db, 1<<30)
	if err := db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return fill(tx, "large", 1<<20) }); err != nil {
		t.Errorf("the writer did not survive: %v", err)
	}
	if err := db.Ready(bg); err != nil {
		t.Error(err)
	}
}

func TestReadyTurnsWellAgain(t *testing.T) {
	db := open(t, t.TempDir())
	boom := errors.New("boom")
	if err := db.Write(bg, sqlitedb.Lazy, func(*sqlitedb.Tx) error { return boom }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Ready(bg); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHealAfterFailedCommit(t *testing.T) {
	db := open(t, t.TempDir())
	if err := db.Write(bg, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error { return put(tx, "lazy") }); err != nil {
		t.Fatal(err)
	}
	sqlitedb.Suspect(t, db)
	if err := db.Write(bg, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return put(tx, "after") }); err != nil {
		t.Fatal(err)
	}
	if !has(t, db, "lazy") || !has(t, db, "after") {
		t.Error("rows are missing")
	}
}

func TestRows(t *testing.T) {
	db := open(t, t.TempDir())
	for i := range 3 {
		if err := db.Write(bg, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error { return put(tx, fmt.Sprint("k", i)) }); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := db.Rows(bg, "SELECT key FROM meta WHERE key LIKE 'k%' ORDER BY key", nil, func(scan func(...any) error) error {
		var k string
		err := scan(&k)
		got = append(got, k)
		return err
	})
	if err != nil || strings.Join(got, " ") != "k0 k1 k2" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := db.Rows(bg, "SELECT nothing", nil, nil); err == nil {
		t.Error("a wrong statement must fail")
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := db.Row(ctx, "SELECT 1", nil, new(int)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// start runs n calls of fn at once; the channel gets their errors.
func start(n int, fn func(i int) error) <-chan error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	return errs
}
