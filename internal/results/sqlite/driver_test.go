package sqlite_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/results/resultstest"
	"github.com/taskgate/taskgate/internal/results/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

var bg = context.Background()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	resultstest.Run(t, func(t *testing.T) resultstest.Harness {
		t.Helper()
		return resultstest.Harness{Driver: open(t, openDB(t, t.TempDir()))}
	})
}

func openDB(t *testing.T, dir string) *sqlitedb.DB {
	t.Helper()
	db, err := sqlitedb.Open(bg, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func open(t *testing.T, db *sqlitedb.DB, opts ...sqlite.Option) *sqlite.Driver {
	t.Helper()
	d, err := sqlite.Open(bg, db, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
