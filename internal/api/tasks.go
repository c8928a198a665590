package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// find returns a task of the caller's project, and of what the caller is bound
// to. An id that cannot be one names no task, like one of another project.
func (s *Server) find(c echo.Context, text string) (*task.Snapshot, error) {
	id, err := parseID(text)
	if err != nil {
		return nil, err
	}
	ctx, who := c.Request().Context(), &callOf(c).who
	snap, err := s.Engine.Find(ctx, who.Project, id)
	if err != nil || !who.Endpoints.Bound() {
		return snap, err
	}
	about := snap // a callback is of the task that it tells of
	if snap.CallbackOf != "" {
		if about, err = s.Engine.Find(ctx, who.Project, snap.CallbackOf); err != nil {
			return nil, err
		}
	}
	if !who.Endpoints.Has(about.Endpoint) {
		return nil, noTask()
	}
	return snap, nil
}

func parseID(text string) (task.ID, error) {
	if id, ok := task.ParseID(text); ok {
		return id, nil
	}
	return "", noTask()
}

func noTask() error { return task.Errorf(task.CodeNotFound, "no such task") }

// findAwait returns a task, at once or after its end was waited for.
func (s *Server) findAwait(c echo.Context, text string, query, prefer *string) (*task.Snapshot, error) {
	own := callOf(c)
	wait := s.wait(c, query, prefer)
	if err := own.faults.err(); err != nil {
		return nil, err
	}
	// First look: whose task it is must not depend on waiting for it.
	snap, err := s.find(c, text)
	if err != nil || wait <= 0 || snap.State.Final() {
		return snap, err
	}
	if err := s.park(c); err != nil {
		return nil, err
	}
	s.extend(c, wait)
	snap, err = s.Waiter.Wait(c.Request().Context(), snap.ID, time.Now().Add(wait))
	own.place.unpark()
	if err == nil && snap == nil {
		err = noTask()
	}
	return snap, err
}

// GetTask shows a task; with wait it is the long-poll.
func (s *Server) GetTask(c echo.Context, id gen.TaskId, params gen.GetTaskParams) error {
	snap, err := s.findAwait(c, id, params.Wait, params.Prefer)
	if err != nil {
		return err
	}
	view, err := s.viewWithResult(c.Request().Context(), snap)
	if err != nil {
		return err
	}
	return s.json(c, http.StatusOK, view)
}

// Headers of a result.
const (
	headerStatus    = "Taskgate-Status"
	headerDiscarded = "Taskgate-Discarded"
	headerKept      = "Taskgate-Result-"
)

// GetTaskResult answers with the handler's own answer.
func (s *Server) GetTaskResult(c echo.Context, id gen.TaskId, params gen.GetTaskResultParams) error {
	snap, err := s.findAwait(c, id, params.Wait, params.Prefer)
	if err != nil {
		return err
	}
	if !snap.State.Final() {
		return s.json(c, http.StatusAccepted, s.viewTask(snap, nil))
	}
	if snap.State != task.Succeeded {
		return noResult(snap, "the task "+ended(snap)+" without a result")
	}
	_, result, err := s.Results.GetResult(c.Request().Context(), snap.ID)
	if err != nil {
		return err
	}
	if result == nil {
		return noResult(snap, "the result is not kept any more")
	}
	return serveResult(c, result)
}

func noResult(t *task.Snapshot, detail string) error {
	err := task.Errorf(codeNoResult, "%s", detail)
	err.TaskID = t.ID
	return err
}

func ended(t *task.Snapshot) string {
	if t.State == task.Cancelled {
		return "was cancelled"
	}
	if t.State == task.Failed && t.Reason != task.ReasonNone {
		return "failed (" + string(t.Reason) + ")"
	}
	return string(t.State)
}

// serveResult sends bytes that somebody else made from our origin: a browser
// must neither guess their type nor run them.
func serveResult(c echo.Context, r *task.Result) error {
	h := c.Response().Header()
	h.Set(echo.HeaderContentSecurityPolicy, "sandbox; "+policyOfData)
	h.Set(headerStatus, strconv.Itoa(r.Status))
	if r.Discarded {
		h.Set(headerDiscarded, "true")
	}
	for _, kept := range r.Headers {
		h.Add(headerKept+kept.Name, kept.Value)
	}
	media := r.ContentType
	if media == "" {
		media = mediaBinary
	}
	callOf(c).place.leave()
	return c.Blob(http.StatusOK, media, r.Body)
}

// ListTaskAttempts lists a task's attempts.
func (s *Server) ListTaskAttempts(c echo.Context, id gen.TaskId) error {
	snap, err := s.find(c, id)
	if err != nil {
		return err
	}
	attempts, err := s.Results.Attempts(c.Request().Context(), snap.ID)
	if err != nil {
		return err
	}
	out := gen.AttemptList{Data: make([]gen.Attempt, len(attempts))}
	for i := range attempts {
		out.Data[i] = viewAttempt(&attempts[i])
	}
	return s.json(c, http.StatusOK, out)
}

