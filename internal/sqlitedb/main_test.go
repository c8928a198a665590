package sqlitedb_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/sqlitedb"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, dir string) *sqlitedb.DB {
	tb.Helper()
	db, err := sqlitedb.Open(context.Background(), dir)
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

// put writes one row into a table that no driver minds.
func put(tx *sqlitedb.Tx, key string) error {
	_, err := tx.Exec("INSERT INTO meta (key, value) VALUES (?, 'x')", key)
	return err
}

func has(tb testing.TB, db *sqlitedb.DB, key string) bool {
	tb.Helper()
	var v string
	ok, err := db.Row(context.Background(), "SELECT value FROM meta WHERE key = ?", []any{key}, &v)
	if err != nil {
		tb.Fatal(err)
	}
	return ok
}
