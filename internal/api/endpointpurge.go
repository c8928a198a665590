package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// purgeTime is how long one call of purge works: shorter than what proxies
// and clients usually wait for.
const purgeTime = 20 * time.Second

// PurgeEndpoint cancels an endpoint's tasks, as many as its time allows.
func (s *Server) PurgeEndpoint(c echo.Context, name gen.EndpointName) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.EndpointPurge
	if err := s.readOptional(c, &in); err != nil {
		return err
	}
	if err := own.faults.err(); err != nil {
		return err
	}
	if _, ok := s.findEndpoint(ctx, &own.who, name); !ok {
		return noEndpoint()
	}
	s.extend(c, purgeTime)
	n, next, err := s.Engine.Purge(ctx, purgeQuery(own.who.Project, name, &in), time.Now().Add(purgeTime))
	if err != nil {
		return purgeFault(n, err)
	}
	return s.json(c, http.StatusOK, gen.EndpointPurged{Cancelled: n, NextCursor: unlessZero(next)})
}

func purgeQuery(project, name string, in *gen.EndpointPurge) task.Query {
	q := task.Query{Project: project, Endpoint: name, States: []task.State{task.Scheduled, task.Queued, task.Retrying}}
	if len(in.States) > 0 {
		q.States = nil
	}
	for _, state := range in.States {
		q.States = append(q.States, task.State(state))
	}
	if in.Cursor != nil {
		q.Cursor = *in.Cursor
	}
	return q
}

// purgeFault: the one thing the store can find wrong with a query is its
// cursor. After anything else, what was done is done.
func purgeFault(n int, err error) error {
	switch code := task.CodeOf(err); {
	case code == task.CodeInvalid:
		var f faults
		f.inBody("/cursor", "is not a cursor that a purge with these states gave")
		return f.err()
	case n > 0 && code == task.CodeUnavailable:
		return task.Wrap(code, err, fmt.Sprintf("%d tasks were cancelled, then the task store could not be reached; repeat", n))
	}
	return err
}
