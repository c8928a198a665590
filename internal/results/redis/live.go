package redis

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/results"
)

// Beat implements results.Driver.
func (d *Driver) Beat(ctx context.Context, owner string, ttl time.Duration) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return fail("beat", d.c.Set(ctx, d.keys.ns+":beat:"+owner, "", ttl).Err())
}

// Alive implements results.Driver.
func (d *Driver) Alive(ctx context.Context, owner string) (bool, error) {
	if err := d.open(ctx); err != nil {
		return false, err
	}
	n, err := d.c.Exists(ctx, d.keys.ns+":beat:"+owner).Result()
	return n == 1, fail("ask for a beat", err)
}

// Lead implements results.Driver.
func (d *Driver) Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	reply, err := d.run(ctx, "lead", leadScript, []string{d.keys.ns + ":lead:" + name}, owner, ttl.Milliseconds())
	return reply == int64(1), err
}

// Hint implements results.Driver.
func (d *Driver) Hint(ctx context.Context, t results.Topic, msg string) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	return fail("hint", d.c.Publish(ctx, d.keys.channel(t), msg).Err())
}

// Subscribe implements results.Driver.
func (d *Driver) Subscribe(ctx context.Context, t results.Topic, fn func(msg string), reset func()) error {
	if d.ctx.Err() != nil {
		return fail("subscribe", errClosed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	err := d.db.Subscribe(ctx, d.keys.channel(t), fn, reset)
	if err == nil && d.ctx.Err() != nil {
		err = errClosed
	}
	return fail("subscribe", err)
}
