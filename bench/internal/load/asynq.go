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

	mu     sync.Mutex
	joined map[string]<-chan []byte // by id
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
	a := &asynqTarget{client: client, waiters: intake.NewWaiters(false), joined: map[string]<-chan []byte{}}
	return a, results.Listen(ctx, a.waiters)
}

func (a *asynqTarget) submit(ctx context.Context, _ int64, payload []byte) (string, error) {
	id := rand.Text()
	c := a.waiters.Join(id)
	a.mu.Lock()
	a.joined[id] = c
	a.mu.Unlock()
	return a.client.Enqueue(ctx, id, payload)
}

func (a *asynqTarget) result(ctx context.Context, id string) ([]byte, error) {
	defer a.waiters.Leave(id)
	a.mu.Lock()
	c := a.joined[id]
	delete(a.joined, id)
	a.mu.Unlock()
	select {
	case b := <-c:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *asynqTarget) close() { a.client.Close() }
