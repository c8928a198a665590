package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// headerProject names the project to act in.
const headerProject = "Taskgate-Project"

// actsIn decides in which project a request is made: its key's, or the one
// that an admin names.
func (s *Server) actsIn(c echo.Context, own *call) (string, error) {
	named := c.Request().Header.Values(headerProject)
	switch {
	case len(named) == 0 || len(named) == 1 && named[0] == own.who.Project:
		return own.who.Project, nil
	case !own.who.Admin():
		return "", task.Errorf(auth.CodeForbidden, "this key acts in its own project only")
	case len(named) > 1:
		own.faults.param(headerProject, "is given more than once")
	case !s.findProject(c.Request().Context(), named[0]):
		own.faults.param(headerProject, "is not the name of a project")
	}
	return named[0], own.faults.err()
}

// findProject finds a project that may have been made a moment ago by way of
// another gateway.
func (s *Server) findProject(ctx context.Context, name string) bool {
	if _, ok := s.Projects.Project(name); ok {
		return true
	}
	s.refresh(ctx)
	_, ok := s.Projects.Project(name)
	return ok
}

// PutProject creates a project, or gives it other quotas or another secret.
func (s *Server) PutProject(c echo.Context, name gen.ProjectName) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.ProjectConfig
	if _, _, err := s.readJSON(c, &in, ""); err != nil {
		return err
	}
	if in.Secret != nil {
		if detail, ok := s.Secrets.Check(*in.Secret); !ok {
			own.faults.inBody("/secret", detail)
		}
	}
	if err := own.faults.err(); err != nil {
		return err
	}
	// First the queue: a callback of the project must find it.
	if err := s.Queues.Declare(ctx, task.MakeEndpointID(name, task.CallbackEndpoint)); err != nil {
		return err
	}
	var shown *string
	created, p, err := s.Projects.UpdateProject(ctx, name, func(old *task.Project) (next task.Project, err error) {
		next, shown, err = s.wantedProject(name, old, in.Secret)
		if in.Quotas != nil {
			next.Quotas = wantedQuotas(in.Quotas)
		}
		return next, err
	})
	if err != nil {
		return err
	}
	view := s.viewProject(&p)
	view.Secret = shown
	if created {
		c.Response().Header().Set(echo.HeaderLocation, "/v1/projects/"+name)
		return s.json(c, http.StatusCreated, view)
	}
	return s.json(c, http.StatusOK, view)
}

// wantedProject makes the new project out of the old one.
func (s *Server) wantedProject(name string, old *task.Project, given *string) (next task.Project, shown *string, err error) {
	if old != nil {
		if next = *old; given == nil {
			return next, nil, nil
		}
		if old.FixedSecret {
			return next, nil, fixedSecret()
		}
	}
	secret := s.newSecret(given, gen.V1)
	sealed, err := s.Secrets.Seal(name, task.CallbackEndpoint, secret.text)
	next.CallbackSecret = task.SealedSecret{Current: sealed, Public: secret.public}
	return next, secret.shown(), err
}

// GetProject shows a project.
func (s *Server) GetProject(c echo.Context, name gen.ProjectName) error {
	ctx := c.Request().Context()
	s.refresh(ctx)
	p, ok := s.Projects.Project(name)
	if !ok {
		return noProject()
	}
	view := s.viewProject(p)
	if used, err := s.Results.Usage(ctx, name); err == nil {
		view.Usage = &gen.ProjectUsage{WaitingTasks: used.WaitingTasks, WaitingBytes: used.WaitingBytes, KeptBytes: used.KeptBytes}
	} else {
		s.opt.Logger.WarnContext(ctx, "what a project uses cannot be read", "project", name, "error", err)
	}
	return s.json(c, http.StatusOK, view)
}

// ListProjects lists a page of projects by name.
func (s *Server) ListProjects(c echo.Context, params gen.ListProjectsParams) error {
	s.refresh(c.Request().Context())
	l := listing[task.Project]{all: s.Projects.Projects(), name: func(p *task.Project) string { return p.Name }, mark: "p1."}
	page, next, err := l.page(params.Limit, params.Cursor)
	if err != nil {
		return err
	}
	out := gen.ProjectList{Data: make([]gen.Project, len(page)), NextCursor: next}
	for i := range page {
		out.Data[i] = s.viewProject(&page[i])
	}
	return s.json(c, http.StatusOK, out)
}

// DeleteProject deletes an empty project: registry, then the queue of its
// callbacks.
func (s *Server) DeleteProject(c echo.Context, name gen.ProjectName) error {
	ctx := c.Request().Context()
	if name == auth.DefaultProject {
		return task.Errorf(task.CodeConflict, "the project %s is always there", name)
	}
	s.refresh(ctx)
	switch p, ok := s.Projects.Project(name); {
	case !ok:
		return noProject()
	case p.Source == task.SourceFile:
		return task.Errorf(task.CodeReadOnly, "this project is in the server's endpoints file; take it out there")
	}
	// Endpoints that were deleted may have left tasks that a repeat of the
	// deletion is to end.
	for _, ep := range append(s.Projects.EndpointNames(name), task.CallbackEndpoint) {
		live, err := s.Results.Depths(ctx, name, task.MakeEndpointID(name, ep))
		if err != nil {
			return err
		}
		if n := live.Total(); n > 0 {
			return task.Errorf(task.CodeConflict, "%d tasks of this project's endpoint %s have not ended", n, ep)
		}
	}
	switch err := s.Projects.DeleteProject(ctx, name); {
	case task.CodeOf(err) == task.CodeNotFound:
		return noProject()
	case err != nil:
		return err
	}
	if err := s.Queues.Delete(ctx, task.MakeEndpointID(name, task.CallbackEndpoint)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func fixedSecret() error {
	return task.Errorf(task.CodeReadOnly, "this project's secret is in the server's endpoints file; change it there")
}

func noProject() error { return task.Errorf(task.CodeNotFound, "no such project") }

// viewProject shows a project, never its stored secret.
func (s *Server) viewProject(p *task.Project) gen.Project {
	out := gen.Project{
		Name: p.Name, Source: gen.ProjectSource(viewSource(p.Source)), CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
		PublicKeys: p.CallbackSecret.PublicAt(s.opt.Now()), Quotas: viewQuotas(p.Quotas.Or(s.opt.Quotas)),
	}
	if until := p.CallbackSecret.PreviousUntil; until.After(s.opt.Now()) {
		out.PreviousSecretUntil = viewTime(until)
	}
	return out
}

// RotateCallbackSecret gives the project a new secret for its callbacks.
func (s *Server) RotateCallbackSecret(c echo.Context) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.SecretRotation
	if err := s.readOptional(c, &in); err != nil {
		return err
	}
	r := rotation{s: s, project: own.who.Project, name: task.CallbackEndpoint, given: in.Secret, scheme: in.Signature}
	if err := r.read(&in, &own.faults); err != nil {
		return err
	}
	s.refresh(ctx)
	_, p, err := s.Projects.UpdateProject(ctx, r.project, func(old *task.Project) (task.Project, error) {
		if old == nil {
			return task.Project{}, noProject()
		}
		if old.FixedSecret {
			return task.Project{}, fixedSecret()
		}
		next := *old
		var err error
		next.CallbackSecret, err = r.next(old.Callbacks())
		return next, err
	})
	if err != nil {
		return err
	}
	view := s.viewProject(&p)
	return s.json(c, http.StatusOK, gen.CallbackSecret{
		Secret: r.secret.shown(), PublicKeys: view.PublicKeys, PreviousSecretUntil: view.PreviousSecretUntil,
	})
}
