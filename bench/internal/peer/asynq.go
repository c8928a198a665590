// Package peer runs the job systems that Taskgate is compared with, at their documented good
// settings (bench/README.md says which, and why).
package peer

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/taskgate/taskgate/bench/internal/deliver"
	"github.com/taskgate/taskgate/bench/internal/intake"
)

// asynqCheck is how long the worker sleeps when its queue is empty. It does not block on Redis, so the
// default of 1 s would be its latency.
const asynqCheck = 2 * time.Millisecond

const asynqType = "post"

// AsynqClient enqueues.
type AsynqClient struct {
	*intake.Redis

	client *asynq.Client
}

// NewAsynqClient connects.
func NewAsynqClient(url string, results *intake.Redis) (*AsynqClient, error) {
	opt, err := asynqRedis(url)
	if err != nil {
		return nil, err
	}
	return &AsynqClient{Redis: results, client: asynq.NewClient(opt)}, nil
}

func asynqRedis(url string) (asynq.RedisClientOpt, error) {
	opt, err := asynq.ParseRedisURI(url)
	if err != nil {
		return asynq.RedisClientOpt{}, fmt.Errorf("redis URL: %w", err)
	}
	client, ok := opt.(asynq.RedisClientOpt)
	if !ok {
		return client, fmt.Errorf("not the URL of a single Redis: %s", url)
	}
	client.PoolSize = 2 * AsynqConcurrency
	return client, nil
}

// Close closes the client.
func (a *AsynqClient) Close() { _ = a.client.Close() }

// Enqueue implements [intake.Queue].
func (a *AsynqClient) Enqueue(ctx context.Context, id string, payload []byte) (string, error) {
	_, err := a.client.EnqueueContext(ctx, asynq.NewTask(asynqType, payload), asynq.TaskID(id))
	return id, err
}

// AsynqConcurrency is how many tasks a worker runs at once: the default is one for each CPU, and
// the documentation asks for more when tasks wait for others.
const AsynqConcurrency = 64

// ServeAsynq works tasks until ctx ends. The result is kept and told as in the bare chain: in one
// round trip more than Asynq's own.
func ServeAsynq(ctx context.Context, url, handler string, results *intake.Redis, ready func()) error {
	opt, err := asynqRedis(url)
	if err != nil {
		return err
	}
	srv := asynq.NewServer(opt, asynq.Config{
		Concurrency: AsynqConcurrency, LogLevel: asynq.ErrorLevel, TaskCheckInterval: asynqCheck,
	})
	poster := deliver.New(handler)
	work := func(ctx context.Context, t *asynq.Task) error {
		id := t.ResultWriter().TaskID()
		answer, err := poster.Post(ctx, id, t.Payload())
		if err != nil {
			return err
		}
		return results.Store(ctx, id, answer)
	}
	if err := srv.Start(asynq.HandlerFunc(work)); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	srv.Shutdown()
	return nil
}
