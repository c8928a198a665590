package sqlite

import (
	"context"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// present is a row with what a swap compares.
type present struct {
	results.Row
	n                  int64
	index              indexed
	acceptBy, keepTill int64
	idem               string
}

// indexed is an Index as stored; values are compared to leave the indexes of
// a row alone that did not move.
type indexed struct {
	project, endpoint string
	created, expires  int64
	live, failed      int
	hidden            int
	bytes             int64
}

func indexOf(x results.Index) indexed {
	i := indexed{
		project: x.Project, endpoint: string(x.Endpoint), created: millis(x.Created),
		live: int(x.Lane), failed: flag(x.Failed), hidden: flag(x.Hidden), bytes: x.Bytes,
	}
	if x.Lane > 0 {
		i.expires = millis(x.ExpiresAt)
	}
	return i
}

// find reads a row; Version is 0 when there is none or its time is over.
func find(tx *sqlitedb.Tx, id task.ID, now int64) (present, error) {
	p, err := findAny(tx, id)
	if p.keepTill <= now {
		return present{}, err
	}
	return p, err
}

// findAny also reads what is over and not yet removed.
func findAny(tx *sqlitedb.Tx, id task.ID) (present, error) {
	p := present{Row: results.Row{ID: id}}
	x := &p.index
	ok, err := tx.Row(`SELECT n, version, head, spec, project, endpoint, created, expires_at, live, failed, hidden, accept_by, keep_till, idem, flag, bytes
		FROM tasks WHERE id = ?`, []any{string(id)}, &p.n, &p.Version, &p.Head, &p.Spec,
		&x.project, &x.endpoint, &x.created, &x.expires, &x.live, &x.failed, &x.hidden, &p.acceptBy, &p.keepTill, &p.idem, &p.Flag, &x.bytes)
	if err != nil || !ok {
		return present{}, err
	}
	return p, nil
}

// insert stores a row, in the place of one whose time is over.
func (d *Driver) insert(tx *sqlitedb.Tx, r results.Row, ix results.Index, acceptBy, keepTill int64, idem string) (n int64, err error) {
	old, err := findAny(tx, r.ID)
	if err != nil {
		return 0, err
	}
	if old.Version != 0 {
		// Its key may have become the new row's just now.
		keep := old.idem
		if keep == idem {
			keep = ""
		}
		if err := d.remove(tx, old.n, string(r.ID), keep); err != nil {
			return 0, err
		}
	}
	x := indexOf(ix)
	d.usages.add(tx, x.project, takes(x.live, x.bytes))
	return tx.Insert(`INSERT INTO tasks
		(id, version, head, spec, project, endpoint, created, live, failed, hidden, expires_at, accept_by, keep_till, idem, bytes)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(r.ID), r.Version, nonNil(r.Head), nonNil(r.Spec), x.project, x.endpoint, x.created,
		x.live, x.failed, x.hidden, x.expires, acceptBy, keepTill, idem, x.bytes)
}

// Swap implements [results.Driver].
func (d *Driver) Swap(ctx context.Context, s results.Swap) (results.Swapped, error) {
	var out results.Swapped
	durability := sqlitedb.Lazy
	if s.Wake {
		durability = sqlitedb.Durable
	}
	now := d.millis()
	err := d.write(ctx, durability, func(tx *sqlitedb.Tx) error {
		out = results.Swapped{}
		p, err := find(tx, s.ID, now)
		if err != nil {
			return err
		}
		if p.Version != s.Expect {
			out.Row = p.Row
			return nil
		}
		out.OK = true
		if err := d.apply(tx, &p, &s); err != nil {
			return err
		}
		if s.Wake {
			tx.OnCommit(func() { d.hub.wake(s.ID) })
		}
		return nil
	})
	if err != nil {
		return results.Swapped{}, err // out may still be written
	}
	return out, nil
}

func (d *Driver) apply(tx *sqlitedb.Tx, p *present, s *results.Swap) (err error) {
	if p.Version == 0 {
		row := results.Row{ID: s.ID, Version: s.Version, Head: s.Head, Spec: s.Spec}
		p.n, err = d.insert(tx, row, s.Index, 0, millis(s.KeepTill), "")
	} else {
		err = d.update(tx, p, s)
	}
	if err != nil {
		return err
	}
	if s.Flag != 0 {
		if _, err := tx.Exec("UPDATE tasks SET flag = ?, flag_at = ? WHERE n = ?", s.Flag, millis(s.FlagAt), p.n); err != nil {
			return err
		}
	}
	return applyParts(tx, p.n, s)
}

// Unflag implements [results.Driver].
func (d *Driver) Unflag(ctx context.Context, u results.Unflag) error {
	return d.write(ctx, sqlitedb.Lazy, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(`UPDATE tasks SET flag = 0, flag_at = 0, keep_till = CASE WHEN version = ? THEN ? ELSE keep_till END
			WHERE id = ? AND flag = ? AND flag <> 0`, u.Version, millis(u.KeepTill), string(u.ID), u.Flag)
		return err
	})
}

// update writes the columns that no index has apart from those that moved.
func (d *Driver) update(tx *sqlitedb.Tx, p *present, s *results.Swap) error {
	if _, err := tx.Exec("UPDATE tasks SET version = ?, head = ? WHERE n = ?", s.Version, nonNil(s.Head), p.n); err != nil {
		return err
	}
	if keep := millis(s.KeepTill); keep != p.keepTill {
		if _, err := tx.Exec("UPDATE tasks SET keep_till = ? WHERE n = ?", keep, p.n); err != nil {
			return err
		}
	}
	if p.acceptBy != 0 {
		if _, err := tx.Exec("UPDATE tasks SET accept_by = 0 WHERE n = ?", p.n); err != nil {
			return err
		}
	}
	x := indexOf(s.Index)
	if x == p.index {
		return nil
	}
	d.usages.add(tx, x.project, takes(x.live, x.bytes).Add(minus(takes(p.index.live, p.index.bytes))))
	if was := p.index; was.bytes != x.bytes {
		if _, err := tx.Exec("UPDATE tasks SET bytes = ? WHERE n = ?", x.bytes, p.n); err != nil {
			return err
		}
		if was.bytes = x.bytes; x == was {
			return nil
		}
	}
	_, err := tx.Exec(`UPDATE tasks SET project = ?, endpoint = ?, created = ?, live = ?, failed = ?, hidden = ?, expires_at = ? WHERE n = ?`,
		x.project, x.endpoint, x.created, x.live, x.failed, x.hidden, x.expires, p.n)
	return err
}

const (
	setPayload  = "INSERT OR REPLACE INTO payloads (n, data) VALUES (?, ?)"
	dropPayload = "DELETE FROM payloads WHERE n = ?"
	setResult   = "INSERT OR REPLACE INTO outcomes (n, data) VALUES (?, ?)"
	dropResult  = "DELETE FROM outcomes WHERE n = ?"
)

func applyParts(tx *sqlitedb.Tx, n int64, s *results.Swap) error {
	if s.DropPayload {
		if _, err := tx.Exec(dropPayload, n); err != nil {
			return err
		}
	}
	if s.ClearResult {
		if _, err := tx.Exec(dropResult, n); err != nil {
			return err
		}
	}
	if err := setPart(tx, setPayload, n, s.Payload); err != nil {
		return err
	}
	if err := setPart(tx, setResult, n, s.Result); err != nil {
		return err
	}
	for _, a := range s.Attempts {
		if _, err := tx.Exec("INSERT OR REPLACE INTO attempts (n, number, data) VALUES (?, ?, ?)", n, a.Number, nonNil(a.Data)); err != nil {
			return err
		}
	}
	return nil
}

// setPart stores data unless it is nil; empty data is data.
func setPart(tx *sqlitedb.Tx, q string, n int64, data []byte) error {
	if data == nil {
		return nil
	}
	_, err := tx.Exec(q, n, data)
	return err
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
