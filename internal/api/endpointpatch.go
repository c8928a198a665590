package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// PatchEndpoint changes single fields of an endpoint (RFC 7396).
func (s *Server) PatchEndpoint(c echo.Context, name gen.EndpointName) error {
	own, ctx := callOf(c), c.Request().Context()
	p := patching{s: s, c: c, name: name}
	if _, _, err := s.readJSON(c, &p.patch, ""); err != nil {
		return err
	}
	s.refresh(ctx)
	_, ep, err := s.Endpoints.UpdateEndpoint(ctx, own.who.Project, name, p.of)
	if err != nil {
		return err
	}
	view := s.viewEndpoint(ctx, &ep)
	view.Secret = p.shown
	return s.json(c, http.StatusOK, view)
}

// patching makes the new endpoint out of the old one and a merge patch.
type patching struct {
	s     *Server
	c     echo.Context
	name  string
	patch map[string]any
	shown *string // the secret, when it is new
}

// of may be called several times, with what others have made of the endpoint
// meanwhile: each time all faults are found anew.
func (p *patching) of(old *task.Endpoint) (task.Endpoint, error) {
	own := callOf(p.c)
	if old == nil {
		named := faults{params: own.faults.params}
		if err := named.err(); err != nil {
			return task.Endpoint{}, err
		}
		return task.Endpoint{}, noEndpoint()
	}
	if err := writable(old, "all"); err != nil {
		return task.Endpoint{}, err
	}
	f := faults{params: slices.Clone(own.faults.params), body: slices.Clone(own.faults.body)}
	in, err := p.merged(old, &f)
	if err != nil {
		return task.Endpoint{}, err
	}
	wanted := p.s.endpoint(in, &f)
	if err := f.err(); err != nil {
		return task.Endpoint{}, err
	}
	r := replacement{s: p.s, project: own.who.Project, name: p.name, in: in, wanted: wanted}
	next, err := r.of(old)
	p.shown = r.shown
	return next, err
}

// merged is the configuration that the patch makes of the present one; its
// faults are noted.
func (p *patching) merged(old *task.Endpoint, f *faults) (*gen.EndpointConfig, error) {
	text, err := json.Marshal(configOf(old)) //nolint:gosec // G117: it has no secret
	if err != nil {
		return nil, task.Wrap(task.CodeInternal, err, "")
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, task.Wrap(task.CodeInternal, err, "")
	}
	if object, ok := tree.(map[string]any); ok && p.otherAuth(old) {
		delete(object, "auth")
	}
	tree = mergePatch(tree, p.patch)
	conform(p.s.contract.endpoint, tree, f.inBody)
	if text, err = json.Marshal(tree); err != nil {
		return nil, task.Wrap(task.CodeInternal, err, "")
	}
	// A member of the wrong type is noted above; the others are still read.
	in := &gen.EndpointConfig{}
	err = json.Unmarshal(text, in)
	if wrong := (*json.UnmarshalTypeError)(nil); err != nil && !errors.As(err, &wrong) {
		return nil, task.Wrap(task.CodeInternal, err, "")
	}
	if in.Paused == nil {
		in.Paused = new(false) // absent it would stay
	}
	return in, nil
}

// otherAuth reports whether the patch changes the type of auth: fields of the
// present one would make no sense with it.
func (p *patching) otherAuth(old *task.Endpoint) bool {
	auth, _ := p.patch["auth"].(map[string]any)
	kind, given := auth["type"]
	return given && old.Auth != nil && kind != string(old.Auth.Type)
}

// configOf is the configuration that would make the endpoint, but for its
// secret.
func configOf(ep *task.Endpoint) gen.EndpointConfig {
	result := viewResultPolicy(&ep.Result)
	out := gen.EndpointConfig{
		Url: ep.URL, Method: new(gen.EndpointConfigMethod(ep.Method)),
		Timeout: new(task.Duration(ep.TimeoutFor(&task.Spec{})).String()),
		Retry:   viewRetry(ep.Retry), Result: &result, Auth: viewAuth(ep.Auth), Paused: new(ep.Paused),
		MaxConcurrency: unlessZero(ep.MaxConcurrency), CircuitBreaker: viewCircuitBreaker(ep.Breaker),
	}
	if ep.Headers != nil {
		out.Headers = (*gen.Headers)(&ep.Headers)
	}
	if ep.Labels != nil {
		out.Labels = (*gen.Labels)(&ep.Labels)
	}
	return out
}

// mergePatch applies a merge patch (RFC 7396, section 2).
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = make(map[string]any, len(changes))
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = mergePatch(object[name], value)
	}
	return object
}
