package sqlite

import (
	"context"
	"fmt"
	"sync"

	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// usages knows what each project's rows take up. It is counted once, when the
// store is opened, and follows every commit: there is one process.
type usages struct {
	mu sync.Mutex
	of map[string]task.Usage
}

// takes is what a row takes up.
func takes(live int, bytes int64) task.Usage {
	if live > 0 {
		return task.Usage{WaitingTasks: 1, WaitingBytes: bytes}
	}
	return task.Usage{KeptBytes: bytes}
}

func minus(u task.Usage) task.Usage {
	return task.Usage{WaitingTasks: -u.WaitingTasks, WaitingBytes: -u.WaitingBytes, KeptBytes: -u.KeptBytes}
}

// add adds to a project's usage once the transaction is committed.
func (u *usages) add(tx *sqlitedb.Tx, project string, more task.Usage) {
	if more != (task.Usage{}) {
		tx.OnCommit(func() { u.now(project, more) })
	}
}

func (u *usages) now(project string, more task.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum := u.of[project].Add(more)
	if sum == (task.Usage{}) {
		delete(u.of, project)
		return
	}
	u.of[project] = sum
}

// count counts what is in the file.
func (u *usages) count(ctx context.Context, db *sqlitedb.DB) error {
	u.of = make(map[string]task.Usage)
	const q = `SELECT project, live > 0, count(*), sum(bytes) FROM tasks WHERE live > 0 OR bytes > 0 GROUP BY 1, 2`
	err := db.Rows(ctx, q, nil, func(scan func(...any) error) error {
		var project string
		var live int
		var n, bytes int64
		if err := scan(&project, &live, &n, &bytes); err != nil {
			return err
		}
		sum := takes(live, bytes)
		sum.WaitingTasks *= n
		u.of[project] = u.of[project].Add(sum)
		return nil
	})
	if err != nil {
		return fmt.Errorf("count what projects use: %w", err)
	}
	return nil
}

// Usage implements [results.Driver].
func (d *Driver) Usage(ctx context.Context, project string) (task.Usage, error) {
	if err := d.open(ctx); err != nil {
		return task.Usage{}, err
	}
	d.usages.mu.Lock()
	defer d.usages.mu.Unlock()
	return d.usages.of[project], nil
}
