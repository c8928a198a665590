package redis

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// Read implements results.Driver.
func (d *Driver) Read(ctx context.Context, id task.ID, withResult bool) (results.Row, error) {
	if err := d.open(ctx); err != nil {
		return results.Row{}, err
	}
	fields := []string{"v", "h", "s", "f", "r"}
	if !withResult {
		fields = fields[:rowFields]
	}
	reply, err := d.db.Fields(ctx, d.keys.row(id), fields...)
	if err != nil {
		return results.Row{}, fail("read", err)
	}
	r, err := row(id, reply[:rowFields])
	if err != nil || !withResult || r.Version == 0 {
		return r, err
	}
	if result, ok := reply[rowFields].(string); ok {
		r.Result = []byte(result)
	}
	return r, nil
}

// ReadMany implements results.Driver.
func (d *Driver) ReadMany(ctx context.Context, ids []task.ID) ([]results.Row, error) {
	rows := make([]results.Row, len(ids))
	cmds := make([]*redis.SliceCmd, len(ids))
	err := d.pipe(ctx, "read many", nil, func(p redis.Pipeliner) {
		for i, id := range ids {
			cmds[i] = p.HMGet(ctx, d.keys.row(id), "v", "h", "s", "f")
		}
	})
	if err != nil {
		return nil, err
	}
	for i, c := range cmds {
		if rows[i], err = row(ids[i], c.Val()); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Payload implements results.Driver.
func (d *Driver) Payload(ctx context.Context, id task.ID) (p []byte, ok bool, err error) {
	if err := d.open(ctx); err != nil {
		return nil, false, err
	}
	p, err = d.c.HGet(ctx, d.keys.row(id), "p").Bytes()
	return p, err == nil, fail("read payload", err)
}

// Attempts implements results.Driver.
func (d *Driver) Attempts(ctx context.Context, id task.ID) ([][]byte, error) {
	reply, err := d.run(ctx, "read attempts", attemptsScript, []string{d.keys.row(id)}, maxAttempts)
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	out := make([][]byte, len(list))
	for i, a := range list {
		s, ok := a.(string)
		if !ok {
			return nil, fail("read attempts", errReply)
		}
		out[i] = []byte(s)
	}
	return out, nil
}

// Await implements results.Driver.
func (d *Driver) Await(ctx context.Context, id task.ID, t results.Topic) (results.Row, error) {
	reply, err := d.run(ctx, "await", awaitScript, []string{d.keys.row(id), d.keys.waits(id)},
		string(t), waitFor.Milliseconds())
	if err != nil {
		return results.Row{}, err
	}
	return rowOf(id, reply)
}
