package sqlitedb

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
)

const (
	metaBoot  = "machine_boot"
	metaClean = "closed"
)

// bootID names the machine's present run: lazy commits survive as long as it
// does not change. "" when the system has no such name.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// noteBoot compares with the run before and writes down this one.
func (db *DB) noteBoot(ctx context.Context, c *sql.Conn) error {
	was := map[string]string{}
	rows, err := c.QueryContext(ctx, "SELECT key, value FROM meta")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return err
		}
		was[k] = v
	}
	if err := rows.Err(); err != nil {
		return err
	}
	now := bootID()
	isNew := len(was) == 0
	db.mayHaveLost = !isNew && was[metaClean] != "1" && (now == "" || was[metaBoot] != now)
	return setMeta(ctx, c, now, "0")
}

func (db *DB) noteClosed() error {
	ctx := context.Background()
	if err := setMeta(ctx, db.w.conn, bootID(), "1"); err != nil {
		return fmt.Errorf("close %s: %w", db.path, err)
	}
	return nil
}

func setMeta(ctx context.Context, c *sql.Conn, boot, clean string) error {
	_, err := c.ExecContext(ctx, "PRAGMA synchronous = FULL")
	if err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?), (?, ?)",
		metaBoot, boot, metaClean, clean)
	return err
}
