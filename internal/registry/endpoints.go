package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/taskgate/taskgate/internal/task"
)

// Endpoint returns an endpoint by name. The value is the caller's own.
func (r *Registry) Endpoint(project, name string) (*task.Endpoint, bool) {
	ep, _, ok := r.EndpointByID(task.MakeEndpointID(project, name))
	return ep, ok
}

// EndpointByID returns an endpoint by its identity. deleted tells whether its
// owner deleted it, which differs from never having heard of it.
func (r *Registry) EndpointByID(id task.EndpointID) (ep *task.Endpoint, deleted, ok bool) {
	v := r.current()
	if found := v.byID[id]; found != nil {
		return copyOf(found), false, true
	}
	return nil, v.deleted[id], false
}

// Endpoints returns a project's endpoints by name; of every project, sorted
// by project and name, when project is "".
func (r *Registry) Endpoints(project string) []task.Endpoint {
	v := r.current()
	out := make([]task.Endpoint, 0, len(v.sorted))
	for _, ep := range v.sorted {
		if project == "" || ep.Project == project {
			out = append(out, *copyOf(ep))
		}
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
// returned as it is and changes nothing.
func (r *Registry) UpdateEndpoint(
	ctx context.Context, project, name string, mutate func(old *task.Endpoint) (task.Endpoint, error),
) (created bool, ep task.Endpoint, err error) {
	key := Key{Kind: kindEndpoint, Project: project, Name: name}
	err = r.change(ctx, key, func() (Item, error) {
		old, ok := r.Endpoint(project, name)
		created = !ok
		if ep, err = mutate(old); err != nil {
			return Item{}, err
		}
		ep.Project, ep.Name = project, name
		ep.UpdatedAt = r.opt.Now().UTC()
		if ep.CreatedAt = ep.UpdatedAt; ok {
			ep.CreatedAt = old.CreatedAt
		}
		value, err := json.Marshal(ep)
		if err != nil {
			return Item{}, fmt.Errorf("encode endpoint: %w", err)
		}
		return Item{Key: key, Value: value}, nil
	})
	if err != nil {
		return false, task.Endpoint{}, err
	}
	return created, *copyOf(&ep), nil
}

// DeleteEndpoint deletes an endpoint and remembers that it was deleted.
func (r *Registry) DeleteEndpoint(ctx context.Context, project, name string) error {
	key := Key{Kind: kindEndpoint, Project: project, Name: name}
	return r.change(ctx, key, func() (Item, error) {
		if _, ok := r.Endpoint(project, name); !ok {
			return Item{}, task.Errorf(task.CodeNotFound, "no such endpoint")
		}
		return Item{Key: key, Deleted: true}, nil
	})
}

// DisableEndpoint holds the endpoint's tasks because of reason. An endpoint
// that is disabled already keeps its first reason.
func (r *Registry) DisableEndpoint(ctx context.Context, id task.EndpointID, reason task.Reason) error {
	found, _, ok := r.EndpointByID(id)
	if !ok {
		return task.Errorf(task.CodeNotFound, "no such endpoint")
	}
	_, _, err := r.UpdateEndpoint(ctx, found.Project, found.Name, func(old *task.Endpoint) (task.Endpoint, error) {
		if old == nil {
			return task.Endpoint{}, task.Errorf(task.CodeNotFound, "no such endpoint")
		}
		if old.Disabled == task.ReasonNone {
			old.Disabled = reason
		}
		return *old, nil
	})
	return err
}

// maxTries bounds a change that others keep overtaking.
const maxTries = 50

// change writes the item that propose makes of the present memory, again and
// again until nobody was faster.
func (r *Registry) change(ctx context.Context, key Key, propose func() (Item, error)) error {
	for range maxTries {
		// First give back what the store may have lost: a write to an emptied
		// store would make it look alive.
		if err := r.Sync(ctx); err != nil {
			return err
		}
		mine := r.known()
		it, err := propose()
		if err != nil {
			return err
		}
		done, err := r.write(ctx, it, mine)
		if done || err != nil {
			return fail(err)
		}
	}
	return task.Errorf(task.CodeConflict, "%s %s is being changed by others all the time", key.Kind, key.Name)
}

func (r *Registry) write(ctx context.Context, it Item, mine State) (bool, error) {
	var expect int64
	for _, old := range mine.Items {
		if old.Key == it.Key && !old.Deleted {
			expect = old.Revision
		}
	}
	epoch := mine.Epoch
	if epoch == "" {
		epoch = newEpoch()
	}
	version, ok, err := r.d.Put(ctx, it, expect, epoch)
	if err != nil || !ok {
		return false, err
	}
	it.Revision = version
	if version > mine.Version {
		r.apply(it, version, epoch)
		return true, nil
	}
	// The store was emptied just before the write: give back everything, this
	// change included.
	it.Revision = mine.Version + 1
	mine.Version++
	mine.Items = append(without(mine.Items, it.Key), it)
	did, err := r.d.Seed(ctx, mine)
	if did {
		r.adopt(mine)
	}
	return did, err
}

func without(items []Item, key Key) []Item {
	out := make([]Item, 0, len(items)+1)
	for _, it := range items {
		if it.Key != key {
			out = append(out, it)
		}
	}
	return out
}

// apply shows an own write at once. If others wrote in between, the version
// stays behind and the next Sync loads theirs.
func (r *Registry) apply(it Item, version int64, epoch string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.items[it.Key].Revision >= version {
		return
	}
	items := maps.Clone(r.items)
	items[it.Key] = it
	v, _ := makeView(items, r.items, r.view)
	// At version 1 the store was new and took our epoch.
	if version == r.state.Version+1 && (r.state.Epoch == "" || r.state.Epoch == epoch) {
		r.state.Epoch, r.state.Version = epoch, version
	}
	r.show(items, v)
}
