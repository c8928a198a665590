package api

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/task"
)

// A caller may be bound to endpoints. What is of others looks to it like what
// does not exist; here is where that is decided. Operations whose path names
// an endpoint are stopped by [withinBinding], tasks by [Server.find], jobs by
// [Server.findJob], keys by [visibleKey]; lists leave out the rest.

// aboveEndpoints are operations about all endpoints of a project together.
var aboveEndpoints = map[string]bool{"rotateCallbackSecret": true}

// withinBinding refuses what is about an endpoint, or about endpoints, that
// the caller is not bound to, whether they exist or not.
func withinBinding(c echo.Context, own *call) error {
	if !own.who.Endpoints.Bound() {
		return nil
	}
	if aboveEndpoints[own.op.id] {
		return task.Errorf(auth.CodeForbidden, "this key is bound to endpoints, and this is about all of the project")
	}
	if !own.op.ofEndpoint {
		return nil
	}
	name, err := url.PathUnescape(c.Param("name"))
	switch {
	case err == nil && own.who.Endpoints.Has(name):
		return nil
	case own.op.id == "putEndpoint":
		return task.Errorf(auth.CodeForbidden, "this key is bound to other endpoints")
	}
	return noEndpoint()
}

// boundEndpoints are the endpoints that the caller may know, by name.
func (s *Server) boundEndpoints(who *auth.Principal) []task.Endpoint {
	return slices.DeleteFunc(s.Endpoints.Endpoints(who.Project), func(ep task.Endpoint) bool { return !who.Endpoints.Has(ep.Name) })
}

// findJob returns a job that the caller may know, as it is now.
func (s *Server) findJob(ctx context.Context, who *auth.Principal, id string) (bulk.Job, error) {
	job, err := s.Jobs.Wait(ctx, who.Project, id, time.Time{})
	if err == nil && !job.Filter.VisibleTo(who.Endpoints) {
		err = task.Errorf(task.CodeNotFound, "no such job")
	}
	return job, err
}

// maxJobPages bounds the look for jobs that a bound caller may know. A list
// that has more is cut there, and goes on by its cursor.
const maxJobPages = 10

// listJobs returns up to limit jobs that the caller may know, made before the
// one with that id, and where to go on, "" at the end.
func (s *Server) listJobs(ctx context.Context, who *auth.Principal, before string, limit int) (out []bulk.Job, next string, err error) {
	for range maxJobPages {
		jobs, more, err := s.Jobs.List(ctx, who.Project, before, limit)
		if err != nil {
			return nil, "", err
		}
		for i := range jobs {
			before = jobs[i].ID
			if jobs[i].Filter.VisibleTo(who.Endpoints) {
				out = append(out, jobs[i])
			}
			if len(out) == limit && (more || i+1 < len(jobs)) {
				return out, before, nil
			}
		}
		if !more || len(jobs) == 0 {
			return out, "", nil
		}
	}
	return out, before, nil
}

// visibleKey reports whether the caller may know a key: its own like, and
// those that are bound to no more.
func visibleKey(who *auth.Principal, k *task.APIKey) bool { return who.Endpoints.Covers(k.Endpoints) }
