package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

const (
	// groupMax bounds a transaction: more saves no further syncs worth
	// having and makes the first caller wait.
	groupMax = 256
	// walEvery is how many groups pass between looks at the log's size.
	walEvery = 64
)

// writer owns the one connection that writes. Everything here happens in the
// goroutine of run.
type writer struct {
	db    *DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	synced  bool // the connection's synchronous setting is FULL
	groups  int
	failing bool // the last group failed
	suspect bool // a sync failed: see heal
}

func (w *writer) run() {
	defer close(w.db.done)
	w.synced = true
	group := make([]*op, 0, groupMax)
	for o := range w.db.queue {
		group = w.collect(append(group[:0], o))
		w.commit(group)
		clear(group)
	}
}

// collect adds what waits already. It never waits itself: while one group
// syncs the next one gathers.
func (w *writer) collect(group []*op) []*op {
	for len(group) < groupMax {
		select {
		case o, ok := <-w.db.queue:
			if !ok {
				return group
			}
			group = append(group, o)
		default:
			return group
		}
	}
	return group
}

// commit runs a group. When one fails, the transaction is undone and run
// again without it: errors are rare (ops report what is normal, such as a lost
// race, in their results), savepoints around each op would not be, and SQLite
// undoes the whole transaction by itself when the disk is full.
func (w *writer) commit(group []*op) {
	ops := group[:0]
	for _, o := range group {
		if o.begun.CompareAndSwap(false, true) {
			ops = append(ops, o)
		}
	}
	for len(ops) > 0 {
		bad, err := w.try(ops)
		w.failing = err != nil
		if bad < 0 {
			finish(ops, err)
			break
		}
		finish(ops[bad:bad+1], err)
		ops = append(ops[:bad], ops[bad+1:]...)
	}
	w.limitLog()
}

func finish(ops []*op, err error) {
	for _, o := range ops {
		if o.err = err; err == nil {
			for _, fn := range o.after {
				fn()
			}
		}
		close(o.done)
	}
}

// try makes one transaction of ops. bad is the index of the op that failed,
// -1 when err concerns them all.
func (w *writer) try(ops []*op) (bad int, err error) {
	durable := false
	for _, o := range ops {
		durable = durable || o.durable
	}
	if err := w.begin(durable); err != nil {
		return -1, w.failed("begin", err)
	}
	for i, o := range ops {
		o.after = o.after[:0]
		if err := o.fn(&Tx{w: w, op: o}); err != nil {
			w.rollback()
			return i, w.failed("write", err)
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		w.rollback()
		if isFull(err) { // the log's last frame was not written
			return -1, w.failed("commit", err)
		}
		w.suspect = true
		return -1, w.failed("commit", errors.Join(ErrUnknown, err))
	}
	w.db.ops.Add(int64(len(ops)))
	w.db.groups.Add(1)
	if durable {
		w.db.syncs.Add(1)
	}
	return -1, nil
}

func (w *writer) begin(durable bool) error {
	if w.suspect {
		if err := w.heal(); err != nil {
			return err
		}
	}
	if durable != w.synced {
		mode := "NORMAL"
		if durable {
			mode = "FULL"
		}
		if err := w.exec("PRAGMA synchronous = " + mode); err != nil {
			return err
		}
		w.synced = durable
	}
	return w.exec("BEGIN IMMEDIATE")
}

// heal copies the whole log into the file before anything is written after a
// failed commit. The kernel may have dropped log pages that it could not
// write, lazy commits among them, and report the next sync as good; commits
// after such a hole would not survive.
func (w *writer) heal() error {
	var busy, inLog, moved int
	err := w.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inLog, &moved)
	if err != nil {
		return fmt.Errorf("recover from failed commit: %w", err)
	}
	if busy != 0 {
		return errors.New("recover from failed commit: log is busy")
	}
	w.suspect = false
	return nil
}

func (w *writer) limitLog() {
	if w.groups++; w.groups%walEvery != 0 {
		return
	}
	st, err := os.Stat(w.db.path + "-wal")
	if err != nil || st.Size() < walLimit {
		return
	}
	// A failure leaves the log long; the next look tries again.
	_ = w.exec("PRAGMA wal_checkpoint(TRUNCATE)")
}

func (w *writer) rollback() {
	// SQLite may have rolled back already, which makes this an error.
	_ = w.exec("ROLLBACK")
}

func (w *writer) exec(q string) error {
	s, err := w.stmt(q) //nolint:sqlclosecheck // kept till close
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background())
	return err
}

// stmt keeps every statement prepared: their texts are constants.
func (w *writer) stmt(q string) (*sql.Stmt, error) {
	if s, ok := w.stmts[q]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), q)
	if err != nil {
		return nil, err
	}
	w.stmts[q] = s
	return s, nil
}

func (w *writer) failed(what string, err error) error {
	return fmt.Errorf("%s %s: %w", what, w.db.path, err)
}

func (w *writer) close() error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	if err := w.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Tx is the writer's transaction in the hands of one op.
type Tx struct {
	w  *writer
	op *op
}

// Exec runs a statement and returns how many rows it changed. Statements are
// kept prepared for ever: build no text at run time.
func (t *Tx) Exec(q string, args ...any) (changed int64, err error) {
	r, err := t.run(q, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Insert is Exec that returns the new row's id.
func (t *Tx) Insert(q string, args ...any) (id int64, err error) {
	r, err := t.run(q, args)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (t *Tx) run(q string, args []any) (sql.Result, error) {
	s, err := t.w.stmt(q) //nolint:sqlclosecheck // kept till close
	if err != nil {
		return nil, err
	}
	return s.ExecContext(context.Background(), args...)
}

// Row reads one row into dest; ok is false when there is none.
func (t *Tx) Row(q string, args []any, dest ...any) (ok bool, err error) {
	s, err := t.w.stmt(q) //nolint:sqlclosecheck // kept till close
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Rows calls each for every row.
func (t *Tx) Rows(q string, args []any, each func(scan func(...any) error) error) error {
	s, err := t.w.stmt(q) //nolint:sqlclosecheck // kept till close
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	return walk(rows, err, each)
}

// OnCommit has fn called after the commit, in order of the writes, before any
// caller of the group hears of it. fn must be quick and must not write.
func (t *Tx) OnCommit(fn func()) { t.op.after = append(t.op.after, fn) }
