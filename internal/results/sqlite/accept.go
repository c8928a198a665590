package sqlite

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// Create implements [results.Driver].
func (d *Driver) Create(ctx context.Context, c results.Create) (results.Created, error) {
	var out results.Created
	now := d.millis()
	err := d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) (err error) {
		out = results.Created{}
		taken, err := d.holder(tx, c, now, &out)
		if err != nil || taken {
			return err
		}
		if out.New = true; c.Ask {
			return nil
		}
		idem := ""
		if c.Idem != nil {
			idem = c.Idem.Key
			if _, err := tx.Exec("INSERT OR REPLACE INTO idem (key, fingerprint, until, id) VALUES (?, ?, ?, ?)",
				c.Idem.Key, c.Idem.Fingerprint, millis(c.Idem.Until), string(c.ID)); err != nil {
				return err
			}
		}
		n, err := d.insert(tx, c.Row, c.Index, millis(c.AcceptBy), millis(c.KeepTill), idem)
		if err != nil {
			return err
		}
		return setPart(tx, setPayload, n, c.Payload)
	})
	if err != nil {
		return results.Created{}, err // out may still be written
	}
	return out, nil
}

// holder finds the row that has the key, or the id, already.
func (d *Driver) holder(tx *sqlitedb.Tx, c results.Create, now int64, out *results.Created) (taken bool, err error) {
	id, same := string(c.ID), true
	if c.Idem != nil {
		var fingerprint, holder string
		found, err := tx.Row("SELECT fingerprint, id FROM idem WHERE key = ? AND until > ?", []any{c.Idem.Key, now}, &fingerprint, &holder)
		if err != nil {
			return false, err
		}
		if found {
			id, same = holder, fingerprint == c.Idem.Fingerprint
		}
	}
	p, err := find(tx, task.ID(id), now)
	if err != nil || p.Version == 0 {
		return false, err
	}
	out.Row, out.SameRequest = p.Row, same
	out.AcceptBy = task.FromMillis(max(p.acceptBy, -p.acceptBy))
	return true, nil
}

// Accepted implements [results.Driver].
func (d *Driver) Accepted(ctx context.Context, id task.ID) error {
	return d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE tasks SET accept_by = 0 WHERE id = ? AND accept_by <> 0", string(id))
		return err
	})
}

// Renew implements [results.Driver].
func (d *Driver) Renew(ctx context.Context, id task.ID, old, next time.Time) (bool, error) {
	var ok bool
	now := d.millis()
	err := d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		// The sign stays: what Abandon leaves alone it goes on leaving alone.
		n, err := tx.Exec(`UPDATE tasks SET accept_by = CASE WHEN accept_by < 0 THEN -?1 ELSE ?1 END
			WHERE id = ?2 AND accept_by <> 0 AND abs(accept_by) = ?3 AND keep_till > ?4`,
			millis(next), string(id), millis(old), now)
		ok = n > 0
		return err
	})
	if err != nil {
		return false, err // ok may still be written
	}
	return ok, nil
}

const selectAbandoned = `SELECT n, id, idem FROM tasks
	WHERE accept_by > 0 AND accept_by <= ? AND keep_till > ? ORDER BY accept_by LIMIT ?`

// Abandon implements [results.Driver].
func (d *Driver) Abandon(ctx context.Context, now time.Time, limit int) (int, error) {
	var n int
	kept := d.millis()
	err := d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) (err error) {
		n, err = d.removeAll(tx, selectAbandoned, millis(now), kept, limit)
		return err
	})
	if err != nil {
		return 0, err // n may still be written
	}
	return n, nil
}

// forgetStep bounds what one call of Forget removes.
const forgetStep = 500

const selectForgotten = `SELECT n, id, idem FROM tasks WHERE keep_till <= ? ORDER BY keep_till LIMIT ?`

// Forget implements [results.Driver]. It works for all projects alike: what
// it removes reads as absent already.
func (d *Driver) Forget(ctx context.Context, _ string, _ time.Time) error {
	now := d.millis()
	return d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		if _, err := d.removeAll(tx, selectForgotten, now, forgetStep); err != nil {
			return err
		}
		if _, err := tx.Exec(forgetDocuments, now, forgetStep); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM idem WHERE key IN (SELECT key FROM idem WHERE until <= ? ORDER BY until LIMIT ?)", now, forgetStep)
		return err
	})
}

// removeAll removes the rows of a query for n, id and idem.
func (d *Driver) removeAll(tx *sqlitedb.Tx, q string, args ...any) (int, error) {
	type row struct {
		n        int64
		id, idem string
	}
	var all []row
	err := tx.Rows(q, args, func(scan func(...any) error) error {
		var r row
		err := scan(&r.n, &r.id, &r.idem)
		all = append(all, r)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		if err := d.remove(tx, r.n, r.id, r.idem); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// remove deletes a row with all its parts. A key that points to another row
// by now stays.
func (d *Driver) remove(tx *sqlitedb.Tx, n int64, id, idem string) error {
	var project string
	var live int
	var bytes int64
	found, err := tx.Row("DELETE FROM tasks WHERE n = ? RETURNING project, live, bytes", []any{n}, &project, &live, &bytes)
	if err != nil {
		return err
	}
	if found {
		d.usages.add(tx, project, minus(takes(live, bytes)))
	}
	for _, q := range []string{
		dropPayload, dropResult, "DELETE FROM attempts WHERE n = ?",
	} {
		if _, err := tx.Exec(q, n); err != nil {
			return err
		}
	}
	if idem == "" {
		return nil
	}
	_, err = tx.Exec("DELETE FROM idem WHERE key = ? AND id = ?", idem, id)
	return err
}
