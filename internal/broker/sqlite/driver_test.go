package sqlite_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/broker/brokertest"
	"github.com/taskgate/taskgate/internal/broker/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

var bg = context.Background()

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T, o brokertest.Options) brokertest.Harness {
		t.Helper()
		h := &harness{dir: t.TempDir()}
		if o.DeliveryLimit > 0 {
			h.opts = append(h.opts, sqlite.WithDeliveryLimit(o.DeliveryLimit))
		}
		return h
	})
}

// harness is a data folder.
type harness struct {
	dir  string
	opts []sqlite.Option
	db   *sqlitedb.DB
}

func (h *harness) Open(t *testing.T) broker.Driver {
	t.Helper()
	if h.db != nil {
		h.closeDB(t) // the driver before was closed
	}
	h.db = openDB(t, h.dir)
	d, err := sqlite.Open(bg, h.db, h.opts...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Kill leaves a copy of the files as they are, which is what a crash leaves;
// only then it ends the old driver, on files that nobody reads again.
func (h *harness) Kill(t *testing.T, d broker.Driver) {
	t.Helper()
	to := t.TempDir()
	var err error
	// The writer is busy with this while the files are copied.
	werr := h.db.Write(bg, sqlitedb.Lazy, func(*sqlitedb.Tx) error {
		err = copyFiles(h.dir, to)
		return nil
	})
	if err != nil || werr != nil {
		t.Fatal(err, werr)
	}
	if err := d.Close(bg); err != nil {
		t.Error(err)
	}
	h.closeDB(t)
	h.dir = to
}

func (h *harness) closeDB(t *testing.T) {
	t.Helper()
	if err := h.db.Close(); err != nil {
		t.Error(err)
	}
	h.db = nil
}

func copyFiles(from, to string) error {
	for _, name := range []string{"taskgate.db", "taskgate.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func openDB(tb testing.TB, dir string) *sqlitedb.DB {
	tb.Helper()
	db, err := sqlitedb.Open(bg, dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}
