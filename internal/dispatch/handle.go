package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// Waits of a delivery that goes on later.
const (
	busyWait  = time.Second      // its task is in flight in this process
	faultWait = 5 * time.Second  // a fault of ours before the attempt began
	unsettled = 30 * time.Second // its outcome could not be stored anywhere
)

// Bounds of the tries to end a delivery or an attempt.
const (
	firstPause   = 100 * time.Millisecond
	mostPause    = 2 * time.Second
	disableTries = 4 // the next 410 tries again
	warnTry      = 4
	finishTime   = 10 * time.Second
)

// sending makes one attempt; a [Sender] does.
type sending interface {
	Send(ctx context.Context, r *Request) *Answer
}

// Handler takes deliveries through an attempt.
type Handler struct {
	engine    Engine
	endpoints Endpoints
	sender    sending
	secrets   Secrets
	observe   Observers
	trace     Tracer // nil: attempts are not followed
	log       *slog.Logger
	now       func() time.Time
	flights   flights
}

// Job is one delivery to handle.
type Job struct {
	Delivery
	Endpoint *task.Endpoint
	// MaxTimeout lowers the attempt's timeout; 0 does not.
	MaxTimeout time.Duration
	// Reading is told of an answer's bytes.
	Reading func(n int)
	// Ended, if set, is told what an attempt came to, before that is stored.
	Ended func(o *task.Outcome)
}

// Handle takes one delivery to its end: acknowledged, postponed, released, or
// left unfinished for the queue to deliver again. work bounds the attempt
// (its cause says why it ends); last bounds everything.
func (h *Handler) Handle(work, last context.Context, j Job) {
	m := j.Message()
	log := h.log.With("task", m.ID, "endpoint", m.Endpoint, "gen", m.Gen, "seq", m.Seq)
	if work.Err() != nil {
		h.finish(last, log, "release", j.Release)
		return
	}
	flight, ok := h.flights.begin(work, m.ID)
	if !ok {
		h.postpone(last, log, j, h.now().Add(busyWait))
		return
	}
	defer h.flights.end(m.ID)
	timeout := j.Endpoint.TimeoutFor(&m.Spec)
	if j.MaxTimeout > 0 {
		timeout = min(timeout, j.MaxTimeout)
	}
	start, ok := h.begin(last, log, j, timeout)
	switch {
	case !ok:
		h.postpone(last, log, j, h.now().Add(faultWait))
	case start.Run != nil:
		h.attempt(flight, last, log, j, start.Run, timeout)
	case start.Later.IsZero():
		log.DebugContext(last, "message done with, no attempt", "ended", start.Ended)
		h.finish(last, log, "acknowledge", j.Ack)
	default:
		log.DebugContext(last, "message comes again later", "at", start.Later)
		h.postpone(last, log, j, start.Later)
	}
}

func (h *Handler) begin(ctx context.Context, log *slog.Logger, j Job, timeout time.Duration) (s lifecycle.Start, ok bool) {
	var err error
	if h.panics(ctx, log, "begin", func() {
		s, err = h.engine.Begin(ctx, j.Message(), j.Redelivered(), timeout)
	}) {
		return s, false
	}
	if err != nil {
		log.ErrorContext(ctx, "attempt not begun", "error", err)
	}
	return s, err == nil
}

// attempt runs and settles an attempt that has begun.
func (h *Handler) attempt(
	flight, last context.Context, log *slog.Logger, j Job, run *lifecycle.Running, timeout time.Duration,
) {
	log = log.With("attempt", run.Record.Starts)
	policy := j.Endpoint.Policy(&j.Message().Spec)
	begun := h.now()
	h.observe.Begun(j.Endpoint, lateness(j.Message(), begun))
	span := h.span(j.Endpoint, run, begun)
	flight, last = span.In(flight), span.In(last)
	o := task.Outcome{Kind: task.KindRetry, Reason: task.ReasonInternal, Unanswered: true}
	if h.panics(last, log, "attempt", func() { o = h.send(flight, log, j, run, span.TraceParent(), policy, timeout) }) {
		o.Took = h.now().Sub(begun)
	}
	if j.Ended != nil {
		j.Ended(&o)
	}
	d, ok := h.settle(last, log, run, policy, o)
	h.observe.Ended(j.Endpoint, o, d, ok)
	span.End(o, d, ok)
	if !ok {
		// The queue keeps the message; by then the lease has died. Nothing
		// but this mark may tell of the attempt.
		j.Doubt()
		h.postpone(last, log, j, h.now().Add(unsettled))
		return
	}
	report(last, log, o, d)
	if d.DisableEndpoint && !j.Endpoint.Builtin { // of its many receivers one is gone
		h.disable(last, log, j.Endpoint)
	}
	h.finish(last, log, "acknowledge", j.Ack)
}

