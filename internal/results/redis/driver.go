package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/redisdb"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	// waitFor is how long a registration of Await lasts: 90 s and a margin.
	waitFor = 100 * time.Second
	// maxAttempts is how many attempts of a task are kept.
	maxAttempts = 1000
)

// Driver is a [results.Driver].
type Driver struct {
	db   *redisdb.DB
	c    redisdb.Client
	keys keys

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu    sync.Mutex
	walks map[string][]walk // what Forget has still to look at, by project
}

var _ results.Driver = (*Driver)(nil)

// New makes a driver on a Redis whose keys all begin with namespace. The DB
// stays the caller's to close.
func New(db *redisdb.DB, namespace string) *Driver {
	ctx, cancel := context.WithCancel(context.Background())
	return &Driver{
		db: db, c: db.Client(), keys: newKeys(namespace), ctx: ctx, stop: cancel,
		walks: make(map[string][]walk),
	}
}

// Close ends the driver, not its DB.
func (d *Driver) Close() error {
	d.stop()
	return nil
}

// fail wraps what a call came to. redis.Nil is an answer, not a failure.
func fail(what string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", what, results.ErrUnavailable, err)
}

var errClosed = errors.New("driver is closed")

// open refuses calls after Close and calls whose time is over.
func (d *Driver) open(ctx context.Context) error {
	if d.ctx.Err() != nil {
		return fail("redis", errClosed)
	}
	if ctx.Err() != nil {
		return fail("redis", context.Cause(ctx))
	}
	return nil
}

// done is the answer of a script that did what was asked and has nothing to
// tell. A nil would be an error to go-redis, which looks at every error's chain
// to see whether to try again.
var done any = int64(1)

// run runs a script.
func (d *Driver) run(
	ctx context.Context, what string, s *redis.Script, keys []string, args ...any,
) (reply any, err error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	reply, err = d.db.Run(ctx, s, keys, args...)
	return reply, fail(what, err)
}

// pipe runs many commands in one round trip; a script that the server has
// forgotten is loaded and the pipeline run again, so only scripts that may
// run twice go here.
func (d *Driver) pipe(
	ctx context.Context, what string, scripts []*redis.Script, fill func(redis.Pipeliner),
) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	_, err := d.c.Pipelined(ctx, func(p redis.Pipeliner) error { fill(p); return nil })
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		for _, s := range scripts {
			if err := s.Load(ctx, d.c).Err(); err != nil {
				return fail(what, err)
			}
		}
		_, err = d.c.Pipelined(ctx, func(p redis.Pipeliner) error { fill(p); return nil })
	}
	return fail(what, err)
}

var errReply = errors.New("unexpected reply")

// row reads the values v, h, s, f of a script's or HMGET's reply.
func row(id task.ID, reply []any) (results.Row, error) {
	if len(reply) != rowFields {
		return results.Row{}, fail("read row", errReply)
	}
	version, ok := reply[0].(string)
	if !ok {
		return results.Row{}, nil
	}
	v, err := strconv.ParseInt(version, 10, 64)
	head, hok := reply[1].(string)
	spec, sok := reply[2].(string)
	if err != nil || !hok || !sok {
		return results.Row{}, fail("read row", errReply)
	}
	r := results.Row{ID: id, Version: v, Head: []byte(head), Spec: []byte(spec)}
	if flag, ok := reply[3].(string); ok {
		if r.Flag, err = strconv.Atoi(flag); err != nil {
			return results.Row{}, fail("read row", errReply)
		}
	}
	return r, nil
}

const rowFields = 4

func rowOf(id task.ID, reply any) (results.Row, error) {
	fields, _ := reply.([]any)
	return row(id, fields)
}

// Ready implements results.Driver.
func (d *Driver) Ready(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return fail("ping", d.c.Ping(ctx).Err())
}
