package api

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// PutEndpoint creates or replaces an endpoint.
func (s *Server) PutEndpoint(c echo.Context, name gen.EndpointName) error {
	own, ctx := callOf(c), c.Request().Context()
	project := own.who.Project
	var in gen.EndpointConfig
	if _, _, err := s.readJSON(c, &in, ""); err != nil {
		return err
	}
	wanted := s.endpoint(&in, &own.faults)
	if err := own.faults.err(); err != nil {
		return err
	}
	// First the queue: a task for a registered endpoint must find it.
	if err := s.Queues.Declare(ctx, task.MakeEndpointID(project, name)); err != nil {
		return err
	}
	p := replacement{s: s, project: project, name: name, in: &in, wanted: wanted}
	created, ep, err := s.Endpoints.UpdateEndpoint(ctx, project, name, func(old *task.Endpoint) (task.Endpoint, error) {
		if err := writable(old, "all"); err != nil {
			return task.Endpoint{}, err
		}
		return p.of(old)
	})
	if err != nil {
		return err
	}
	view := s.viewEndpoint(ctx, &ep)
	view.Secret = p.shown
	if created {
		c.Response().Header().Set(echo.HeaderLocation, "/v1/endpoints/"+name)
		return s.json(c, http.StatusCreated, view)
	}
	return s.json(c, http.StatusOK, view)
}

// replacement makes the new endpoint out of the old one.
type replacement struct {
	s             *Server
	project, name string
	in            *gen.EndpointConfig
	wanted        task.Endpoint
	shown         *string // the secret, when it is new
}

func (p *replacement) of(old *task.Endpoint) (task.Endpoint, error) {
	next := p.wanted
	if old != nil {
		next.Disabled, next.Paused = old.Disabled, old.Paused
	}
	if p.in.Paused != nil {
		next.Paused = *p.in.Paused
	}
	if err := p.keepSecret(&next, old); err != nil {
		return task.Endpoint{}, err
	}
	scheme := gen.V1
	if p.in.Signature != nil {
		scheme = *p.in.Signature
	}
	if p.in.Secret == nil && old != nil && !old.SealedSecret.IsZero() {
		if present := schemeOf(&old.SealedSecret); p.in.Signature == nil || scheme == present {
			next.SealedSecret = old.SealedSecret
			return next, nil
		}
	}
	secret := p.s.newSecret(p.in.Secret, scheme)
	sealed, err := p.s.Secrets.Seal(p.project, p.name, secret.text)
	next.SealedSecret, p.shown = task.SealedSecret{Current: sealed, Public: secret.public}, secret.shown()
	return next, err
}

// refresh lets the next look at the registry see what any gateway wrote before
// this request. While the store is away, what is in memory has to do.
func (s *Server) refresh(ctx context.Context) {
	if err := s.Endpoints.Sync(ctx); err != nil {
		s.opt.Logger.WarnContext(ctx, "the registry may be stale", "error", err)
	}
}

// findEndpoint finds an endpoint that may have been registered a moment ago by
// way of another gateway. One that the caller is not bound to is not there.
func (s *Server) findEndpoint(ctx context.Context, who *auth.Principal, name string) (*task.Endpoint, bool) {
	if !who.Endpoints.Has(name) {
		return nil, false
	}
	if ep, ok := s.Endpoints.Endpoint(who.Project, name); ok {
		return ep, true
	}
	s.refresh(ctx)
	return s.Endpoints.Endpoint(who.Project, name)
}

// GetEndpoint shows an endpoint.
func (s *Server) GetEndpoint(c echo.Context, name gen.EndpointName) error {
	s.refresh(c.Request().Context())
	ep, ok := s.Endpoints.Endpoint(callOf(c).who.Project, name)
	if !ok {
		return noEndpoint()
	}
	return s.json(c, http.StatusOK, s.viewEndpoint(c.Request().Context(), ep))
}

// PauseEndpoint holds an endpoint's tasks.
func (s *Server) PauseEndpoint(c echo.Context, name gen.EndpointName) error {
	return s.changeEndpoint(c, name, "pause", func(ep *task.Endpoint) { ep.Paused = true })
}

// ResumeEndpoint lets an endpoint's tasks go on.
func (s *Server) ResumeEndpoint(c echo.Context, name gen.EndpointName) error {
	return s.changeEndpoint(c, name, "resume", func(ep *task.Endpoint) {
		if ep.Paused, ep.Disabled = false, task.ReasonNone; ep.Source == task.SourceUnlisted {
			ep.Source = task.SourceAPI
		}
	})
}

func (s *Server) changeEndpoint(c echo.Context, name, what string, change func(*task.Endpoint)) error {
	ctx := c.Request().Context()
	s.refresh(ctx)
	_, ep, err := s.Endpoints.UpdateEndpoint(ctx, callOf(c).who.Project, name,
		func(old *task.Endpoint) (task.Endpoint, error) {
			if old == nil {
				return task.Endpoint{}, noEndpoint()
			}
			if err := writable(old, what); err != nil {
				return task.Endpoint{}, err
			}
			next := *old
			change(&next)
			return next, nil
		})
	if err != nil {
		return err
	}
	return s.json(c, http.StatusOK, s.viewEndpoint(ctx, &ep))
}

// forcedTime is how long cancelling an endpoint's tasks may take.
const forcedTime = 10 * time.Minute

// DeleteEndpoint deletes an endpoint: registry, tasks, queue, so that nothing
// new comes while the old is cleared away. A deletion that was interrupted
// after its first step can be repeated with force.
func (s *Server) DeleteEndpoint(c echo.Context, name gen.EndpointName, params gen.DeleteEndpointParams) error {
	ctx, project := c.Request().Context(), callOf(c).who.Project
	id := task.MakeEndpointID(project, name)
	depths, err := s.Results.Depths(ctx, project, id)
	if err != nil {
		return err
	}
	live := depths.Total()
	s.refresh(ctx)
	ep, known := s.Endpoints.Endpoint(project, name)
	if known {
		if err := writable(ep, "all"); err != nil {
			return err
		}
	}
	force := params.Force != nil
	switch {
	case !known && (!force || live == 0):
		return noEndpoint()
	case live > 0 && !force:
		return task.Errorf(task.CodeEndpointBusy,
			"%d tasks of this endpoint have not ended; delete with force=cancel to cancel them", live)
	case known:
		if err := s.Endpoints.DeleteEndpoint(ctx, project, name); err != nil {
			return err
		}
	}
	if force {
		s.extend(c, forcedTime)
		if _, err := s.Engine.CancelEndpoint(ctx, project, name); err != nil {
			return err
		}
	}
	if err := s.Queues.Delete(ctx, id); err != nil {
		return err
	}
	// What was accepted meanwhile had its record before its message, which
	// may have gone with the queue: it ends too, instead of waiting for ever.
	if _, err := s.Engine.CancelEndpoint(ctx, project, name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// ListEndpoints lists a page of endpoints by name.
func (s *Server) ListEndpoints(c echo.Context, params gen.ListEndpointsParams) error {
	s.refresh(c.Request().Context())
	l := listing[task.Endpoint]{
		all: s.boundEndpoints(&callOf(c).who), name: func(ep *task.Endpoint) string { return ep.Name }, mark: "e1.",
	}
	page, next, err := l.page(params.Limit, params.Cursor)
	if err != nil {
		return err
	}
	out := gen.EndpointList{Data: s.viewEndpoints(c.Request().Context(), page), NextCursor: next}
	return s.json(c, http.StatusOK, out)
}