// CancelTask ends a task.
func (s *Server) CancelTask(c echo.Context, id gen.TaskId) error {
	return s.change(c, id, http.StatusOK, s.Engine.Cancel)
}

// RetryTask replays a task or runs a waiting one now.
func (s *Server) RetryTask(c echo.Context, id gen.TaskId) error {
	return s.change(c, id, http.StatusAccepted, func(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
		if over := s.fullFor(ctx, project); over != nil {
			// What waits already and runs now takes up no more than before.
			if snap, err := s.Engine.Find(ctx, project, id); err != nil || snap.State.Final() {
				return nil, cmp.Or(err, over)
			}
		}
		return s.Engine.Retry(ctx, project, id)
	})
}

func (s *Server) change(
	c echo.Context, text string, status int,
	do func(ctx context.Context, project string, id task.ID) (*task.Snapshot, error),
) error {
	id, err := parseID(text)
	if err != nil {
		return err
	}
	// A task's endpoint never changes: what may be seen may be changed.
	if callOf(c).who.Endpoints.Bound() {
		if _, err := s.find(c, text); err != nil {
			return err
		}
	}
	snap, err := do(c.Request().Context(), callOf(c).who.Project, id)
	if err != nil {
		return err
	}
	if status == http.StatusAccepted {
		c.Response().Header().Set(echo.HeaderLocation, taskPath(id))
	}
	return s.json(c, status, s.viewTask(snap, nil))
}

// RescheduleTask gives a waiting task another time.
func (s *Server) RescheduleTask(c echo.Context, id gen.TaskId) error {
	own := callOf(c)
	var in gen.Reschedule
	if _, _, err := s.readJSON(c, &in, ""); err != nil {
		return err
	}
	r := reader{prefix: "/", note: own.faults.inBody, opt: &s.opt}
	at := r.moment(s.opt.Now(), "delay", in.Delay, "run_at", in.RunAt)
	if in.Delay == nil && in.RunAt == nil {
		r.fault("delay", "is required, unless run_at is given")
	}
	if err := own.faults.err(); err != nil {
		return err
	}
	return s.change(c, id, http.StatusOK, func(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
		snap, err := s.Engine.Reschedule(ctx, project, id, at)
		if e := (*task.Error)(nil); errors.As(err, &e) && e.Code == task.CodeInvalid {
			given := "delay"
			if in.RunAt != nil {
				given = "run_at"
			}
			r.fault(given, e.Detail)
			return nil, own.faults.err()
		}
		return snap, err
	})
}

const defaultLimit = 50

// ListTasks lists a page of tasks.
func (s *Server) ListTasks(c echo.Context, params gen.ListTasksParams) error {
	own := callOf(c)
	q := s.query(params, &own.faults)
	if err := own.faults.err(); err != nil {
		return err
	}
	q.Project, q.Within = own.who.Project, own.who.Endpoints
	page, err := s.Results.List(c.Request().Context(), q)
	if err != nil {
		return ofCursor(err, params.Cursor)
	}
	out := gen.TaskList{Data: make([]gen.Task, len(page.Items)), NextCursor: unlessZero(page.Next)}
	for i := range page.Items {
		out.Data[i] = s.viewTask(&page.Items[i], nil)
	}
	return s.json(c, http.StatusOK, out)
}

func (s *Server) query(p gen.ListTasksParams, f *faults) task.Query {
	r := reader{note: f.param, opt: &s.opt}
	q := task.Query{Labels: parseLabels(p.Label, f), Limit: defaultLimit, Now: s.opt.Now()}
	q.CreatedAfter, _ = r.time("created_after", p.CreatedAfter)
	q.CreatedBefore, _ = r.time("created_before", p.CreatedBefore)
	r.window("created_before", q.CreatedAfter, q.CreatedBefore)
	for _, words := range p.State {
		for word := range strings.SplitSeq(string(words), ",") {
			q.States = append(q.States, task.State(strings.TrimSpace(word)))
		}
	}
	if p.Endpoint != nil {
		q.Endpoint = *p.Endpoint
	}
	if p.Limit != nil {
		q.Limit = *p.Limit
	}
	if p.Cursor != nil {
		q.Cursor = *p.Cursor
	}
	return q
}

// ofCursor: the one thing the store can find wrong with a query is its cursor.
func ofCursor(err error, cursor *string) error {
	e := (*task.Error)(nil)
	if cursor == nil || !errors.As(err, &e) || e.Code != task.CodeInvalid {
		return err
	}
	var f faults
	for _, fault := range e.Faults {
		f.param(fault.Pointer, fault.Detail)
	}
	return f.err()
}

func badCursor() error {
	var f faults
	f.param("cursor", "is not a cursor that this list gave")
	return f.err()
}
