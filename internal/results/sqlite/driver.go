package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// Driver implements [results.Driver].
type Driver struct {
	db   *sqlitedb.DB
	now  func() time.Time
	once sync.Once
	done chan struct{} // closed by Close

	hub    hub
	leases leases
	quotas quotas
	rates  rates
	usages usages

	tallies tallies
	reads   together
}

var _ results.Driver = (*Driver)(nil)

// Option adjusts a [Driver].
type Option func(*Driver)

// WithClock sets the clock that TTLs and leases are judged by.
func WithClock(now func() time.Time) Option { return func(d *Driver) { d.now = now } }

// Open makes a driver on db, which stays the caller's to close. At most one
// driver may be open on a file.
func Open(ctx context.Context, db *sqlitedb.DB, opts ...Option) (*Driver, error) {
	d := &Driver{db: db, now: time.Now, done: make(chan struct{})}
	d.reads.d = d
	for _, o := range opts {
		o(d)
	}
	if err := d.usages.count(ctx, db); err != nil {
		return nil, fmt.Errorf("open results: %w", err)
	}
	if !db.MayHaveLost() {
		return d, nil
	}
	err := d.write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE tasks SET accept_by = -accept_by WHERE accept_by > 0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open results: %w", err)
	}
	return d, nil
}

// write runs an op; its failures are the store's.
func (d *Driver) write(ctx context.Context, s sqlitedb.Durability, fn func(*sqlitedb.Tx) error) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return unavailable(d.db.Write(ctx, s, fn))
}

func (d *Driver) row(ctx context.Context, q string, args []any, dest ...any) (bool, error) {
	if err := d.open(ctx); err != nil {
		return false, err
	}
	ok, err := d.db.Row(ctx, q, args, dest...)
	return ok, unavailable(err)
}

func (d *Driver) rows(ctx context.Context, q string, args []any, each func(scan func(...any) error) error) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return unavailable(d.db.Rows(ctx, q, args, each))
}

var errClosed = errors.New("results store is closed")

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
	return fmt.Errorf("%w: %w", results.ErrUnavailable, err)
}

func (d *Driver) millis() int64 { return d.now().UnixMilli() }

// Ready implements [results.Driver].
func (d *Driver) Ready(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return unavailable(d.db.Ready(ctx))
}

// Close implements [results.Driver].
func (d *Driver) Close() error {
	d.once.Do(func() { d.reads.close(func() { close(d.done) }) })
	return nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func millis(t time.Time) int64 { return task.ToMillis(t) }
