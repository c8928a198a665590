package api

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// SubmitTask accepts a task with a JSON payload.
func (s *Server) SubmitTask(c echo.Context, params gen.SubmitTaskParams) error {
	own := callOf(c)
	wait := s.wait(c, params.Wait, params.Prefer)
	key := idempotencyKey(c, params.IdempotencyKey)
	var in gen.TaskSubmission
	body, payload, err := s.readJSON(c, &in, "payload")
	if err != nil {
		return err
	}
	sub := s.fromJSON(c.Request().Context(), own, &in)
	if sub.Late, err = own.faults.unlessLate(key); err != nil {
		return err
	}
	if sub.Payload = payload; payload != nil {
		sub.ContentType = mediaJSON
	}
	sub.IdempotencyKey, sub.TraceParent = key, parentOf(params.Traceparent)
	if key != "" {
		sub.Fingerprint = fingerprint(c.Request(), body)
	}
	return s.accept(c, sub, wait)
}

// fromJSON reads what in means; faults are noted.
func (s *Server) fromJSON(ctx context.Context, own *call, in *gen.TaskSubmission) lifecycle.Submission {
	note := own.faults.inBody
	ep, known := s.findEndpoint(ctx, &own.who, in.Endpoint)
	if !known {
		note("/endpoint", "no such endpoint")
	}
	r := reader{prefix: "/", retryPrefix: "/retry/", note: note, opt: &s.opt, late: &own.faults.late}
	sub := r.submission(wishes{
		delay: in.Delay, runAt: in.RunAt, expiresAt: in.ExpiresAt, expiresIn: in.ExpiresIn,
		timeout: in.Timeout, resultTTL: in.ResultTtl, retry: in.Retry,
	}, ep)
	sub.Project, sub.Endpoint = own.who.Project, in.Endpoint
	if in.Labels != nil {
		checkLabels(*in.Labels, "/labels", note)
		sub.Labels = *in.Labels
	}
	if in.Headers != nil {
		sub.Headers = checkHeaders(*in.Headers, "/headers", note)
	}
	sub.Callback = s.callbackOfJSON(ctx, own, in.Callback)
	return sub
}

// accept makes the task durable, then answers: 202, or 200 when its end was
// waited for and came.
func (s *Server) accept(c echo.Context, sub lifecycle.Submission, wait time.Duration) error {
	ctx := c.Request().Context()
	s.extend(c, wait)
	if over := s.admitTask(ctx, &sub); over != nil && sub.Late == nil {
		sub.Late = over // unless it repeats what was accepted
	}
	receipt, err := s.Engine.Accept(ctx, sub)
	if err != nil {
		return err
	}
	snap := &receipt.Task
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, taskPath(snap.ID))
	if receipt.Replayed {
		h.Set(headerIdempotencyReplayed, "true")
	}
	// Accepted it is: without room for one more long-poll it is not waited for.
	if wait > 0 && s.park(c) == nil {
		snap = s.awaitAccepted(ctx, snap, wait)
		callOf(c).place.unpark()
	}
	if wait <= 0 || !snap.State.Final() {
		return s.json(c, http.StatusAccepted, s.viewTask(snap, nil))
	}
	view, err := s.viewWithResult(ctx, snap)
	if err != nil {
		// Accepted it is, whatever befell the store since.
		s.opt.Logger.WarnContext(ctx, "result of an accepted task not read", "task", snap.ID, "error", err)
		return s.json(c, http.StatusAccepted, s.viewTask(snap, nil))
	}
	return s.json(c, http.StatusOK, view)
}

// awaitAccepted waits for the end; when that cannot be known the task is
// shown as it was accepted, never refused.
func (s *Server) awaitAccepted(ctx context.Context, snap *task.Snapshot, wait time.Duration) *task.Snapshot {
	if snap.State.Final() {
		return snap
	}
	seen, err := s.Waiter.Wait(ctx, snap.ID, time.Now().Add(wait))
	if err != nil || seen == nil {
		s.opt.Logger.DebugContext(ctx, "end of an accepted task not awaited", "task", snap.ID, "error", err)
		return snap
	}
	return seen
}