func report(ctx context.Context, log *slog.Logger, o task.Outcome, d task.Decision) {
	attrs := []any{"outcome", o.Kind, "reason", o.Reason, "status", o.Status, "took_ms", o.Took.Milliseconds(), "state", d.State}
	if !d.At.IsZero() {
		attrs = append(attrs, "next", d.At)
	}
	level := slog.LevelInfo
	if o.Kind == task.KindSuccess {
		level = slog.LevelDebug // the normal case is worth a line only to those who look for it
	}
	log.Log(ctx, level, "attempt ended", attrs...)
}

func (h *Handler) send(
	ctx context.Context, log *slog.Logger, j Job, run *lifecycle.Running, parent string, p task.Policy, timeout time.Duration,
) task.Outcome {
	secrets, err := h.secrets(j.Endpoint)
	if err != nil {
		log.ErrorContext(ctx, "signing secret cannot be opened", "error", err)
		return task.Outcome{Kind: task.KindRetry, Reason: task.ReasonInternal}
	}
	a := h.sender.Send(ctx, &Request{
		Endpoint: j.Endpoint, Message: j.Message(), Secrets: secrets,
		Attempt: run.Record.Starts, MaxAttempts: p.MaxAttempts, Suspect: run.Record.Suspect,
		Timeout: timeout, Reading: j.Reading, TraceParent: parent,
	})
	if a.Err != nil && a.Reason != task.ReasonProtocol { // those quote the handler's bytes
		log.DebugContext(ctx, "request failed", "reason", a.Reason, "error", a.Err)
	}
	return Verdict(a, p, j.Endpoint.Result, h.now())
}

// settle tries until the outcome is durable, at most as long as the attempt's
// lease: after it the task belongs to whoever begins next.
func (h *Handler) settle(
	ctx context.Context, log *slog.Logger, run *lifecycle.Running, p task.Policy, o task.Outcome,
) (task.Decision, bool) {
	until := run.Record.Lease.Until
	for b := (backoff{firstPause, mostPause}); ; {
		var d task.Decision
		var err error
		crashed := h.panics(ctx, log, "settle", func() { d, err = h.engine.Settle(ctx, run, p, o) })
		if err == nil && !crashed {
			return d, true
		}
		wait := b.step()
		if !h.now().Add(wait).Before(until) || !pause(ctx, wait) {
			log.ErrorContext(ctx, "outcome could not be stored; the task will be delivered again", "error", err)
			return d, false
		}
		log.DebugContext(ctx, "outcome not stored yet", "error", err)
	}
}

// disable holds the endpoint's other tasks. If it fails, the next 410 tries
// again.
func (h *Handler) disable(ctx context.Context, log *slog.Logger, ep *task.Endpoint) {
	log.WarnContext(ctx, "endpoint says it is gone: its tasks are held, unless it has got another URL", "project", ep.Project)
	h.try(ctx, log, "disable endpoint", disableTries, func(ctx context.Context) error {
		return h.endpoints.DisableEndpoint(ctx, ep, task.ReasonGone)
	})
}

func (h *Handler) postpone(ctx context.Context, log *slog.Logger, s Settling, at time.Time) {
	h.finish(ctx, log, "postpone", func(ctx context.Context) error { return s.Postpone(ctx, at) })
}

// finish ends a delivery, and tries until it has, until the delivery is no
// longer ours, or until everything ends: while this process lives the queue
// keeps an unfinished delivery for it, with its place in the prefetch.
func (h *Handler) finish(ctx context.Context, log *slog.Logger, what string, do func(context.Context) error) {
	h.try(ctx, log, what, math.MaxInt, do)
}

// try makes at most so many tries of a last step.
func (h *Handler) try(ctx context.Context, log *slog.Logger, what string, most int, do func(context.Context) error) {
	b := backoff{firstPause, mostPause}
	for n := 1; ; n++ {
		var err error
		if !h.panics(ctx, log, what, func() { err = bounded(ctx, do) }) && err == nil || errors.Is(err, ErrGone) {
			return
		}
		if n == warnTry {
			log.WarnContext(ctx, "last step fails", "step", what, "error", err)
		}
		if n == most || !pause(ctx, b.step()) {
			log.WarnContext(ctx, "last step failed", "step", what, "error", err)
			return
		}
	}
}

func bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	return do(ctx)
}

// panics runs f and reports whether it panicked: one task must not take the
// others along.
func (h *Handler) panics(ctx context.Context, log *slog.Logger, step string, f func()) (crashed bool) {
	defer func() {
		if v := recover(); v != nil {
			crashed = true
			log.ErrorContext(ctx, "panic", "step", step, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
	return false
}

// Abort ends the running attempt of a task that was cancelled. It reports
// whether there was one.
func (h *Handler) Abort(id task.ID) bool { return h.flights.abort(id, ErrCancelled) }

// InFlight is the number of deliveries being handled.
func (h *Handler) InFlight() int { return h.flights.count() }
