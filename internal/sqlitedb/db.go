package sqlitedb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver named "sqlite"
)

const (
	fileName = "taskgate.db"
	lockName = "taskgate.lock"
	// applicationID marks our files: "TGAT".
	applicationID = 0x54474154

	readers  = 4
	pageSize = 4096 // SQLite's default; written into the file when it is made
	// checkPages is the log's length at which a commit copies it into the
	// file; walLimit the size at which the writer waits for readers to let go
	// of the log, so that it cannot grow without bound.
	checkPages = 4096     // 16 MiB
	walLimit   = 64 << 20 // bytes
	// quickCheckLimit: smaller files are checked whole when opened; that
	// takes a fraction of a second.
	quickCheckLimit = 32 << 20
)

// DB is an open data folder. All methods are safe for concurrent use.
type DB struct {
	path  string
	lock  *os.File
	write *sql.DB
	read  *sql.DB
	w     *writer

	stmtMu sync.RWMutex
	stmts  map[string]*sql.Stmt

	mayHaveLost bool

	// sendMu lets Close wait for senders before it closes the queue.
	sendMu sync.RWMutex
	closed bool
	queue  chan *op
	done   chan struct{}

	groups, ops, syncs atomic.Int64
}

// Stats counts since opening.
type Stats struct {
	Ops    int64 // writes that ran
	Groups int64 // commits that held them
	Syncs  int64 // of these, synced to the disk
}

// Open opens the database of the folder dir and makes both when missing. It
// leaves nothing open and changes nothing when it returns an error.
func Open(ctx context.Context, dir string) (*DB, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	db := &DB{
		path: filepath.Join(dir, fileName), lock: lock, stmts: map[string]*sql.Stmt{},
		queue: make(chan *op, queueLen), done: make(chan struct{}),
	}
	if err := db.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", db.path, err), db.release())
	}
	go db.w.run()
	return db, nil
}

func (db *DB) open(ctx context.Context) error {
	err := db.checkOurs()
	if err != nil {
		return err
	}
	if db.write, err = sql.Open("sqlite", db.dsn("busy_timeout(500)", "cache_size(-32768)", "temp_store(MEMORY)")); err != nil {
		return err
	}
	db.write.SetMaxOpenConns(1)
	c, err := db.write.Conn(ctx)
	if err != nil {
		return describe(err)
	}
	db.w = &writer{db: db, conn: c, stmts: map[string]*sql.Stmt{}}
	if err := db.prepareFile(ctx, c); err != nil {
		return describe(err)
	}
	if db.read, err = sql.Open("sqlite", db.dsn("busy_timeout(5000)", "cache_size(-8192)", "query_only(1)")); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return describe(db.read.PingContext(ctx))
}

