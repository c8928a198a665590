package sqlite

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// fetchMax bounds how many bodies one round reads.
const fetchMax = 64

// key is a row's place in its queue.
type key struct{ due, id int64 }

func (k key) before(o key) bool { return k.due < o.due || (k.due == o.due && k.id < o.id) }

// Places before and after every row.
var (
	nearest  = key{math.MinInt64, 0}
	farthest = key{math.MaxInt64, math.MaxInt64}
)

// queue is what the consumers of one queue share. Driver.mu guards it.
type queue struct {
	name      string
	consumers map[*consumer]struct{}
	// cursor is the last row looked at: those up to it are in hands or
	// finished, but for rows from low on, which came or came back since.
	cursor, low key
	// turn lets one consumer read at a time, so that none reads in vain.
	turn sync.Mutex
}

// fetch is a read under way. gone are the rows that were finished since it
// began: it may still see them.
type fetch struct{ gone map[int64]struct{} }

// committed tells the queue's consumers of a row that is there now.
func (d *Driver) committed(name string, k key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queues[name]
	if q == nil {
		return
	}
	if k.before(q.low) {
		q.low = k
	}
	for c := range q.consumers {
		c.poke()
	}
}

// fetch claims up to n due messages. wait is how long nothing more is due, 0
// when there may be more now.
func (d *Driver) fetch(c *consumer, n int) (got []*delivery, wait time.Duration, err error) {
	q := c.q
	q.turn.Lock()
	defer q.turn.Unlock()
	f, from := d.beginFetch(q)
	now := nowMillis()
	rows, err := d.read(c.ctx, q.name, now, from, n)
	got = d.endFetch(f, c, rows, err)
	if err != nil {
		return nil, 0, err
	}
	if got, err = d.mark(c.ctx, got); err != nil {
		return nil, 0, err
	}
	if len(rows) == n {
		return got, 0, nil
	}
	wait, err = d.untilNext(c.ctx, q.name, now)
	if err != nil {
		return got, retryWait, nil
	}
	return got, wait, nil
}

func (d *Driver) beginFetch(q *queue) (*fetch, key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &fetch{gone: map[int64]struct{}{}}
	d.fetches[f] = struct{}{}
	if !q.cursor.before(q.low) {
		q.cursor = key{q.low.due, q.low.id - 1}
	}
	q.low = farthest
	return f, q.cursor
}

// endFetch claims the rows that are nobody's.
func (d *Driver) endFetch(f *fetch, c *consumer, rows []*delivery, err error) []*delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.fetches, f)
	if err != nil || d.closed {
		return nil
	}
	free := rows[:0:0]
	for _, dl := range rows {
		c.q.cursor = key{dl.due, dl.id}
		_, gone := f.gone[dl.id]
		if _, taken := d.claims[dl.id]; taken || gone {
			continue
		}
		dl.d, dl.c = d, c
		dl.redelivered = dl.losses > 0 || (dl.id <= d.presumedID && dl.due <= d.presumedAt)
		d.claims[dl.id] = dl
		c.held++
		free = append(free, dl)
	}
	return free
}

const selectDue = `SELECT m.id, m.due, m.eta, m.endpoint, m.system, m.task, m.meta, m.body, coalesce(c.losses, 0)
	FROM messages m LEFT JOIN claims c ON c.id = m.id
	WHERE m.queue = ? AND m.due <= ? AND (m.due, m.id) > (?, ?) ORDER BY m.due, m.id LIMIT ?`

func (d *Driver) read(ctx context.Context, name string, now int64, from key, n int) ([]*delivery, error) {
	var rows []*delivery
	err := d.db.Rows(ctx, selectDue, []any{name, now, from.due, from.id, n}, func(scan func(...any) error) error {
		dl := &delivery{queue: name}
		var eta int64
		var ep, system string
		err := scan(&dl.id, &dl.due, &eta, &ep, &system, &dl.wire.ID, &dl.wire.Meta, &dl.wire.Body, &dl.losses)
		dl.wire.ETA = task.FromMillis(eta)
		dl.wire.Endpoint, dl.wire.System = task.EndpointID(ep), broker.System(system)
		rows = append(rows, dl)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read queue %s: %w", name, err)
	}
	return rows, nil
}

// selectNext looks past the moment of the read before it: what was committed
// since and is due already has woken its consumers.
const selectNext = `SELECT due FROM messages WHERE queue = ? AND due > ? ORDER BY due LIMIT 1`

func (d *Driver) untilNext(ctx context.Context, name string, now int64) (time.Duration, error) {
	var due int64
	ok, err := d.db.Row(ctx, selectNext, []any{name, now}, &due)
	if err != nil || !ok {
		return longestWait, err
	}
	if due-now > longestWait.Milliseconds() {
		return longestWait, nil
	}
	return max(time.Until(time.UnixMilli(due)), time.Microsecond), nil
}

// mark writes down that the messages are in hands, before they are, and moves
// away those that lost too many workers.
func (d *Driver) mark(ctx context.Context, dls []*delivery) ([]*delivery, error) {
	if len(dls) == 0 {
		return nil, nil
	}
	keep := make([]*delivery, 0, len(dls))
	err := d.db.Write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		keep = keep[:0]
		for _, dl := range dls {
			if to := d.exile(dl); to != "" {
				if err := d.move(tx, dl, to); err != nil {
					return err
				}
				continue
			}
			losses := dl.losses
			if dl.redelivered {
				losses = max(losses, 1) // what was presumed once stays known
			}
			if _, err := tx.Exec("INSERT OR REPLACE INTO claims (id, losses, held) VALUES (?, ?, 1)", dl.id, losses); err != nil {
				return err
			}
			keep = append(keep, dl)
		}
		return nil
	})
	if err != nil {
		d.unmark(dls)
		return nil, fmt.Errorf("mark deliveries: %w", err)
	}
	return keep, nil
}

// unmark takes back claims that could not be written down.
func (d *Driver) unmark(dls []*delivery) {
	for _, dl := range dls {
		d.finish(dl)
		d.committed(dl.queue, key{dl.due, dl.id})
	}
}

// exile names the queue for a message that lost too many workers.
func (d *Driver) exile(dl *delivery) string {
	grave, quarantine := systemQueue(broker.Dead), systemQueue(broker.Quarantine)
	switch {
	case dl.queue == grave || dl.losses < d.limit:
		return ""
	case dl.queue != quarantine:
		return quarantine
	case dl.losses >= d.limit+graveLimit:
		return grave
	}
	return ""
}

func (d *Driver) move(tx *sqlitedb.Tx, dl *delivery, to string) error {
	if _, err := tx.Exec("UPDATE messages SET queue = ? WHERE id = ?", to, dl.id); err != nil {
		return err
	}
	tx.OnCommit(func() {
		d.finish(dl)
		d.committed(to, key{dl.due, dl.id})
	})
	return nil
}
