package load

import (
	"context"
	"crypto/rand"
	"sync"

	"github.com/taskgate/taskgate/bench/internal/intake"
	"github.com/taskgate/taskgate/bench/internal/peer"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// asynqTarget enqueues straight into Redis, and hears of results by one subscription.
type asynqTarget struct {
	client  *peer.AsynqClient
	waiters *intake.Waiters
	joined  sync.Map // of <-chan []byte by id
}

func newAsynq(ctx context.Context, t wire.Target) (*asynqTarget, error) {
	results, err := intake.OpenRedis(t.Redis)
	if err != nil {
		return nil, err
	}
	client, err := peer.NewAsynqClient(t.Redis, results)
	if err != nil {
		return nil, err
	}
	a := &asynqTarget{client: client, waiters: intake.NewWaiters(false)}
	return a, results.Listen(ctx, a.waiters)
}

func (a *asynqTarget) submit(ctx context.Context, _ int64, payload []byte) (string, error) {
	id := rand.Text()
	a.joined.Store(id, a.waiters.Join(id))
	return a.client.Enqueue(ctx, id, payload)
}

func (a *asynqTarget) result(ctx context.Context, id string) ([]byte, error) {
	defer a.waiters.Leave(id)
	c, _ := a.joined.LoadAndDelete(id)
	select {
	case b := <-c.(<-chan []byte): //nolint:forcetypeassert // the map holds nothing else
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *asynqTarget) close() { a.client.Close() }
