package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// The kinds of items; see [Key].
const (
	KindEndpoint = "endpoint"
	KindProject  = "project"
	KindKey      = "key"
)

// kind is how the registry holds the items of one kind: as JSON of T in the
// store, as *T in memory.
type kind[T any] struct {
	name string // in [Key]
	noun string // in errors
	// keyOf says under which key a value belongs; what is stored under
	// another is a fault.
	keyOf  func(*T) Key
	copyOf func(*T) *T
	// stamp sets what the registry decides of a value: its identity and its
	// times. old is nil for a new one.
	stamp func(next, old *T, key Key, now time.Time)
	table func(*view) *table[T]
}

var endpoints = &kind[task.Endpoint]{
	name: KindEndpoint, noun: "endpoint",
	keyOf:  func(ep *task.Endpoint) Key { return endpointKey(ep.Project, ep.Name) },
	copyOf: copyEndpoint,
	stamp: func(next, old *task.Endpoint, key Key, now time.Time) {
		next.Project, next.Name = key.Project, key.Name
		next.CreatedAt, next.UpdatedAt = now, now
		if old != nil {
			next.CreatedAt = old.CreatedAt
		}
	},
	table: func(v *view) *table[task.Endpoint] { return &v.endpoints },
}

var projects = &kind[task.Project]{
	name: KindProject, noun: "project",
	keyOf:  func(p *task.Project) Key { return projectKey(p.Name) },
	copyOf: copyProject,
	stamp: func(next, old *task.Project, key Key, now time.Time) {
		next.Name = key.Project
		next.CreatedAt, next.UpdatedAt = now, now
		if old != nil {
			next.CreatedAt = old.CreatedAt
		}
	},
	table: func(v *view) *table[task.Project] { return &v.projects },
}

var keys = &kind[task.APIKey]{
	name: KindKey, noun: "key",
	keyOf:  func(k *task.APIKey) Key { return apiKeyKey(k.Project, k.ID) },
	copyOf: copyAPIKey,
	stamp: func(next, old *task.APIKey, key Key, now time.Time) {
		next.Project, next.ID = key.Project, key.Name
		if next.CreatedAt = now; old != nil {
			next.CreatedAt = old.CreatedAt
		}
	},
	table: func(v *view) *table[task.APIKey] { return &v.keys },
}

func endpointKey(project, name string) Key {
	return Key{Kind: KindEndpoint, Project: project, Name: name}
}

// projectKey: a project is its own owner and has no name within itself.
func projectKey(name string) Key { return Key{Kind: KindProject, Project: name} }

func apiKeyKey(project, id string) Key { return Key{Kind: KindKey, Project: project, Name: id} }

// find returns a copy of what is in memory.
func find[T any](r *Registry, k *kind[T], key Key) (*T, bool) {
	v := r.current()
	found, ok := k.table(&v).byKey[key]
	if !ok {
		return nil, false
	}
	return k.copyOf(found), true
}

// list returns copies of a project's values by name; of every project, by
// project and name, for "".
func list[T any](r *Registry, k *kind[T], project string) []T {
	v := r.current()
	sorted := k.table(&v).sorted
	out := make([]T, 0, len(sorted))
	for _, found := range sorted {
		if project == "" || k.keyOf(found).Project == project {
			out = append(out, *k.copyOf(found))
		}
	}
	return out
}

// update creates or replaces a value, durably when it returns: what mutate
// makes of the present one (nil: there is none). mutate may be called several
// times; its error is returned as it is and changes nothing.
func update[T any](
	ctx context.Context, r *Registry, k *kind[T], key Key, mutate func(old *T) (T, error),
) (created bool, v T, err error) {
	err = r.change(ctx, key, func() (Item, error) {
		old, ok := find(r, k, key)
		created = !ok
		var kept *T
		if ok {
			kept = k.copyOf(old)
		}
		if v, err = mutate(old); err != nil {
			if errors.Is(err, task.ErrUnchanged) && ok {
				v = *kept
			}
			return Item{}, err
		}
		k.stamp(&v, kept, key, r.opt.Now().UTC())
		value, err := json.Marshal(v)
		if err != nil {
			return Item{}, fmt.Errorf("encode %s: %w", k.noun, err)
		}
		return Item{Key: key, Value: value}, nil
	})
	if errors.Is(err, task.ErrUnchanged) && !created {
		err = nil
	}
	if err != nil {
		var none T
		return false, none, err
	}
	return created, *k.copyOf(&v), nil
}

// remove deletes a value and remembers that it was deleted. allowed may
// refuse, looking at what is there; its error is returned as it is.
func remove[T any](ctx context.Context, r *Registry, k *kind[T], key Key, allowed func(*T) error) error {
	return r.change(ctx, key, func() (Item, error) {
		old, ok := find(r, k, key)
		if !ok {
			return Item{}, task.Errorf(task.CodeNotFound, "no such %s", k.noun)
		}
		if allowed != nil {
			if err := allowed(old); err != nil {
				return Item{}, err
			}
		}
		return Item{Key: key, Deleted: true}, nil
	})
}

func copyEndpoint(ep *task.Endpoint) *task.Endpoint {
	c := *ep
	c.Headers = maps.Clone(ep.Headers)
	c.Labels = maps.Clone(ep.Labels)
	c.SealedSecret = ep.SealedSecret.Clone()
	c.Auth, c.Breaker = ep.Auth.Clone(), ep.Breaker.Clone()
	c.Result.KeepHeaders = slices.Clone(ep.Result.KeepHeaders)
	if ep.Retry != nil {
		r := *ep.Retry
		r.MaxAttempts, r.Multiplier, r.Jitter = pointTo(r.MaxAttempts), pointTo(r.Multiplier), pointTo(r.Jitter)
		r.MinBackoff, r.MaxBackoff, r.MaxAge = pointTo(r.MinBackoff), pointTo(r.MaxBackoff), pointTo(r.MaxAge)
		r.Schedule = slices.Clone(r.Schedule)
		r.RetryOn, r.FailOn = slices.Clone(r.RetryOn), slices.Clone(r.FailOn)
		c.Retry = &r
	}
	return &c
}

func copyProject(p *task.Project) *task.Project {
	c := *p
	c.CallbackSecret = p.CallbackSecret.Clone()
	return &c
}

func copyAPIKey(k *task.APIKey) *task.APIKey {
	c := *k
	c.Scopes, c.Digest = slices.Clone(k.Scopes), slices.Clone(k.Digest)
	c.Endpoints, c.Addresses = slices.Clone(k.Endpoints), slices.Clone(k.Addresses)
	return &c
}

func pointTo[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
