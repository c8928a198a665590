package app

import (
	"context"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/dispatch"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
	"github.com/taskgate/taskgate/internal/telemetry"
)

// tracing makes the tracer, if traces are wanted. Without one nothing of this
// file runs while the process works.
func (a *App) tracing() error {
	if a.cfg.OTLPEndpoint == "" {
		return nil
	}
	store, queue := "redis", "rabbitmq"
	if a.cfg.Role.Embedded() {
		store, queue = "sqlite", "taskgate"
	}
	t, err := telemetry.NewTracer(telemetry.TraceOptions{
		Endpoint: a.cfg.OTLPEndpoint, Headers: a.cfg.OTLPHeaders, Sample: a.cfg.TraceSample,
		Continue: a.cfg.TraceCallers == config.TraceContinue,
		Service:  a.name(), Version: Version(), Instance: a.owner, Store: store, Broker: queue,
		Logger: a.log, Exported: a.metrics.Exported,
	})
	if err != nil {
		return fmt.Errorf("TASKGATE_OTLP_ENDPOINT: %w", err)
	}
	a.tracer = t
	a.onStop("traces", func(ctx context.Context) error {
		t.Close(ctx)
		return nil
	})
	return nil
}

// storeTrace follows calls of the store; nil when nobody wants traces.
func (a *App) storeTrace() results.Tracer {
	if a.tracer == nil {
		return nil
	}
	return a.tracer.Store
}

// engineQueue is the queue for the engine.
func (a *App) engineQueue(q *broker.Queue) lifecycle.Queue {
	if a.tracer == nil {
		return q
	}
	return tracedQueue{q, a.tracer}
}

// tracedQueue follows publishes.
type tracedQueue struct {
	*broker.Queue

	t *telemetry.Tracer
}

// Publish implements lifecycle.Queue.
func (q tracedQueue) Publish(ctx context.Context, m task.Message) error {
	ctx, end := q.t.Publish(ctx, &m)
	err := q.Queue.Publish(ctx, m)
	end(err)
	return err
}

// engine is what of the lifecycle the roles call.
type engine interface {
	api.Engine
	dispatch.Engine
}

func (a *App) engine(b *backends) engine {
	if a.tracer == nil {
		return b.engine
	}
	return tracedEngine{b.engine, a.tracer}
}

// tracedEngine follows what it does on behalf of requests and attempts.
type tracedEngine struct {
	*lifecycle.Engine

	t *telemetry.Tracer
}

// Accept has the task remember the span that submitted it.
func (e tracedEngine) Accept(ctx context.Context, s lifecycle.Submission) (lifecycle.Receipt, error) {
	if own := telemetry.TraceParent(ctx); own != "" {
		s.TraceParent = own
	}
	r, err := e.Engine.Accept(ctx, s)
	if err == nil {
		e.t.Accepted(ctx, r.Task.ID, r.Task.Endpoint)
	}
	return r, err
}

// Settle implements dispatch.Engine.
func (e tracedEngine) Settle(
	ctx context.Context, run *lifecycle.Running, p task.Policy, o task.Outcome,
) (task.Decision, error) {
	ctx, end := e.t.Settle(ctx)
	d, err := e.Engine.Settle(ctx, run, p, o)
	end(err)
	return d, err
}

// attemptTrace begins the spans of attempts; nil when nobody wants traces.
func (a *App) attemptTrace() dispatch.Tracer {
	if a.tracer == nil {
		return nil
	}
	return func(ep *task.Endpoint, run *lifecycle.Running, begun time.Time) dispatch.Span {
		return a.tracer.Attempt(ep, run.Message, run.Record.Starts, run.Record.Suspect, begun)
	}
}
