package app

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/taskgate/taskgate/internal/dispatch"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// trials has a dispatcher call handlers, for the gateway. Nothing secret
// travels: the dispatcher knows the endpoint.
type trials struct{ calls *results.Calls }

func (t trials) Try(ctx context.Context, trial task.Trial) (out task.TrialResult, err error) {
	body, err := json.Marshal(trial)
	if err != nil {
		return out, fmt.Errorf("encode trial: %w", err)
	}
	if body, err = t.calls.Call(ctx, body); err != nil {
		return out, err
	}
	if err = json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("decode trial's result: %w", err)
	}
	return out, nil
}

// trialsAtOnce bounds what one dispatcher does for people who wait, beside
// its tasks.
const trialsAtOnce = 16

// serveTrials takes trials for the dispatcher.
func (a *App) serveTrials(b *backends, d *dispatch.Dispatcher) {
	a.background("trials", func(ctx context.Context) error {
		return b.store.ServeCalls(ctx, a.owner, trialsAtOnce, func(ctx context.Context, body []byte) []byte {
			return a.try(ctx, b, d, body)
		})
	})
}

func (a *App) try(ctx context.Context, b *backends, d *dispatch.Dispatcher, body []byte) []byte {
	var trial task.Trial
	if err := json.Unmarshal(body, &trial); err != nil {
		a.log.ErrorContext(ctx, "trial cannot be read", "bytes", len(body)) // the cause would quote it
		return nil
	}
	// The endpoint may have been changed a moment ago, to be tried now.
	if err := b.registry.Sync(ctx); err != nil {
		a.log.DebugContext(ctx, "trial of an endpoint that may be stale", "error", err)
	}
	out, err := json.Marshal(d.Try(ctx, &trial))
	if err != nil {
		a.log.ErrorContext(ctx, "trial's result cannot be written", "error", err)
	}
	return out
}
