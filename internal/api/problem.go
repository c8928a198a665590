package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// The codes that only this room uses.
const (
	codeMalformed        task.Code = "malformed"
	codeInvalidParameter task.Code = "invalid_parameter"
	codeMethodNotAllowed task.Code = "method_not_allowed"
	codeNotAcceptable    task.Code = "not_acceptable"
	codeRequestTimeout   task.Code = "request_timeout"
	codeNoResult         task.Code = "no_result"
	codePayloadTooLarge  task.Code = "payload_too_large"
	codeUnsupportedMedia task.Code = "unsupported_media_type"
)

// kind is what every problem with a code has in common.
type kind struct {
	status int
	title  string
	// retryAfter, in seconds, when a repeat makes sense.
	retryAfter int
}

// kinds is the only table from code to status. What is not in it is internal.
var kinds = map[task.Code]kind{
	codeMalformed:            {http.StatusBadRequest, "The body cannot be read", 0},
	codeInvalidParameter:     {http.StatusBadRequest, "A parameter is wrong", 0},
	auth.CodeUnauthenticated: {http.StatusUnauthorized, "Not authenticated", 0},
	auth.CodeForbidden:       {http.StatusForbidden, "Not allowed", 0},
	auth.CodeAddress:         {http.StatusForbidden, "Not from this address", 0},
	auth.CodeTooManyFailures: {http.StatusTooManyRequests, "Too many failed authentications", 1},
	task.CodeNotFound:        {http.StatusNotFound, "Not found", 0},
	codeMethodNotAllowed:     {http.StatusMethodNotAllowed, "Method not allowed", 0},
	codeNotAcceptable:        {http.StatusNotAcceptable, "Not acceptable", 0},
	codeRequestTimeout:       {http.StatusRequestTimeout, "The body came too slowly", 0},
	task.CodeConflict:        {http.StatusConflict, "The present state forbids it", 0},
	task.CodeInProgress:      {http.StatusConflict, "Being accepted right now", 2},
	task.CodeEndpointBusy:    {http.StatusConflict, "The endpoint has tasks", 0},
	task.CodePayloadNotKept:  {http.StatusConflict, "The payload was not kept", 0},
	codeNoResult:             {http.StatusConflict, "The task has no result", 0},
	task.CodeReadOnly:        {http.StatusConflict, "Read only", 0},
	codePayloadTooLarge:      {http.StatusRequestEntityTooLarge, "The body is too large", 0},
	codeUnsupportedMedia:     {http.StatusUnsupportedMediaType, "Unsupported media type", 0},
	task.CodeInvalid:         {http.StatusUnprocessableEntity, "The content is wrong", 0},
	task.CodeKeyReused:       {http.StatusUnprocessableEntity, "The idempotency key was used before", 0},
	task.CodeInternal:        {http.StatusInternalServerError, "Internal error", 0},
	task.CodeNotAccepted:     {http.StatusServiceUnavailable, "Not accepted", 2},
	task.CodeOutcomeUnknown:  {http.StatusServiceUnavailable, "Outcome unknown", 10},
	task.CodeUnavailable:     {http.StatusServiceUnavailable, "Unavailable", 5},
	task.CodeOverloaded:      {http.StatusServiceUnavailable, "Overloaded", 1},
	task.CodeRateLimited:     {http.StatusTooManyRequests, "Too many requests", 1},
	task.CodeQuotaExceeded:   {http.StatusTooManyRequests, "Quota exceeded", 5},
}

// problemType is in front of a code to make the URI of its kind of problem.
const problemType = "urn:taskgate:problem:"

