package redis

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/results"
)

var (
	//go:embed tally.lua
	tallyLua string
	//go:embed tallied.lua
	talliedLua string

	tallyScript   = redis.NewScript(tallyLua)
	talliedScript = redis.NewScript(talliedLua)
)

// Tally implements results.Driver.
func (d *Driver) Tally(ctx context.Context, owner string, minute int64, ts []results.Tally, ttl time.Duration) error {
	return d.pipe(ctx, "tally", []*redis.Script{tallyScript}, func(p redis.Pipeliner) {
		for _, t := range ts {
			args := []any{results.TallyKept.Milliseconds(), owner, t.Level, ttl.Milliseconds()}
			for _, c := range t.Counts {
				args = append(args, c.Counter, c.N)
			}
			tallyScript.EvalSha(ctx, p, []string{d.keys.counters(t.Name, minute), d.keys.levels(t.Name)}, args...)
		}
	})
}

// Tallied implements results.Driver.
func (d *Driver) Tallied(ctx context.Context, names []string, first, last int64) ([]results.Tallied, error) {
	cmds := make([]*redis.Cmd, len(names))
	err := d.pipe(ctx, "tallied", []*redis.Script{talliedScript}, func(p redis.Pipeliner) {
		for i, name := range names {
			keys := []string{d.keys.levels(name)}
			for m := first; m <= last; m++ {
				keys = append(keys, d.keys.counters(name, m))
			}
			cmds[i] = talliedScript.EvalSha(ctx, p, keys)
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]results.Tallied, len(names))
	for i, c := range cmds {
		if out[i], err = tallied(c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// tallied reads {level, counter, n, …}.
func tallied(c *redis.Cmd) (out results.Tallied, err error) {
	reply, err := c.Int64Slice()
	if err != nil || len(reply)%2 != 1 {
		return out, fail("tallied", errReply)
	}
	out.Level = int(reply[0])
	for i := 1; i < len(reply); i += 2 {
		out.Counts = append(out.Counts, results.Count{Counter: int(reply[i]), N: reply[i+1]})
	}
	return out, nil
}
