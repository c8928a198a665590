package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// Applied says what [Server.Apply] changed, as "<project>/<name>".
type Applied struct {
	// Set were made or changed.
	Set []string
	// Unlisted are no more in the file: they are disabled, and their tasks
	// held, until somebody deletes them or takes them over.
	Unlisted []string
}

// Apply makes the registry what the file says. What is as it should be is not
// written, so that any number of gateways with the same file agree at once.
func (s *Server) Apply(ctx context.Context, d *Declared) (Applied, error) {
	a := applying{s: s, projects: make(map[string]bool), endpoints: make(map[task.EndpointID]bool)}
	if err := s.Endpoints.Sync(ctx); err != nil {
		return a.out, err
	}
	for i := range d.projects {
		if err := a.project(ctx, &d.projects[i]); err != nil {
			return a.out, fmt.Errorf("project %s: %w", d.projects[i].name, err)
		}
	}
	for i := range d.endpoints {
		ep := &d.endpoints[i]
		if err := a.endpoint(ctx, ep); err != nil {
			return a.out, fmt.Errorf("endpoint %s of project %s: %w", ep.name, ep.project, err)
		}
	}
	return a.out, a.unlist(ctx)
}

// applying knows what the file had.
type applying struct {
	s         *Server
	projects  map[string]bool
	endpoints map[task.EndpointID]bool
	out       Applied
}

// changed notes what was written.
func (a *applying) changed(list *[]string, project, name string, written bool) {
	if written {
		*list = append(*list, project+"/"+name)
	}
}

func (a *applying) project(ctx context.Context, p *declaredProject) error {
	a.projects[p.name] = true
	if err := a.s.Queues.Declare(ctx, task.MakeEndpointID(p.name, task.CallbackEndpoint)); err != nil {
		return err
	}
	written := false
	_, _, err := a.s.Projects.UpdateProject(ctx, p.name, func(old *task.Project) (task.Project, error) {
		next, err := a.s.declaredProject(p, old)
		if written = err == nil && !sameJSON(next, old); err == nil && !written {
			err = task.ErrUnchanged
		}
		return next, err
	})
	a.changed(&a.out.Set, p.name, "", written)
	return err
}

// declaredProject makes the new project out of the old one. A secret that is
// there already stays as it is sealed.
func (s *Server) declaredProject(p *declaredProject, old *task.Project) (next task.Project, err error) {
	if old != nil {
		next = *old
	}
	if old == nil || p.secret != nil && !s.Secrets.Signs(old.Callbacks(), *p.secret) {
		made, _, err := s.wantedProject(p.name, nil, p.secret)
		if err != nil {
			return next, err
		}
		next.CallbackSecret = s.overlapping(next.CallbackSecret, made.CallbackSecret)
	}
	next.Source, next.FixedSecret = task.SourceFile, p.secret != nil
	return next, nil
}

// overlapping: a secret that a file changes is rotated, not replaced.
func (s *Server) overlapping(old, next task.SealedSecret) task.SealedSecret {
	if old.IsZero() {
		return next
	}
	return old.Rotated(next.Current, next.Public, s.opt.Now().UTC().Add(defaultOverlap))
}

func (a *applying) endpoint(ctx context.Context, ep *declaredEndpoint) error {
	id := task.MakeEndpointID(ep.project, ep.name)
	a.endpoints[id] = true
	if err := a.s.Queues.Declare(ctx, id); err != nil {
		return err
	}
	written := false
	_, _, err := a.s.Endpoints.UpdateEndpoint(ctx, ep.project, ep.name, func(old *task.Endpoint) (task.Endpoint, error) {
		next, err := a.s.declaredEndpoint(ep, old)
		if written = err == nil && !sameJSON(next, old); err == nil && !written {
			err = task.ErrUnchanged
		}
		return next, err
	})
	a.changed(&a.out.Set, ep.project, ep.name, written)
	return err
}