// coded returns err as an error with a code of the table. What has none, and
// the text of what is internal, stays in the log.
func coded(err error) *task.Error {
	if httpErr := (*echo.HTTPError)(nil); errors.As(err, &httpErr) {
		return ofEcho(httpErr)
	}
	out := &task.Error{Code: task.CodeInternal, Err: err}
	if e := (*task.Error)(nil); errors.As(err, &e) {
		if _, known := kinds[e.Code]; known {
			out = e
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		out.Code = task.CodeUnavailable
	}
	if out.Code == task.CodeInternal {
		out = &task.Error{Code: task.CodeInternal, Detail: "The server failed; its log says more under this instance.", Err: err}
	}
	return out
}

func ofEcho(err *echo.HTTPError) *task.Error {
	switch err.Code {
	case http.StatusNotFound:
		return task.Errorf(task.CodeNotFound, "there is nothing at this path")
	case http.StatusMethodNotAllowed:
		return task.Errorf(codeMethodNotAllowed, "this path does not have that method; see Allow")
	case http.StatusBadRequest: // the generated code could not bind a parameter
		return task.Errorf(codeInvalidParameter, "a parameter cannot be read")
	}
	return &task.Error{Code: task.CodeInternal, Detail: "The server failed.", Err: err}
}

// handleError writes the problem of a failed request.
func (s *Server) handleError(err error, c echo.Context) {
	ctx := c.Request().Context()
	e := coded(err)
	k := kinds[e.Code]
	// The request's context ends when its sender says that no more will come,
	// which may be all that it says: a refusal still has a reader then. Only
	// what failed by that end has none.
	gone := errors.Is(ctx.Err(), context.Canceled) && k.status >= http.StatusInternalServerError
	if c.Response().Committed || gone {
		return
	}
	id := callOf(c).id
	callOf(c).code = e.Code
	if k.status >= http.StatusInternalServerError {
		s.opt.Logger.ErrorContext(ctx, "request failed", "request", id, "code", e.Code, "error", err)
	}
	h := c.Response().Header()
	h.Del(headerPreferenceApplied) // nothing was waited for
	h.Del(echo.HeaderLocation)     // nor is there anything to be found
	if k.retryAfter > 0 {
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(max(k.retryAfter, int(math.Ceil(e.RetryAfter.Seconds())))))
	}
	if e.Code == auth.CodeUnauthenticated {
		h.Set(echo.HeaderWWWAuthenticate, `Bearer realm="taskgate"`)
	}
	if e.Code == codeUnsupportedMedia {
		h.Set(echo.HeaderAccept, callOf(c).op.media)
	}
	if err := s.write(c, k.status, mediaProblem, problemOf(e, k, id)); err != nil {
		s.opt.Logger.DebugContext(ctx, "problem not delivered", "request", id, "error", err)
	}
}

func problemOf(e *task.Error, k kind, id string) gen.Problem {
	p := gen.Problem{
		Type: problemType + string(e.Code), Title: k.title, Status: k.status,
		Code: gen.ProblemCode(e.Code), Instance: id,
	}
	if e.Detail != "" {
		p.Detail = &e.Detail
	}
	if e.TaskID != "" {
		p.TaskId = new(string(e.TaskID))
	}
	for _, f := range e.Faults {
		p.Errors = append(p.Errors, gen.Fault{Pointer: f.Pointer, Detail: f.Detail})
	}
	return p
}

// Media types of answers.
const (
	mediaJSON       = "application/json"
	mediaMergePatch = "application/merge-patch+json" // of a body
	mediaProblem    = "application/problem+json"
	mediaYAML       = "application/yaml"
	mediaHTML       = "text/html; charset=utf-8"
	mediaBinary     = "application/octet-stream"
)

// json answers with v. Raw JSON within keeps its text, but for white space.
func (s *Server) json(c echo.Context, status int, v any) error {
	return s.write(c, status, mediaJSON, v)
}

func (s *Server) write(c echo.Context, status int, media string, v any) error {
	body, err := marshal(v)
	if err != nil {
		return task.Wrap(task.CodeInternal, err, "")
	}
	callOf(c).place.leave() // a slow reader holds no place
	return c.Blob(status, media, body)
}

// marshal differs from json.Marshal in that "<", ">" and "&" stay themselves.
func marshal(v any) ([]byte, error) {
	var buf buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf, err
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
