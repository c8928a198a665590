package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// callbackWish is what a submitter wants to hear: its target in its own
// words, the rest checked.
type callbackWish struct {
	url, endpoint *string
	on            []task.State
	headers       []task.Header
}

// callback reads a wish and notes what is wrong with it. whole names it, and
// prefix stands before the names of its fields.
func (s *Server) callback(
	ctx context.Context, who *auth.Principal, w callbackWish, whole, prefix string, note func(pointer, detail string),
) *task.Callback {
	out := &task.Callback{On: w.on, Headers: w.headers}
	switch {
	case w.url == nil && w.endpoint == nil:
		note(whole, "must have a url or an endpoint")
	case w.url != nil && w.endpoint != nil:
		note(prefix+"endpoint", "must not be given together with url")
	case w.url != nil:
		out.URL = *w.url
		if detail, ok := s.CheckURL(out.URL); !ok {
			note(prefix+"url", detail)
		}
	default:
		out.Endpoint = *w.endpoint
		if _, known := s.findEndpoint(ctx, who, out.Endpoint); !known {
			note(prefix+"endpoint", "no such endpoint")
		}
	}
	return out
}

// callbackOfJSON reads the field callback of a submission.
func (s *Server) callbackOfJSON(ctx context.Context, own *call, in *gen.Callback) *task.Callback {
	if in == nil {
		return nil
	}
	note := own.faults.inBody
	w := callbackWish{url: in.Url, endpoint: in.Endpoint}
	for _, state := range in.On {
		w.on = append(w.on, task.State(state)) // the schema has the closed list
	}
	if in.Headers != nil {
		w.headers = checkHeaders(*in.Headers, "/callback/headers", note)
	}
	return s.callback(ctx, &own.who, w, "/callback", "/callback/", note)
}

// callback reads the options callback_… and Taskgate-Callback-….
func (o *rawOptions) callback(ctx context.Context, s *Server, who *auth.Principal) *task.Callback {
	w := callbackWish{
		url: o.get("callback_url"), endpoint: o.get("callback_endpoint"), headers: o.given(optionCallbackHeader),
	}
	if on := o.get("callback_on"); on != nil {
		w.on = o.finals("callback_on", *on)
	}
	checkHeadersSize(w.headers, func(detail string) { o.faults.param(optionCallbackHeader+"*", detail) })
	slices.SortStableFunc(w.headers, func(a, b task.Header) int { return strings.Compare(a.Name, b.Name) })
	if w.url == nil && w.endpoint == nil && w.on == nil && w.headers == nil {
		return nil
	}
	return s.callback(ctx, who, w, "callback_url", "callback_", o.faults.param)
}

// finals reads a list of final states.
func (o *rawOptions) finals(name, text string) []task.State {
	out := []task.State{}
	for _, word := range splitCommas([]string{text}) {
		state := task.State(word)
		if !state.Final() {
			o.faults.param(name, "must be of succeeded, failed, cancelled, expired")
			return out
		}
		out = append(out, state)
	}
	return out
}

func viewCallback(c *task.Callback) *gen.TaskCallback {
	if c == nil {
		return nil
	}
	out := &gen.TaskCallback{Url: unlessZero(c.URL), Endpoint: unlessZero(c.Endpoint)}
	for _, state := range task.Finals() {
		if c.Due(state) {
			out.On = append(out.On, gen.FinalState(state))
		}
	}
	return out
}

// CallbackBody is what a callback says: the task that ended, as it is shown,
// with its result. A JSON result is in it as far as task.MaxCallbackBody
// allows.
func CallbackBody(t *task.Snapshot, r *task.Result) ([]byte, error) {
	event := gen.TaskEvent{
		Type: gen.TaskEventType("task." + string(t.State)), Timestamp: t.EndedAt.UTC(), Data: viewTask(t, t.EndedAt),
	}
	if r != nil {
		event.Data.Result = viewResult(r, task.MaxCallbackBody)
	}
	for {
		body, err := marshal(&event)
		shown := event.Data.Result
		switch {
		case err != nil, len(body) <= task.MaxCallbackBody, shown == nil: // all else is short
			return body, err
		case shown.Body != nil:
			shown.Body = nil
		default: // its headers are too long
			event.Data.Result = nil
		}
		event.Data.ResultOmitted = new(true)
	}
}

// maxCallbacks is how many of a task's generations its callbacks are listed
// of: the latest.
const maxCallbacks = 100

// ListTaskCallbacks lists what told of the task's ends.
func (s *Server) ListTaskCallbacks(c echo.Context, id gen.TaskId) error {
	snap, err := s.find(c, id)
	if err != nil {
		return err
	}
	out := gen.CallbackTaskList{Data: []gen.CallbackTask{}}
	if snap.Callback == nil {
		return s.json(c, http.StatusOK, out)
	}
	var ids []task.ID
	gens := make(map[task.ID]int)
	for n := max(1, snap.Gen-maxCallbacks+1); n <= snap.Gen; n++ {
		id := task.CallbackID(snap.ID, n)
		ids, gens[id] = append(ids, id), n
	}
	tasks, err := s.Results.GetMany(c.Request().Context(), ids)
	if err != nil {
		return err
	}
	for i := range tasks {
		out.Data = append(out.Data, s.viewCallbackTask(&tasks[i], gens[tasks[i].ID]))
	}
	return s.json(c, http.StatusOK, out)
}

func (s *Server) viewCallbackTask(t *task.Snapshot, generation int) gen.CallbackTask {
	v := s.viewTask(t, nil)
	out := gen.CallbackTask{
		Id: v.Id, Generation: generation, State: v.State, Reason: v.Reason, Url: unlessZero(t.URL), Attempts: v.Attempts,
		LastStatus: v.LastStatus, CreatedAt: v.CreatedAt, NextAttemptAt: v.NextAttemptAt, EndedAt: v.EndedAt, Links: v.Links,
	}
	if t.URL == "" {
		out.Endpoint = &v.Endpoint
	}
	return out
}
