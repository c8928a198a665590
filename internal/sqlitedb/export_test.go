package sqlitedb

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// AwaitQueued returns once n writes wait in the queue.
func AwaitQueued(db *DB, n int) {
	for len(db.queue) < n {
		runtime.Gosched()
	}
}

// LimitPages makes the disk look full.
func LimitPages(t *testing.T, db *DB, n int) {
	t.Helper()
	inWriter(t, db, func() error { return db.w.exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)) })
}

// Suspect makes the writer believe that a sync failed.
func Suspect(t *testing.T, db *DB) {
	t.Helper()
	inWriter(t, db, func() error { db.w.suspect = true; return nil })
}

func inWriter(t *testing.T, db *DB, fn func() error) {
	t.Helper()
	if err := db.Write(context.Background(), Lazy, func(*Tx) error { return fn() }); err != nil {
		t.Fatal(err)
	}
}
