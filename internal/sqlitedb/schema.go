package sqlitedb

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"sort"
)

// The three drivers share one file and therefore one line of versions: the
// files of schema/ in order of their names, never edited once released.
//
//go:embed schema/*.sql
var schemaFS embed.FS

func migrations() ([]string, error) {
	names, err := fs.Glob(schemaFS, "schema/*.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	steps := make([]string, 0, len(names))
	for _, name := range names {
		b, err := schemaFS.ReadFile(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, string(b))
	}
	return steps, nil
}

// migrate brings the file from version have to the newest. A step and its
// number are one transaction: a crash leaves a whole version.
func migrate(ctx context.Context, c *sql.Conn, have int, steps []string) error {
	for v := have; v < len(steps); v++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version = %d;\nCOMMIT;", steps[v], v+1)
		if _, err := c.ExecContext(ctx, script); err != nil {
			_, _ = c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return fmt.Errorf("migrate to version %d: %w", v+1, err)
		}
	}
	return nil
}
