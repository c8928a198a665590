package sqlitedb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/sqlitedb"
)

func TestOpenRefusesFiles(t *testing.T) {
	foreign := func(t *testing.T, path string) {
		t.Helper()
		runSQL(t, path, "CREATE TABLE notes (a); INSERT INTO notes VALUES (1)")
	}
	cases := []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"text", text(strings.Repeat("hello ", 1000)), sqlitedb.ErrForeign},
		{"short text", text("hello"), sqlitedb.ErrForeign},
		{"other SQLite file", foreign, sqlitedb.ErrForeign},
		{"other SQLite file with a version", func(t *testing.T, path string) {
			t.Helper()
			runSQL(t, path, "PRAGMA user_version = 1; CREATE TABLE tasks (id)")
		}, sqlitedb.ErrForeign},
		{"newer", func(t *testing.T, path string) {
			t.Helper()
			ours(t, path)
			runSQL(t, path, "PRAGMA user_version = 1000")
		}, sqlitedb.ErrNewer},
		{"cut", func(t *testing.T, path string) {
			t.Helper()
			ours(t, path)
			truncate(t, path, size(t, path)/2)
		}, sqlitedb.ErrDamaged},
		{"cut inside a page", func(t *testing.T, path string) {
			t.Helper()
			ours(t, path)
			truncate(t, path, size(t, path)-100)
		}, sqlitedb.ErrDamaged},
		{"overwritten inside", func(t *testing.T, path string) {
			t.Helper()
			ours(t, path)
			scribble(t, path, 2*4096, 4096)
		}, sqlitedb.ErrDamaged},
		{"text beside our log", func(t *testing.T, path string) {
			t.Helper()
			unclosed(t, path)
			text(strings.Repeat("hello ", 1000))(t, path)
		}, sqlitedb.ErrForeign},
		{"other SQLite file beside our log", func(t *testing.T, path string) {
			t.Helper()
			unclosed(t, path)
			elsewhere := filepath.Join(t.TempDir(), "other.db")
			foreign(t, elsewhere)
			duplicate(t, elsewhere, path)
		}, sqlitedb.ErrForeign},
		{"nothing beside our log", func(t *testing.T, path string) {
			t.Helper()
			unclosed(t, path)
			truncate(t, path, 0)
		}, sqlitedb.ErrDamaged},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "taskgate.db")
			c.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // nothing stays open, the second time is as the first
				_, err := sqlitedb.Open(context.Background(), dir)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
					t.Fatalf("got %v, want %v with the file's name", err, c.want)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Error("the file was changed")
			}
		})
	}
}

// unclosed leaves the files of a process that was killed: a log beside the file.
func unclosed(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlitedb.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		duplicate(t, db.Path()+suffix, path+suffix)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if size(t, path+"-wal") == 0 {
		t.Fatal("the log is empty")
	}
}

func duplicate(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenKeepsContent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c%d") // names that a URI would mangle
	db := open(t, dir)
	if err := db.Write(context.Background(), sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return put(tx, "k") }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "taskgate.db")); err != nil {
		t.Fatal(err)
	}
	if db = open(t, dir); !has(t, db, "k") {
		t.Error("the row is gone")
	}
}

func TestOpenRefusesSecond(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	_, err := sqlitedb.Open(context.Background(), dir)
	if !errors.Is(err, sqlitedb.ErrLocked) || !strings.Contains(err.Error(), "taskgate.lock") {
		t.Fatalf("got %v, want ErrLocked with the lock's name", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestMayHaveLost(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if db.MayHaveLost() {
		t.Error("a new file cannot have lost anything")
	}
	ctx := context.Background()
	crashed := filepath.Join(t.TempDir(), "copy")
	copyDir(t, dir, crashed)
	if c := open(t, crashed); c.MayHaveLost() {
		t.Error("the machine runs on: nothing is lost")
	} else if err := c.Write(ctx, sqlitedb.Durable, otherBoot); err != nil {
		t.Fatal(err)
	} else {
		again := filepath.Join(t.TempDir(), "again")
		copyDir(t, crashed, again)
		if !open(t, again).MayHaveLost() {
			t.Error("not closed before another boot: may have lost")
		}
	}
	if err := db.Write(ctx, sqlitedb.Durable, otherBoot); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if open(t, dir).MayHaveLost() {
		t.Error("closed before the boot: nothing is lost")
	}
}

func otherBoot(tx *sqlitedb.Tx) error {
	_, err := tx.Exec("UPDATE meta SET value = 'earlier' WHERE key = 'machine_boot'")
	return err
}

// copyDir copies a folder as a crash would leave it: without the lock.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"taskgate.db", "taskgate.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, name), b)
	}
}

func text(s string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		write(t, path, []byte(s))
	}
}

func ours(t *testing.T, path string) {
	t.Helper()
	db, err := sqlitedb.Open(context.Background(), filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func runSQL(t *testing.T, path, script string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), script); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func scribble(t *testing.T, path string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", n)), at); err != nil {
		t.Fatal(err)
	}
}
