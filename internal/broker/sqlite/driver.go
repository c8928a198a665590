package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	// deliveryLimit is how many workers a message may lose before it goes to
	// quarantine, graveLimit how many more there before it goes to the dead.
	deliveryLimit = 100
	graveLimit    = 5
	// chunk bounds one step of a large move or removal, so that publishes
	// get their turn in between.
	chunk = 1000
)

// Names of queues that are no endpoint's. Endpoint ids are hex digits.
const unroutable = "!unroutable"

func systemQueue(s broker.System) string { return "!" + string(s) }

// Driver implements [broker.Driver].
type Driver struct {
	db    *sqlitedb.DB
	limit int
	// Rows up to presumedID that were due at presumedAt may have been
	// delivered by an earlier process whose marks are lost.
	presumedID, presumedAt int64

	ctx  context.Context // ends at Close
	stop context.CancelCauseFunc

	mu        sync.Mutex
	closed    bool
	queues    map[string]*queue // those with consumers
	consumers map[*consumer]struct{}
	claims    map[int64]*delivery
	fetches   map[*fetch]struct{}
}

var _ broker.Driver = (*Driver)(nil)

// Option adjusts a [Driver].
type Option func(*Driver)

// WithDeliveryLimit sets how many workers a message may lose.
func WithDeliveryLimit(n int) Option { return func(d *Driver) { d.limit = n } }

// Open makes a driver on db, which stays the caller's to close. At most one
// driver may be open on a file.
func Open(ctx context.Context, db *sqlitedb.DB, opts ...Option) (*Driver, error) {
	own, stop := context.WithCancelCause(context.Background())
	d := &Driver{
		db: db, limit: deliveryLimit, ctx: own, stop: stop,
		queues: map[string]*queue{}, consumers: map[*consumer]struct{}{},
		claims: map[int64]*delivery{}, fetches: map[*fetch]struct{}{},
	}
	for _, o := range opts {
		o(d)
	}
	if err := d.recover(ctx); err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	return d, nil
}

// recover counts what the last process had in hands as lost.
func (d *Driver) recover(ctx context.Context) error {
	return d.db.Write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec("UPDATE claims SET losses = losses + 1, held = 0 WHERE held = 1"); err != nil {
			return err
		}
		// They were of the last process.
		if _, err := tx.Exec("DELETE FROM messages WHERE queue = ?", systemQueue(broker.CanaryQueue)); err != nil {
			return err
		}
		if !d.db.MayHaveLost() {
			return nil
		}
		d.presumedAt = nowMillis()
		_, err := tx.Row("SELECT coalesce(max(id), 0) FROM messages", nil, &d.presumedID)
		return err
	})
}

// Declare implements [broker.Driver].
func (d *Driver) Declare(ctx context.Context, ep task.EndpointID) error {
	if err := d.open(); err != nil {
		return err
	}
	name := string(ep)
	err := d.db.Write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO queues (name) VALUES (?) ON CONFLICT DO NOTHING", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("declare queue %s: %w", name, err)
	}
	// What came before the queue did.
	err = d.inChunks(ctx, func(tx *sqlitedb.Tx) (int64, error) {
		tx.OnCommit(func() { d.committed(name, nearest) })
		return tx.Exec(`UPDATE messages SET queue = endpoint WHERE id IN (
			SELECT id FROM messages WHERE queue = '!unroutable' AND endpoint = ? LIMIT ?)`, name, chunk)
	})
	if err != nil {
		return fmt.Errorf("declare queue %s: move messages: %w", name, err)
	}
	return nil
}

// Delete implements [broker.Driver].
func (d *Driver) Delete(ctx context.Context, ep task.EndpointID) error {
	if err := d.open(); err != nil {
		return err
	}
	err := d.db.Write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("DELETE FROM queues WHERE name = ?", string(ep))
		return err
	})
	if err == nil {
		err = d.inChunks(ctx, func(tx *sqlitedb.Tx) (int64, error) {
			tx.OnCommit(func() { d.committed(unroutable, nearest) })
			return tx.Exec(`UPDATE messages SET queue = '!unroutable' WHERE id IN (
				SELECT id FROM messages WHERE queue = ? ORDER BY due, id LIMIT ?)`, string(ep), chunk)
		})
	}
	if err != nil {
		return fmt.Errorf("delete queue %s: %w", ep, err)
	}
	return nil
}