func (db *DB) dsn(pragmas ...string) string {
	u := url.URL{Scheme: "file", Path: db.path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}

// prepareFile judges the file before it writes to it.
func (db *DB) prepareFile(ctx context.Context, c *sql.Conn) error {
	have, err := identify(ctx, c)
	if err != nil {
		return err
	}
	steps, err := migrations()
	if err != nil {
		return err
	}
	if have > len(steps) {
		return fmt.Errorf("%w (file has version %d, this program knows %d)", ErrNewer, have, len(steps))
	}
	if err := db.checkTorn(); err != nil {
		return err
	}
	if err := db.setUp(ctx, c, have == 0); err != nil {
		return err
	}
	if err := db.checkWhole(ctx, c); err != nil {
		return err
	}
	if err := migrate(ctx, c, have, steps); err != nil {
		return err
	}
	return db.noteBoot(ctx, c)
}

// identify returns the schema's version, 0 for a new file, and refuses files
// of others.
func identify(ctx context.Context, c *sql.Conn) (version int, err error) {
	var app, tables int
	for _, q := range []struct {
		sql string
		to  *int
	}{
		{"PRAGMA application_id", &app},
		{"PRAGMA user_version", &version},
		{"SELECT count(*) FROM sqlite_schema", &tables},
	} {
		if err := c.QueryRowContext(ctx, q.sql).Scan(q.to); err != nil {
			return 0, err
		}
	}
	isNew := app == 0 && version == 0 && tables == 0
	if app != applicationID && !isNew {
		return 0, ErrForeign
	}
	return version, nil
}

// Of a database file's first bytes: https://www.sqlite.org/fileformat.html
const (
	headerLen  = 100
	magic      = "SQLite format 3\x00"
	markOffset = 68 // application_id, big-endian
)

// checkOurs looks at a file that has a log beside it, before SQLite does: the
// log hides what the file is, and closing it again would write the one into
// the other. Our mark is in the file itself from the start, see setUp.
func (db *DB) checkOurs() error {
	if log, err := os.Stat(db.path + "-wal"); err != nil || log.Size() == 0 {
		return nil // identify sees the file itself
	}
	f, err := os.Open(db.path)
	if err != nil {
		return fmt.Errorf("%w: there is a log, but no file: %w", ErrDamaged, err)
	}
	defer f.Close()
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(f, header); err != nil {
		return fmt.Errorf("%w: there is a log, but the file ends in its header", ErrDamaged)
	}
	if string(header[:len(magic)]) != magic || binary.BigEndian.Uint32(header[markOffset:]) != applicationID {
		return ErrForeign
	}
	return nil
}

func (db *DB) setUp(ctx context.Context, c *sql.Conn, isNew bool) error {
	if isNew { // else it would be written to before it is known to be whole
		// The mark goes in before WAL mode so that it is in the file itself.
		if _, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return err
		}
	}
	var mode string
	if err := c.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system does not support a write-ahead log (journal mode is %s)", mode)
	}
	_, err := c.ExecContext(ctx, fmt.Sprintf(
		"PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = %d; PRAGMA journal_size_limit = %d", checkPages, walLimit))
	return err
}

// checkTorn finds a file that was cut inside a page, before the first write
// mends its length. With a log beside it, it may be so for a moment of a copy.
// (That whole pages are missing SQLite tells by itself.)
func (db *DB) checkTorn() error {
	st, err := os.Stat(db.path)
	if err != nil {
		return err
	}
	if log, err := os.Stat(db.path + "-wal"); err == nil && log.Size() > 0 {
		return nil
	}
	if st.Size()%pageSize != 0 {
		return fmt.Errorf("%w: its last page is torn", ErrDamaged)
	}
	return nil
}

// checkWhole brings the log into the file and looks for damage in small files.
func (db *DB) checkWhole(ctx context.Context, c *sql.Conn) error {
	if _, err := c.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return err
	}
	st, err := os.Stat(db.path)
	if err != nil || st.Size() > quickCheckLimit {
		return err
	}
	var verdict string
	if err := c.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(strings.Fields(verdict), " "))
	}
	return nil
}

func describe(err error) error {
	switch {
	case isForeign(err):
		return fmt.Errorf("%w: %w", ErrForeign, err)
	case isDamage(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Path is the database file.
func (db *DB) Path() string { return db.path }

// MayHaveLost reports whether lazy commits of an earlier process may be lost:
// the machine was started since, and the database was not closed before.
func (db *DB) MayHaveLost() bool { return db.mayHaveLost }

// Stats returns the counters.
func (db *DB) Stats() Stats {
	return Stats{Ops: db.ops.Load(), Groups: db.groups.Load(), Syncs: db.syncs.Load()}
}

// Close runs the writes that wait, closes the file and frees the folder. Only
// the first call does anything.
func (db *DB) Close() error {
	db.sendMu.Lock()
	if db.closed {
		db.sendMu.Unlock()
		return nil
	}
	db.closed = true
	close(db.queue)
	db.sendMu.Unlock()
	<-db.done
	return errors.Join(db.noteClosed(), db.release())
}

// release closes what is open, the lock last.
func (db *DB) release() error {
	var errs []error
	db.stmtMu.Lock()
	for _, s := range db.stmts {
		errs = append(errs, s.Close())
	}
	clear(db.stmts)
	db.stmtMu.Unlock()
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.w != nil {
		errs = append(errs, db.w.close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(append(errs, unlock(db.lock))...)
}
