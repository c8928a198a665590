package load

import (
	"context"

	"github.com/taskgate/taskgate/bench/internal/intake"
	"github.com/taskgate/taskgate/bench/internal/peer"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// riverTarget inserts into PostgreSQL, and hears of results by one LISTEN.
type riverTarget struct {
	client  *peer.RiverClient
	waiters *intake.Waiters
}

func newRiver(ctx context.Context, t wire.Target) (*riverTarget, error) {
	client, err := peer.NewRiverClient(ctx, t.Postgres)
	if err != nil {
		return nil, err
	}
	// The id is known once the job is inserted; its result may be faster.
	r := &riverTarget{client: client, waiters: intake.NewWaiters(true)}
	return r, client.Listen(ctx, r.waiters)
}

func (r *riverTarget) submit(ctx context.Context, _ int64, payload []byte) (string, error) {
	return r.client.Enqueue(ctx, "", payload)
}

func (r *riverTarget) result(ctx context.Context, id string) ([]byte, error) {
	c := r.waiters.Join(id)
	defer r.waiters.Leave(id)
	select {
	case b := <-c:
		if b != nil {
			return b, nil
		}
		b, _, err := r.client.Stored(ctx, id) // too long for a notification
		return b, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *riverTarget) close() { r.client.Close() }
