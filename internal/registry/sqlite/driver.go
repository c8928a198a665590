// Package sqlite is the registry driver of the embedded store. Every change is
// synced before it returns; watchers are told in memory, since one process
// owns the file.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/sqlitedb"
)

// Driver implements [registry.Driver].
type Driver struct {
	db   *sqlitedb.DB
	once sync.Once
	done chan struct{} // closed by Close

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

var _ registry.Driver = (*Driver)(nil)

// Open makes a driver on db, which stays the caller's to close. At most one
// driver may be open on a file.
func Open(db *sqlitedb.DB) *Driver {
	return &Driver{db: db, done: make(chan struct{}), watchers: map[chan struct{}]struct{}{}}
}

const (
	selectState = "SELECT epoch, version FROM registry_state"
	// One statement, hence one consistent view; the state's row comes first.
	selectAll = `SELECT NULL, '', '', NULL, version, 0, epoch FROM registry_state
		UNION ALL SELECT kind, project, name, value, revision, deleted, '' FROM registry_items`
	setState = "INSERT OR REPLACE INTO registry_state (one, epoch, version) VALUES (1, ?, ?)"
	setItem  = "INSERT OR REPLACE INTO registry_items (kind, project, name, value, revision, deleted) VALUES (?, ?, ?, ?, ?, ?)"
	setUse   = "INSERT INTO key_uses (id, at) VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"
	dropUse  = "DELETE FROM key_uses WHERE id = ?"
)

// Version implements [registry.Driver].
func (d *Driver) Version(ctx context.Context) (epoch string, version int64, err error) {
	if err := d.open(ctx); err != nil {
		return "", 0, err
	}
	_, err = d.db.Row(ctx, selectState, nil, &epoch, &version)
	return epoch, version, unavailable(err)
}

// Load implements [registry.Driver].
func (d *Driver) Load(ctx context.Context) (registry.State, error) {
	var s registry.State
	if err := d.open(ctx); err != nil {
		return s, err
	}
	err := d.db.Rows(ctx, selectAll, nil, func(scan func(...any) error) error {
		var kind *string // nil: the state's row
		var it registry.Item
		var epoch string
		if err := scan(&kind, &it.Project, &it.Name, &it.Value, &it.Revision, &it.Deleted, &epoch); err != nil {
			return err
		}
		if kind == nil {
			s.Epoch, s.Version = epoch, it.Revision
			return nil
		}
		it.Kind = *kind
		s.Items = append(s.Items, it)
		return nil
	})
	if err != nil {
		return registry.State{}, unavailable(err)
	}
	return s, nil
}

// Put implements [registry.Driver].
func (d *Driver) Put(ctx context.Context, it registry.Item, expect int64, epoch string) (int64, bool, error) {
	var version int64
	var ok bool
	err := d.write(ctx, func(tx *sqlitedb.Tx) error {
		version, ok = 0, false
		var revision int64
		_, err := tx.Row("SELECT revision FROM registry_items WHERE kind = ? AND project = ? AND name = ? AND deleted = 0",
			[]any{it.Kind, it.Project, it.Name}, &revision)
		if err != nil || (expect != -1 && expect != revision) {
			return err
		}
		present := epoch
		if _, err := tx.Row(selectState, nil, &present, &version); err != nil {
			return err
		}
		version++
		if _, err := tx.Exec(setState, present, version); err != nil {
			return err
		}
		it.Revision, ok = version, true
		tx.OnCommit(d.changed)
		return store(tx, it)
	})
	if err != nil {
		return 0, false, err
	}
	return version, ok, nil
}

// Seed implements [registry.Driver].
func (d *Driver) Seed(ctx context.Context, s registry.State) (bool, error) {
	var did bool
	err := d.write(ctx, func(tx *sqlitedb.Tx) error {
		did = false
		var epoch string
		var version int64
		some, err := tx.Row(selectState, nil, &epoch, &version)
		if err != nil || (some && (epoch != s.Epoch || version >= s.Version)) {
			return err
		}
		did = true
		tx.OnCommit(d.changed)
		if _, err := tx.Exec("DELETE FROM registry_items"); err != nil {
			return err
		}
		if _, err := tx.Exec(setState, s.Epoch, s.Version); err != nil {
			return err
		}
		for _, it := range s.Items {
			if err := store(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err // did may still be written
	}
	return did, nil
}

// Touch implements [registry.Driver].
func (d *Driver) Touch(ctx context.Context, uses map[string]time.Time) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return unavailable(d.db.Write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		for id, at := range uses {
			stmt, args := setUse, []any{id, at.UnixMilli()}
			if at.IsZero() {
				stmt, args = dropUse, args[:1]
			}
			if _, err := tx.Exec(stmt, args...); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Touched implements [registry.Driver].
func (d *Driver) Touched(ctx context.Context) (map[string]time.Time, error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	out := make(map[string]time.Time)
	err := d.db.Rows(ctx, "SELECT id, at FROM key_uses", nil, func(scan func(...any) error) error {
		var id string
		var at int64
		err := scan(&id, &at)
		out[id] = time.UnixMilli(at)
		return err
	})
	return out, unavailable(err)
}

func store(tx *sqlitedb.Tx, it registry.Item) error {
	value := it.Value
	if it.Deleted {
		value = nil
	}
	_, err := tx.Exec(setItem, it.Kind, it.Project, it.Name, value, it.Revision, it.Deleted)
	return err
}

func (d *Driver) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watchers {
		select {
		case w <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// Watch implements [registry.Driver].
func (d *Driver) Watch(ctx context.Context, changed func()) error {
	if err := d.open(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	w := make(chan struct{}, 1)
	w <- struct{}{} // the start
	d.mu.Lock()
	d.watchers[w] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
	}()
	for ctx.Err() == nil {
		select {
		case <-w:
			if ctx.Err() == nil {
				changed()
			}
		case <-ctx.Done():
		case <-d.done:
			return unavailable(errClosed)
		}
	}
	return nil
}

// Close implements [registry.Driver].
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *Driver) write(ctx context.Context, fn func(*sqlitedb.Tx) error) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return unavailable(d.db.Write(ctx, sqlitedb.Durable, fn))
}

var errClosed = errors.New("registry is closed")

// open refuses after Close and after the context's end.
func (d *Driver) open(ctx context.Context) error {
	select {
	case <-d.done:
		return unavailable(errClosed)
	default:
	}
	if ctx.Err() != nil {
		return unavailable(context.Cause(ctx))
	}
	return nil
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
}