// declaredEndpoint makes the new endpoint out of the old one. Secrets that are
// there already stay as they are sealed.
func (s *Server) declaredEndpoint(ep *declaredEndpoint, old *task.Endpoint) (task.Endpoint, error) {
	in := ep.in
	rotated := false
	if old != nil {
		if in.Secret != nil && s.Secrets.Signs(old, *in.Secret) {
			in.Secret, in.Signature = nil, nil
		}
		rotated = in.Secret != nil
		if in.Auth != nil && s.Secrets.Asks(old, targetSecret(in.Auth)) {
			in.Auth = withoutSecret(*in.Auth)
		}
	}
	r := replacement{s: s, project: ep.project, name: ep.name, in: &in, wanted: ep.wanted}
	next, err := r.of(old)
	if err != nil {
		return next, err
	}
	next.Source, next.FixedSecret, next.FixedPaused = task.SourceFile, ep.in.Secret != nil, ep.in.Paused != nil
	if old == nil {
		return next, nil
	}
	if next.Disabled == task.ReasonEndpointUnlisted {
		next.Disabled = task.ReasonNone
	}
	if rotated {
		next.SealedSecret = s.overlapping(old.SealedSecret, next.SealedSecret)
	}
	next.Project, next.Name, next.CreatedAt, next.UpdatedAt = old.Project, old.Name, old.CreatedAt, old.UpdatedAt
	return next, nil
}

// sameJSON compares as the registry stores.
func sameJSON[T any](next T, old *T) bool {
	if old == nil {
		return false
	}
	a, errA := json.Marshal(next)
	b, errB := json.Marshal(old)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// unlist deals with what the file once had.
func (a *applying) unlist(ctx context.Context) error {
	for _, p := range a.s.Projects.Projects() {
		eps := a.s.Endpoints.Endpoints(p.Name)
		for i := range eps {
			if eps[i].Source != task.SourceFile || a.endpoints[eps[i].ID()] {
				continue
			}
			if err := a.unlistEndpoint(ctx, p.Name, eps[i].Name); err != nil {
				return err
			}
		}
		if p.Source == task.SourceFile && !a.projects[p.Name] {
			if err := a.releaseProject(ctx, p.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applying) unlistEndpoint(ctx context.Context, project, name string) error {
	written := false
	_, _, err := a.s.Endpoints.UpdateEndpoint(ctx, project, name, func(old *task.Endpoint) (task.Endpoint, error) {
		if written = old != nil && old.Source == task.SourceFile; old == nil {
			return task.Endpoint{}, noEndpoint()
		}
		if !written { // by another gateway
			return *old, task.ErrUnchanged
		}
		next := *old
		next.Source, next.FixedSecret, next.FixedPaused = task.SourceUnlisted, false, false
		next.Disabled = task.ReasonEndpointUnlisted
		return next, nil
	})
	a.changed(&a.out.Unlisted, project, name, written)
	if task.CodeOf(err) == task.CodeNotFound {
		return nil // deleted meanwhile
	}
	return err
}

// releaseProject: a project that the file has no more is like any other.
func (a *applying) releaseProject(ctx context.Context, name string) error {
	_, _, err := a.s.Projects.UpdateProject(ctx, name, func(old *task.Project) (task.Project, error) {
		if old == nil {
			return task.Project{}, noProject()
		}
		next := *old
		next.Source, next.FixedSecret = task.SourceAPI, false
		return next, nil
	})
	if task.CodeOf(err) == task.CodeNotFound {
		return nil
	}
	return err
}

// writable refuses what a file decides; what says what is to be changed.
func writable(ep *task.Endpoint, what string) error {
	if ep == nil || ep.Source != task.SourceFile {
		return nil
	}
	switch {
	case what == "secret" && !ep.FixedSecret, what == "pause" && !ep.FixedPaused, what == "resume" && (!ep.FixedPaused || !ep.Paused):
		return nil
	}
	return task.Errorf(task.CodeReadOnly, "this endpoint is in the server's endpoints file; change it there")
}

func viewSource(s task.Source) gen.EndpointSource {
	if s == task.SourceAPI {
		return gen.EndpointSourceApi
	}
	return gen.EndpointSource(s)
}
