package redis

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/task"
)

//go:embed take.lua
var takeLua string

var takeScript = redis.NewScript(takeLua)

// Take implements results.Driver. A pipeline that a forgotten script made run
// twice may take twice: that is within the rate.
func (d *Driver) Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error) {
	cmds := make([]*redis.Cmd, len(asks))
	err := d.pipe(ctx, "take", []*redis.Script{takeScript}, func(p redis.Pipeliner) {
		for i, a := range asks {
			cmds[i] = takeScript.EvalSha(ctx, p, []string{d.keys.rate(a.Name)}, a.Rate.PerSecond, a.Rate.Burst, a.Want)
		}
	})
	if err != nil {
		return nil, err
	}
	const fields = 3
	out := make([]task.Taken, len(asks))
	for i, c := range cmds {
		got, err := c.Int64Slice()
		if err != nil || len(got) != fields {
			return nil, fail("take", errReply)
		}
		out[i] = task.Taken{N: int(got[0]), Left: int(got[1]), Wait: time.Duration(got[2]) * time.Microsecond}
	}
	return out, nil
}
