package redis

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/task"
)

//go:embed grant.lua
var grantLua string

var grantScript = redis.NewScript(grantLua)

// Grant implements results.Driver. Asking twice, as a pipeline may, gives the
// same.
func (d *Driver) Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error) {
	cmds := make([]*redis.Cmd, len(asks))
	err := d.pipe(ctx, "grant", []*redis.Script{grantScript}, func(p redis.Pipeliner) {
		for i, a := range asks {
			cmds[i] = grantScript.EvalSha(ctx, p, []string{d.keys.quota(a.Name)}, owner, a.Limit, a.Want, a.Held, ttl.Milliseconds())
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]int, len(asks))
	for i, c := range cmds {
		if out[i], err = c.Int(); err != nil {
			return nil, fail("grant", errReply)
		}
	}
	return out, nil
}
