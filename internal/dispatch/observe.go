package dispatch

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"

	"github.com/taskgate/taskgate/internal/task"
)

// Observer is told of attempts, by many goroutines at once. It must not block.
type Observer interface {
	// Begun: an attempt begins, late after the moment it was due.
	Begun(ep *task.Endpoint, late time.Duration)
	// Ended follows every Begun. settled says whether the outcome is durable;
	// if not, the task is delivered again and d means nothing.
	Ended(ep *task.Endpoint, o task.Outcome, d task.Decision, settled bool)
}

// Observers tells each of them.
type Observers []Observer

// Begun implements [Observer].
func (all Observers) Begun(ep *task.Endpoint, late time.Duration) {
	for _, o := range all {
		o.Begun(ep, late)
	}
}

// Ended implements [Observer].
func (all Observers) Ended(ep *task.Endpoint, o task.Outcome, d task.Decision, settled bool) {
	for _, each := range all {
		each.Ended(ep, o, d, settled)
	}
}

// Span follows one attempt through a trace.
type Span interface {
	// In returns ctx with the span in it.
	In(ctx context.Context) context.Context
	// TraceParent is for the handler (W3C Trace Context).
	TraceParent() string
	// End is told what came of the attempt: see [Observer].
	End(o task.Outcome, d task.Decision, settled bool)
}

// Tracer begins the span of an attempt.
type Tracer func(ep *task.Endpoint, run *lifecycle.Running, begun time.Time) Span

// untraced is the span of an attempt that nobody follows: the handler gets
// the submitter's. It is the message itself, so that it costs nothing.
type untraced task.Message

func (*untraced) In(ctx context.Context) context.Context { return ctx }
func (u *untraced) TraceParent() string                  { return u.Spec.TraceParent }
func (*untraced) End(task.Outcome, task.Decision, bool)  {}

func (h *Handler) span(ep *task.Endpoint, run *lifecycle.Running, begun time.Time) Span {
	if h.trace == nil {
		return (*untraced)(run.Message)
	}
	return h.trace(ep, run, begun)
}

// lateness is how long after its due moment a message's attempt begins.
func lateness(m *task.Message, begun time.Time) time.Duration {
	due := m.ETA
	if due.IsZero() { // at once
		due = m.Born
	}
	if due.IsZero() {
		return 0
	}
	return max(begun.Sub(due), 0)
}
