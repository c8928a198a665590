package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Row reads one row into dest from what is committed; ok is false when there
// is none. Statements are kept prepared for ever: build no text at run time.
func (db *DB) Row(ctx context.Context, q string, args []any, dest ...any) (ok bool, err error) {
	s, err := db.stmt(ctx, q) //nolint:sqlclosecheck // kept till Close
	if err == nil {
		err = s.QueryRowContext(ctx, args...).Scan(dest...)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", db.path, err)
	}
	return true, nil
}

// Rows calls each for every row of one consistent view. Long walks hold up
// the log's reuse: bound them.
func (db *DB) Rows(ctx context.Context, q string, args []any, each func(scan func(...any) error) error) error {
	s, err := db.stmt(ctx, q) //nolint:sqlclosecheck // kept till Close
	if err != nil {
		return fmt.Errorf("read %s: %w", db.path, err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err := walk(rows, err, each); err != nil {
		return fmt.Errorf("read %s: %w", db.path, err)
	}
	return nil
}

func walk(rows *sql.Rows, err error, each func(scan func(...any) error) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (db *DB) stmt(ctx context.Context, q string) (*sql.Stmt, error) {
	db.stmtMu.RLock()
	s, ok := db.stmts[q]
	db.stmtMu.RUnlock()
	if ok {
		return s, nil
	}
	db.stmtMu.Lock()
	defer db.stmtMu.Unlock()
	if s, ok := db.stmts[q]; ok {
		return s, nil
	}
	s, err := db.read.PrepareContext(ctx, q) //nolint:sqlclosecheck // kept till Close
	if err != nil {
		return nil, err
	}
	db.stmts[q] = s
	return s, nil
}
