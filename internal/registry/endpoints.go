package registry

import (
	"context"

	"github.com/taskgate/taskgate/internal/task"
)

// Endpoint returns a registered endpoint by name. The value is the caller's
// own.
func (r *Registry) Endpoint(project, name string) (*task.Endpoint, bool) {
	return find(r, endpoints, endpointKey(project, name))
}

// EndpointByID returns an endpoint, registered or built-in, by its identity.
// deleted tells whether its owner deleted it, which differs from never having
// heard of it.
func (r *Registry) EndpointByID(id task.EndpointID) (ep *task.Endpoint, deleted, ok bool) {
	v := r.current()
	if found := v.byID[id]; found != nil {
		return copyEndpoint(found), false, true
	}
	return nil, v.deleted[id], false
}

// Endpoints returns a project's registered endpoints by name. For "" it
// returns everything that tasks are delivered for, the built-in endpoints
// included, by project and name.
func (r *Registry) Endpoints(project string) []task.Endpoint {
	if project != "" {
		return list(r, endpoints, project)
	}
	v := r.current()
	out := make([]task.Endpoint, len(v.all))
	for i, ep := range v.all {
		out[i] = *copyEndpoint(ep)
	}
	return out
}

func (r *Registry) current() view {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.view
}

// UpdateEndpoint creates or replaces an endpoint, durably when it returns.
// mutate makes the new one out of the old one (nil: there is none) and may be
// called several times; project, name and times are set for it. Its error is
// returned as it is and changes nothing, but see [task.ErrUnchanged].
func (r *Registry) UpdateEndpoint(
	ctx context.Context, project, name string, mutate func(old *task.Endpoint) (task.Endpoint, error),
) (created bool, ep task.Endpoint, err error) {
	if name == task.CallbackEndpoint {
		return false, task.Endpoint{}, task.Errorf(task.CodeInvalid, "the name %s is reserved", name)
	}
	return update(ctx, r, endpoints, endpointKey(project, name), mutate)
}

// DeleteEndpoint deletes an endpoint and remembers that it was deleted.
func (r *Registry) DeleteEndpoint(ctx context.Context, project, name string) error {
	return remove(ctx, r, endpoints, endpointKey(project, name), nil)
}

// DisableEndpoint holds the endpoint's tasks because of reason, and reports
// whether it did. called is the endpoint as the attempt knew it that brought
// the reason: one that has another URL by now was repaired, and what its old
// one said is no news. An endpoint that is disabled already keeps its first
// reason; a built-in one is never disabled, since its tasks go to as many
// receivers as there are callbacks.
func (r *Registry) DisableEndpoint(ctx context.Context, called *task.Endpoint, reason task.Reason) (held bool, err error) {
	if called.Builtin {
		return false, nil
	}
	_, _, err = r.UpdateEndpoint(ctx, called.Project, called.Name, func(old *task.Endpoint) (task.Endpoint, error) {
		if held = false; old == nil {
			return task.Endpoint{}, task.Errorf(task.CodeNotFound, "no such endpoint")
		}
		if old.Disabled != task.ReasonNone || old.URL != called.URL {
			return task.Endpoint{}, task.ErrUnchanged
		}
		old.Disabled, held = reason, true
		return *old, nil
	})
	return held && err == nil, err
}
