package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	channel = "results"
	keep    = 24 * time.Hour
	// conns is for 64 callers at once, and some.
	conns = 128
)

// Redis keeps results, and tells of them by publish and subscribe.
type Redis struct{ c *redis.Client }

// OpenRedis connects.
func OpenRedis(url string) (*Redis, error) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	opt.PoolSize = conns
	return &Redis{c: redis.NewClient(opt)}, nil
}

// Store keeps a result and tells of it, in one round trip.
func (r *Redis) Store(ctx context.Context, id string, result []byte) error {
	_, err := r.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "result:"+id, result, keep)
		p.Publish(ctx, channel, id+"\n"+string(result))
		return nil
	})
	return err
}

// Stored reads a result.
func (r *Redis) Stored(ctx context.Context, id string) ([]byte, bool, error) {
	b, err := r.c.Get(ctx, "result:"+id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return b, err == nil, err
}

// Listen delivers what is told until ctx ends. It returns once it hears.
func (r *Redis) Listen(ctx context.Context, w *Waiters) error {
	sub := r.c.Subscribe(ctx, channel)
	if _, err := sub.Receive(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	go func() {
		for {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				continue // the library connects again
			}
			id, result, _ := strings.Cut(m.Payload, "\n")
			w.Deliver(id, []byte(result))
		}
	}()
	return nil
}
