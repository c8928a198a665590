package redis

import (
	"context"
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

//go:embed usage.lua
var usageLua string

var usageScript = redis.NewScript(usageLua)

// What a row takes up is added to one of its project's sums in the script that
// writes the row, and taken off by the one that changes it: both happen, or
// neither. The row itself keeps what was added, as "<sum> <n>".
//
// A row that its TTL removes takes nothing off. So there is a sum for each day
// (live rows) or hour (others) in which rows end, and it counts until then: no
// error lasts, and nothing is ever counted anew.
const (
	// Of live rows a sum holds how many, and below that their bytes: one
	// command changes both.
	usageBits  = 40
	usageBytes = 1<<usageBits - 1

	liveUntil  = 24 * time.Hour
	otherUntil = time.Hour
)

// charge is what a row adds; "" for nothing.
func charge(ix *results.Index, keepTill time.Time) string {
	bytes := min(max(ix.Bytes, 0), usageBytes)
	switch {
	case ix.Lane != 0:
		return "w" + unit(keepTill, liveUntil) + " " + strconv.FormatInt(1<<usageBits+bytes, 10)
	case bytes > 0:
		return "k" + unit(keepTill, otherUntil) + " " + strconv.FormatInt(bytes, 10)
	}
	return ""
}

// unit is the number of the day or hour of t.
func unit(t time.Time, d time.Duration) string {
	return strconv.FormatInt(millis(t)/d.Milliseconds(), 10)
}

// Usage implements results.Driver.
func (d *Driver) Usage(ctx context.Context, project string) (task.Usage, error) {
	now := time.Now()
	cmds := make([]*redis.Cmd, len(d.keys.shards))
	err := d.pipe(ctx, "usage", []*redis.Script{usageScript}, func(p redis.Pipeliner) {
		for i, tag := range d.keys.shards {
			cmds[i] = usageScript.EvalSha(ctx, p, []string{tag + "u:" + project}, unit(now, liveUntil), unit(now, otherUntil))
		}
	})
	var out task.Usage
	for _, c := range cmds {
		if err == nil {
			err = sumUsage(c, &out)
		}
	}
	return out, err
}

func sumUsage(c *redis.Cmd, out *task.Usage) error {
	sums, err := c.StringSlice()
	if err != nil || len(sums)%2 != 0 {
		return fail("usage", errReply)
	}
	for i := 0; i < len(sums); i += 2 {
		n, err := strconv.ParseInt(sums[i+1], 10, 64)
		if err != nil {
			return fail("usage", errReply)
		}
		if sums[i][0] == 'w' {
			out.WaitingTasks += n >> usageBits
			out.WaitingBytes += n & usageBytes
		} else {
			out.KeptBytes += n
		}
	}
	return nil
}
