package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// Read implements [results.Driver].
func (d *Driver) Read(ctx context.Context, id task.ID, withResult bool) (results.Row, error) {
	r := results.Row{ID: id}
	now := d.millis()
	var ok bool
	var err error
	if withResult {
		ok, err = d.row(ctx, `SELECT t.version, t.head, t.spec, t.flag, o.data FROM tasks t LEFT JOIN outcomes o ON o.n = t.n
			WHERE t.id = ? AND t.keep_till > ?`, []any{string(id), now}, &r.Version, &r.Head, &r.Spec, &r.Flag, &r.Result)
	} else {
		ok, err = d.row(ctx, "SELECT version, head, spec, flag FROM tasks WHERE id = ? AND keep_till > ?",
			[]any{string(id), now}, &r.Version, &r.Head, &r.Spec, &r.Flag)
	}
	if err != nil || !ok {
		return results.Row{}, err
	}
	return r, nil
}

// readManyStep bounds one statement's walk.
const readManyStep = 500

// ReadMany implements [results.Driver].
func (d *Driver) ReadMany(ctx context.Context, ids []task.ID) ([]results.Row, error) {
	out := make([]results.Row, len(ids))
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	for at := 0; at < len(ids); at += readManyStep {
		part := ids[at:min(at+readManyStep, len(ids))]
		list, err := json.Marshal(part)
		if err != nil {
			return nil, unavailable(err)
		}
		err = d.rows(ctx, `SELECT j.key, t.id, t.version, t.head, t.spec, t.flag FROM json_each(?) j
			JOIN tasks t ON t.id = j.value WHERE t.keep_till > ?`, []any{string(list), d.millis()},
			func(scan func(...any) error) error {
				var i int
				var r results.Row
				if err := scan(&i, &r.ID, &r.Version, &r.Head, &r.Spec, &r.Flag); err != nil {
					return err
				}
				out[at+i] = r
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Payload implements [results.Driver].
func (d *Driver) Payload(ctx context.Context, id task.ID) (p []byte, ok bool, err error) {
	ok, err = d.row(ctx, "SELECT p.data FROM tasks t JOIN payloads p ON p.n = t.n WHERE t.id = ? AND t.keep_till > ?",
		[]any{string(id), d.millis()}, &p)
	return p, ok, err
}

const maxAttempts = 1000

// Attempts implements [results.Driver].
func (d *Driver) Attempts(ctx context.Context, id task.ID) ([][]byte, error) {
	var out [][]byte
	err := d.rows(ctx, `SELECT a.data FROM tasks t JOIN attempts a ON a.n = t.n
		WHERE t.id = ? AND t.keep_till > ? ORDER BY a.number DESC LIMIT ?`,
		[]any{string(id), d.millis(), maxAttempts}, func(scan func(...any) error) error {
			var b []byte
			err := scan(&b)
			out = append(out, b)
			return err
		})
	slices.Reverse(out)
	return out, err
}

// Await implements [results.Driver].
func (d *Driver) Await(ctx context.Context, id task.ID, t results.Topic) (results.Row, error) {
	if err := d.open(ctx); err != nil {
		return results.Row{}, err
	}
	// Registered first: a swap that the read does not see finds the waiter.
	d.hub.await(id, t, d.now())
	return d.reads.read(ctx, id)
}

// The lists, each an index read backwards.
var lists = map[results.List]string{
	results.ListAll: `SELECT id, created, version, head, spec, flag FROM tasks
		WHERE hidden = 0 AND project = ?1 AND (created, id) < (?3, ?4) AND keep_till > ?5
		ORDER BY created DESC, id DESC LIMIT ?6`,
	results.ListFailed: `SELECT id, created, version, head, spec, flag FROM tasks
		WHERE failed = 1 AND hidden = 0 AND project = ?1 AND (created, id) < (?3, ?4) AND keep_till > ?5
		ORDER BY created DESC, id DESC LIMIT ?6`,
	results.ListLive: liveList(),
}

const listLane = `SELECT id, created, version, head, spec, flag FROM tasks
	WHERE live > 0 AND live = %d AND endpoint = ?2 AND project = ?1 AND (created, id) < (?3, ?4) AND keep_till > ?5
	ORDER BY created DESC, id DESC LIMIT ?6`

// liveList merges a page of every lane; each is a range of one index, in order.
func liveList() string {
	parts := make([]string, results.MaxLane)
	for i := range parts {
		parts[i] = fmt.Sprintf("SELECT id, created, version, head, spec, flag FROM ("+listLane+")", i+1)
	}
	return strings.Join(parts, " UNION ALL ") + " ORDER BY created DESC, id DESC LIMIT ?6"
}

// Scan implements [results.Driver].
func (d *Driver) Scan(ctx context.Context, s results.Scan) (page []results.Row, last results.Cursor, more bool, err error) {
	before := results.Cursor{Created: s.Before, ID: s.BeforeID}
	if before.Created.IsZero() {
		before.Created = farFuture
	}
	last = before
	err = d.rows(ctx, lists[s.List], []any{
		s.Project, string(s.Endpoint), millis(before.Created), string(before.ID), d.millis(), s.Limit + 1,
	}, func(scan func(...any) error) error {
		var r results.Row
		var created int64
		if err := scan(&r.ID, &created, &r.Version, &r.Head, &r.Spec, &r.Flag); err != nil {
			return err
		}
		if len(page) == s.Limit {
			more = true
			return nil
		}
		page = append(page, r)
		last = results.Cursor{Created: task.FromMillis(created), ID: r.ID}
		return nil
	})
	return page, last, more, err
}

// farFuture is after every row.
var farFuture = time.UnixMilli(1 << 60)

// CountLanes implements [results.Driver].
func (d *Driver) CountLanes(ctx context.Context, _ string, ep task.EndpointID) (lanes results.Lanes, err error) {
	err = d.rows(ctx, "SELECT live, count(*), min(created) FROM tasks WHERE live > 0 AND endpoint = ? GROUP BY live",
		[]any{string(ep)}, func(scan func(...any) error) error {
			var lane, rows int
			var oldest int64
			if err := scan(&lane, &rows, &oldest); err != nil {
				return err
			}
			if lane < len(lanes) {
				lanes[lane] = results.LaneCount{Rows: rows, Oldest: task.FromMillis(oldest)}
			}
			return nil
		})
	return lanes, err
}

// Expiring implements [results.Driver].
func (d *Driver) Expiring(ctx context.Context, now time.Time, limit int) ([]task.ID, error) {
	return d.ids(ctx, `SELECT id FROM tasks WHERE live > 0 AND expires_at > 0 AND expires_at <= ? AND keep_till > ?
		ORDER BY expires_at LIMIT ?`, millis(now), d.millis(), limit)
}

const selectFlagged = `SELECT id FROM tasks WHERE flag > 0 AND flag_at < ? AND keep_till > ? ORDER BY flag_at LIMIT ?`

// Flagged implements [results.Driver].
func (d *Driver) Flagged(ctx context.Context, before time.Time, limit int) ([]task.ID, error) {
	return d.ids(ctx, selectFlagged, millis(before), d.millis(), limit)
}

// ids runs a query for ids.
func (d *Driver) ids(ctx context.Context, q string, args ...any) ([]task.ID, error) {
	var ids []task.ID
	err := d.rows(ctx, q, args, func(scan func(...any) error) error {
		var id task.ID
		err := scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}