// inChunks repeats a bounded step until it changes nothing more.
func (d *Driver) inChunks(ctx context.Context, step func(tx *sqlitedb.Tx) (int64, error)) error {
	for {
		var n int64
		err := d.db.Write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) (err error) {
			n, err = step(tx)
			return err
		})
		if err != nil || n < chunk {
			return err
		}
	}
}

// Publish implements [broker.Driver].
func (d *Driver) Publish(ctx context.Context, w broker.Wire) error {
	if err := d.open(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	err := d.db.Write(ctx, sqlitedb.Durable, func(tx *sqlitedb.Tx) error { return d.insert(tx, w) })
	return publishError(err)
}

// insert stores a message in its queue, or beside when that is missing.
func (d *Driver) insert(tx *sqlitedb.Tx, w broker.Wire) error {
	eta := ceilMillis(w.ETA)
	due := eta
	if due == 0 {
		due = nowMillis()
	}
	name := string(w.Endpoint)
	if w.System != "" {
		name = systemQueue(w.System)
	}
	var id int64
	var queue string
	_, err := tx.Row(`INSERT INTO messages (queue, due, eta, endpoint, system, task, meta, body) VALUES (
		CASE WHEN ?1 LIKE '!%' OR EXISTS (SELECT 1 FROM queues WHERE name = ?1) THEN ?1 ELSE '!unroutable' END,
		?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id, queue`,
		[]any{name, due, eta, string(w.Endpoint), string(w.System), w.ID, w.Meta, w.Body}, &id, &queue)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { d.committed(queue, key{due, id}) })
	return nil
}

// publishError sorts an error into the two that a publisher must tell apart.
func publishError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sqlitedb.ErrUnknown):
		return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
}

// Depth implements [broker.Driver].
func (d *Driver) Depth(ctx context.Context, ep task.EndpointID) (broker.Depth, error) {
	return d.depth(ctx, string(ep))
}

// DepthSystem implements [broker.Driver].
func (d *Driver) DepthSystem(ctx context.Context, s broker.System) (broker.Depth, error) {
	return d.depth(ctx, systemQueue(s))
}

func (d *Driver) depth(ctx context.Context, queue string) (broker.Depth, error) {
	if err := d.open(); err != nil {
		return broker.Depth{}, err
	}
	var due int64
	_, err := d.db.Row(ctx, "SELECT count(*) FROM messages WHERE queue = ? AND due <= ?", []any{queue, nowMillis()}, &due)
	if err != nil {
		return broker.Depth{}, fmt.Errorf("depth of queue %s: %w", queue, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dl := range d.claims {
		if dl.queue == queue {
			due--
		}
	}
	return broker.Depth{Ready: max(due, 0)}, nil
}

// Stats implements [broker.Driver].
func (d *Driver) Stats() broker.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return broker.Stats{Consumers: len(d.consumers)}
}

// Ready implements [broker.Driver].
func (d *Driver) Ready(ctx context.Context) error {
	if err := d.open(); err != nil {
		return err
	}
	return d.db.Ready(ctx)
}

// Close implements [broker.Driver]. Unfinished deliveries are left as a crash
// would leave them.
func (d *Driver) Close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	clear(d.claims) // ends of deliveries fail from here on
	all := make([]*consumer, 0, len(d.consumers))
	for c := range d.consumers {
		all = append(all, c)
	}
	d.mu.Unlock()
	d.stop(errClosed)
	for _, c := range all {
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("close broker: %w", context.Cause(ctx))
		}
	}
	return nil
}

var errClosed = errors.New("broker is closed")

func (d *Driver) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	return nil
}

func nowMillis() int64 { return time.Now().UnixMilli() }

// ceilMillis rounds up: a message is never early.
func ceilMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
