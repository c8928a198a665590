package sqlite_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/registry/registrytest"
	"github.com/taskgate/taskgate/internal/registry/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Harness {
		t.Helper()
		db, d := open(t, t.TempDir())
		t.Cleanup(func() { shut(t, db, d) })
		return registrytest.Harness{Driver: d}
	})
}

// TestOutlivesRestart: what was put is there after the process.
func TestOutlivesRestart(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db, d := open(t, dir)
	it := registry.Item{Key: registry.Key{Kind: "endpoint", Project: "p", Name: "n"}, Value: []byte("v")}
	before := db.Stats().Syncs
	if _, ok, err := d.Put(ctx, it, 0, "epoch"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if db.Stats().Syncs != before+1 {
		t.Error("a put must be synced")
	}
	shut(t, db, d)
	db, d = open(t, dir)
	defer shut(t, db, d)
	s, err := d.Load(ctx)
	if err != nil || s.Epoch != "epoch" || s.Version != 1 || len(s.Items) != 1 || string(s.Items[0].Value) != "v" {
		t.Errorf("loaded %+v, %v", s, err)
	}
}

func open(t *testing.T, dir string) (*sqlitedb.DB, *sqlite.Driver) {
	t.Helper()
	db, err := sqlitedb.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return db, sqlite.Open(db)
}

func shut(t *testing.T, db *sqlitedb.DB, d *sqlite.Driver) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
