package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/dispatch"
	"github.com/taskgate/taskgate/internal/task"
)

// dispatcher starts deliveries.
func (a *App) dispatcher(ctx context.Context, b *backends) error {
	d, err := dispatch.New(dispatch.Deps{
		Projects: b.registry.ProjectNames,
		Secrets:  b.secrets.open,
		Engine:   a.engine(b), Keeper: keeper{b.engine, a.metrics}, Endpoints: operators{b.registry, a.audit}, Source: source{b.queue},
		Quotas: b.store, Tallies: b.store, Circuits: b.store,
	}, dispatch.Options{
		Owner:  a.owner,
		Sender: dispatch.SenderOptions{Guard: a.guard(), Version: Version(), CAFile: a.cfg.EgressCAFile, Open: b.secrets.openTarget},
		Pool:   dispatch.PoolOptions{Total: a.cfg.Concurrency, Bytes: int64(a.cfg.MaxHeldBytes)},
		Grace:  a.cfg.ShutdownGrace, Logger: a.log, Observers: dispatch.Observers{a.metrics},
		Trace: a.attemptTrace(), Now: a.now,
	})
	if err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	a.background("queue upkeep", func(ctx context.Context) error {
		return b.queue.Maintain(ctx, func(ctx context.Context, m task.Message) (broker.Fate, error) {
			return fate(ctx, b, &m)
		})
	})
	a.background("canaries", b.canary.Run)
	a.background("cancellations", func(ctx context.Context) error { return b.store.OnCancel(ctx, d.Abort) })
	a.serveTrials(b, d)
	d.Start(ctx)
	a.onStop("dispatcher", func(stop context.Context) error {
		stop, cancel := context.WithTimeout(stop, a.cfg.ShutdownGrace)
		defer cancel()
		return d.Stop(stop)
	})
	return nil
}

// fate decides what becomes of a message that found no queue: its task ends
// when the owner deleted the endpoint, otherwise the message is held.
func fate(ctx context.Context, b *backends, m *task.Message) (broker.Fate, error) {
	_, deleted, known := b.registry.EndpointByID(m.EndpointID())
	if !deleted {
		// A deletion is told to the registry first; perhaps not to us yet.
		if err := b.registry.Sync(ctx); err != nil {
			return broker.Hold, err
		}
		_, deleted, known = b.registry.EndpointByID(m.EndpointID())
	}
	if known || !deleted {
		return broker.Hold, nil
	}
	if err := b.engine.EndOrphan(ctx, m); err != nil {
		return broker.Hold, err
	}
	return broker.Drop, nil
}

// renoteEvery is how often a gateway tells a store that is back of what was
// accepted meanwhile.
const renoteEvery = 5 * time.Second

func (a *App) renote(b *backends) {
	a.background("acceptances", func(ctx context.Context) error {
		tick := time.NewTicker(renoteEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			if err := b.engine.Renote(ctx); err != nil {
				a.log.DebugContext(ctx, "acceptances still not noted", "error", err)
			}
		}
	})
}

// source is the queue in the dispatcher's words.
type source struct{ q *broker.Queue }

func (s source) Consume(
	ctx context.Context, id task.EndpointID, prefetch int, h func(dispatch.Delivery),
) (dispatch.Consumer, error) {
	return s.q.Consume(ctx, id, prefetch, func(d *broker.TaskDelivery) { h(delivery{d}) })
}

func (s source) ConsumeQuarantine(
	ctx context.Context, prefetch int, h func(dispatch.Delivery),
) (dispatch.Consumer, error) {
	return s.q.ConsumeQuarantine(ctx, prefetch, func(d *broker.TaskDelivery) { h(delivery{d}) })
}

func (s source) ConsumeParked(
	ctx context.Context, prefetch int, h func(dispatch.Parked),
) (dispatch.Consumer, error) {
	return s.q.ConsumeParked(ctx, prefetch, func(d *broker.ParkedDelivery) { h(parked{d}) })
}

type delivery struct{ *broker.TaskDelivery }

func (d delivery) Ack(ctx context.Context) error { return gone(d.TaskDelivery.Ack(ctx)) }

func (d delivery) Postpone(ctx context.Context, eta time.Time) error {
	return gone(d.TaskDelivery.Postpone(ctx, eta))
}

func (d delivery) Release(ctx context.Context) error { return gone(d.TaskDelivery.Release(ctx)) }

// gone says in the dispatcher's words that a delivery is no longer ours.
func gone(err error) error {
	if errors.Is(err, broker.ErrClosed) {
		return fmt.Errorf("%w: %w", dispatch.ErrGone, err)
	}
	return err
}

func (d delivery) Message() *task.Message { return &d.TaskDelivery.Message }
func (d delivery) Redelivered() bool      { return d.TaskDelivery.Redelivered }

type parked struct{ *broker.ParkedDelivery }

func (p parked) Ack(ctx context.Context) error { return gone(p.ParkedDelivery.Ack(ctx)) }

func (p parked) Postpone(ctx context.Context, eta time.Time) error {
	return gone(p.ParkedDelivery.Postpone(ctx, eta))
}

func (p parked) Body() []byte { return p.ParkedDelivery.Body }
