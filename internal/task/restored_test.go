package task_test

import (
	"testing"

	"github.com/taskgate/taskgate/internal/task"
)

// What the store has confirmed and forgotten is written again over what is
// behind it, and over nothing else.
func TestRestored(t *testing.T) {
	t.Parallel()
	rec := func(version int64, gen, seq, starts int, s task.State) task.Record {
		return task.Record{Version: version<<3 + 3, Gen: gen, Seq: seq, Starts: starts, State: s}
	}
	ended, retry := rec(9, 2, 3, 4, task.Succeeded), rec(9, 2, 3, 4, task.Retrying)
	for name, c := range map[string]struct {
		lost    task.Record
		there   *task.Record
		ok      bool
		version int64
	}{
		"an end, nothing there":            {ended, nil, true, 9},
		"an end, behind":                   {ended, new(rec(4, 2, 1, 2, task.Queued)), true, 9},
		"an end, an earlier generation":    {ended, new(rec(4, 1, 5, 2, task.Failed)), true, 9},
		"an end, begun again meanwhile":    {ended, new(rec(11, 2, 3, 5, task.Running)), true, 12},
		"an end that is there":             {ended, &ended, false, 0},
		"an end, a later generation":       {ended, new(rec(9, 3, 1, 4, task.Queued)), false, 0},
		"a retry, nothing there":           {retry, nil, false, 0},
		"a retry, its attempt is there":    {retry, new(rec(8, 2, 2, 4, task.Running)), true, 9},
		"a retry that is there":            {retry, &retry, false, 0},
		"a retry that has begun meanwhile": {retry, new(rec(8, 2, 3, 5, task.Running)), false, 0},
		"a retry, an earlier generation":   {retry, new(rec(8, 1, 2, 4, task.Failed)), false, 0},
		"a retry, ended otherwise":         {retry, new(rec(8, 2, 2, 4, task.Cancelled)), false, 0},
	} {
		got, ok := c.lost.Restored(c.there)
		if ok != c.ok || ok && (got.Version>>3 != c.version || got.State != c.lost.State || got.Version&7 != 3) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		if ok && c.there != nil && got.Starts < c.there.Starts {
			t.Errorf("%s: attempt numbers fell to %d", name, got.Starts)
		}
	}
}
