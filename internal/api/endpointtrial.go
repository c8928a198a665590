package api

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/oklog/ulid/v2"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	// trialPayload is the longest payload of a test, which is told to every
	// dispatcher.
	trialPayload = 64 << 10
	// trialTime is the longest that an answer may be waited for: the attempt
	// itself takes 30 s at most.
	trialTime = 45 * time.Second
)

// TestEndpoint has a dispatcher call the handler once, now. The call is not
// made from here: gateways may be placed where handlers cannot be reached, and
// what matters is whether a task's attempt would arrive.
func (s *Server) TestEndpoint(c echo.Context, name gen.EndpointName) error {
	own, ctx := callOf(c), c.Request().Context()
	trial := task.Trial{ID: task.MakeID(ulid.Make().String(), 0), Project: own.who.Project, Endpoint: name}
	if err := s.readTrial(c, &trial); err != nil {
		return err
	}
	if err := own.faults.err(); err != nil {
		return err
	}
	if _, ok := s.findEndpoint(ctx, &own.who, name); !ok {
		return noEndpoint()
	}
	if err := s.park(c); err != nil { // it waits for the handler
		return err
	}
	s.extend(c, trialTime)
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	result, err := s.Trials.Try(ctx, trial)
	switch {
	case err != nil:
		return err
	case result.Unknown:
		return noEndpoint()
	}
	return s.json(c, http.StatusOK, viewTrial(trial.ID, &result))
}

// readTrial reads what to send; faults are noted.
func (s *Server) readTrial(c echo.Context, out *task.Trial) error {
	own := callOf(c)
	var in gen.EndpointTest
	if c.Request().ContentLength != 0 {
		_, payload, err := s.readJSON(c, &in, "payload")
		if err != nil {
			return err
		}
		if len(payload) > trialPayload {
			return task.Errorf(codePayloadTooLarge, "the payload of a test is longer than %d bytes", trialPayload)
		}
		out.Payload = payload
	}
	if in.Headers != nil {
		out.Headers = checkHeaders(*in.Headers, "/headers", own.faults.inBody)
	}
	if out.Payload == nil {
		return nil
	}
	out.Type = mediaJSON
	if in.ContentType != nil {
		out.Type = *in.ContentType
		out.Payload = ofType(out.Type, out.Payload, &own.faults)
	}
	return nil
}

// ofType is the payload's text when it is of another media type than JSON.
func ofType(contentType string, payload []byte, f *faults) []byte {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(media, "/") || !fieldValue(contentType) {
		f.inBody("/content_type", "is not a media type")
		return nil
	}
	if media == mediaJSON || strings.HasSuffix(media, "+json") {
		return payload
	}
	var text string
	if json.Unmarshal(payload, &text) != nil {
		f.inBody("/payload", "must be a string, whose text is sent, with a content_type that is not JSON")
	}
	return []byte(text)
}

func viewTrial(id task.ID, r *task.TrialResult) gen.EndpointTestResult {
	out := gen.EndpointTestResult{
		Id: string(id), Verdict: gen.Verdict(r.Kind), Reason: viewReason(r.Reason), Status: unlessZero(r.Status),
		DurationMs: r.Took.Std().Milliseconds(), Answer: unlessZero(strings.ToValidUTF8(string(r.Answer), "\uFFFD")),
		Task: gen.EndpointTestTask{
			State: gen.TaskState(r.State), Reason: viewReason(r.TaskReason), DisablesEndpoint: unlessZero(r.Disables),
		},
	}
	if r.State == task.Retrying {
		out.Task.NextAttemptIn = new(r.NextIn.String())
	}
	return out
}
