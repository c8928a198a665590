package api

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// maxInline is the longest result shown within its task.
const maxInline = 64 << 10

func taskPath(id task.ID) string { return "/v1/tasks/" + string(id) }

// viewTask shows a task; r is its result, nil to leave it out.
func (s *Server) viewTask(t *task.Snapshot, r *task.Result) gen.Task {
	out := viewTask(t, s.opt.Now())
	if r != nil {
		out.Result = viewResult(r, maxInline)
	}
	return out
}

// viewTask shows a task without its result.
func viewTask(t *task.Snapshot, now time.Time) gen.Task {
	state := t.StateAt(now)
	self := taskPath(t.ID)
	out := gen.Task{
		Id: string(t.ID), Endpoint: t.Endpoint, State: gen.TaskState(state), Reason: viewReason(t.Reason),
		Attempts: t.Starts, Generation: t.Gen, LastStatus: unlessZero(t.Status),
		PayloadSize: t.PayloadSize, ContentType: unlessZero(t.ContentType), Labels: t.Labels,
		CreatedAt: t.CreatedAt, RunAt: viewTime(t.RunAt), ExpiresAt: viewTime(t.ExpiresAt),
		StartedAt: viewTime(t.StartedAt), EndedAt: viewTime(t.EndedAt),
		Callback: viewCallback(t.Callback), CallbackOf: unlessZero(string(t.CallbackOf)),
		Links: gen.TaskLinks{Self: self, Result: self + "/result", Attempts: self + "/attempts"},
	}
	if state == task.Scheduled || state == task.Retrying {
		out.NextAttemptAt = viewTime(t.ETA)
	}
	if t.Callback != nil {
		out.Links.Callbacks = new(self + "/callbacks")
	}
	return out
}

// viewWithResult shows a task, with its result if it succeeded.
func (s *Server) viewWithResult(ctx context.Context, t *task.Snapshot) (gen.Task, error) {
	if t.State != task.Succeeded {
		return s.viewTask(t, nil), nil
	}
	seen, result, err := s.Results.GetResult(ctx, t.ID)
	if err != nil {
		return gen.Task{}, err
	}
	// A retry in between would pair one generation with another's result.
	if seen == nil || seen.Version != t.Version {
		return s.viewTask(t, nil), nil
	}
	return s.viewTask(t, result), nil
}

// viewResult shows a result, with a body of at most inline bytes.
func viewResult(r *task.Result, inline int) *gen.TaskResult {
	out := &gen.TaskResult{
		Status: r.Status, ContentType: unlessZero(r.ContentType), Size: len(r.Body), Discarded: unlessZero(r.Discarded),
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, gen.HeaderField{Name: h.Name, Value: h.Value})
	}
	if inlinable(r, inline) {
		out.Body = json.RawMessage(r.Body)
	}
	return out
}

// inlinable: short JSON that says it is JSON.
func inlinable(r *task.Result, inline int) bool {
	if len(r.Body) > inline || len(bytes.TrimSpace(r.Body)) == 0 {
		return false
	}
	media, _, err := mime.ParseMediaType(r.ContentType)
	isJSON := err == nil && (media == mediaJSON || strings.HasSuffix(media, "+json"))
	return isJSON && utf8.Valid(r.Body) && json.Valid(r.Body)
}

func viewAttempt(a *task.Attempt) gen.Attempt {
	return gen.Attempt{
		Number: a.Number, Generation: a.Gen, StartedAt: a.StartedAt, DurationMs: a.Took.Std().Milliseconds(),
		Status: unlessZero(a.Status), Reason: viewReason(a.Reason), Suspect: unlessZero(a.Suspect),
		Answer: unlessZero(strings.ToValidUTF8(string(a.Answer), "\uFFFD")), NextAttemptAt: viewTime(a.NextAt),
	}
}

func viewReason(r task.Reason) *gen.Reason { return unlessZero(gen.Reason(r)) }

func viewTime(t time.Time) *time.Time { return unlessZero(t.UTC()) }

func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
