package dispatch

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// trialTimeout bounds a trial beside the endpoint's own timeout: somebody
// waits for it.
const trialTimeout = 30 * time.Second

// Try makes one call of an endpoint's handler that is no task's, by the same
// sender, guard and secrets, beside the endpoint's limits and whether or not
// it is paused. ctx's end interrupts it.
func (d *Dispatcher) Try(ctx context.Context, t *task.Trial) task.TrialResult {
	h := d.handler
	ep, _, ok := h.endpoints.EndpointByID(task.MakeEndpointID(t.Project, t.Endpoint))
	if !ok {
		return task.TrialResult{Unknown: true}
	}
	now := h.now()
	m := task.First(task.Envelope{
		Spec: task.Spec{
			ID: t.ID, Project: t.Project, Endpoint: t.Endpoint, CreatedAt: now,
			ContentType: t.Type, Headers: t.Headers, PayloadSize: len(t.Payload),
		},
		Payload: t.Payload,
	}, 0)
	policy := ep.Policy(&m.Spec)
	// Ended from outside it is our interruption, not the handler's delay.
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ErrShutdown) })()
	o := task.Outcome{Kind: task.KindRetry, Reason: task.ReasonInternal}
	h.panics(ctx, h.log, "trial", func() { o = d.try(run, ep, &m, policy) })
	return tried(policy, &m, o, now)
}

func (d *Dispatcher) try(ctx context.Context, ep *task.Endpoint, m *task.Message, p task.Policy) task.Outcome {
	h := d.handler
	secrets, err := h.secrets(ep)
	if err != nil {
		h.log.ErrorContext(ctx, "signing secret cannot be opened", "endpoint", ep.Name, "error", err)
		return task.Outcome{Kind: task.KindRetry, Reason: task.ReasonInternal}
	}
	a := h.sender.Send(ctx, &Request{
		Endpoint: ep, Message: m, Secrets: secrets, Attempt: 1, MaxAttempts: p.MaxAttempts, Test: true,
		Timeout: min(ep.TimeoutFor(&m.Spec), trialTimeout),
	})
	return Verdict(a, p, ep.Result, h.now())
}

// tried says what came of it, and what would have become of a task.
func tried(p task.Policy, m *task.Message, o task.Outcome, now time.Time) task.TrialResult {
	record := m.Expected()
	d := task.Decide(p, &record, o, now, 0)
	out := task.TrialResult{
		Kind: o.Kind, Reason: o.Reason, Status: o.Status, Took: task.Duration(o.Took), Answer: o.Answer,
		State: d.State, TaskReason: d.Reason, Disables: d.DisableEndpoint,
	}
	if d.State == task.Retrying {
		out.NextIn = task.Duration(d.At.Sub(now))
	}
	return out
}
