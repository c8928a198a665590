package sqlitedb

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors of opening and of writing. Each comes wrapped with the file's name.
var (
	// ErrLocked: another process has the data folder.
	ErrLocked = errors.New("data folder is in use by another process")
	// ErrForeign: the file is not a Taskgate database.
	ErrForeign = errors.New("not a Taskgate database")
	// ErrNewer: a newer Taskgate wrote the file.
	ErrNewer = errors.New("written by a newer version of Taskgate")
	// ErrDamaged: the file is torn or corrupt.
	ErrDamaged = errors.New("database is damaged")
	// ErrUnknown: the write may or may not be stored. After any other error
	// of [DB.Write] it surely is not.
	ErrUnknown = errors.New("outcome of write unknown")
	// ErrClosed: the database is closed.
	ErrClosed = errors.New("database is closed")
)

const primaryMask = 0xff // extended result codes keep the primary one here

// code is the primary SQLite result code of err, 0 when it has none.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & primaryMask
	}
	return 0
}

func isDamage(err error) bool {
	return code(err) == sqlite3.SQLITE_CORRUPT
}

func isForeign(err error) bool {
	return code(err) == sqlite3.SQLITE_NOTADB
}

func isFull(err error) bool {
	return code(err) == sqlite3.SQLITE_FULL
}
