package registry

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// view is the registry decoded. It is never changed once made.
type view struct {
	byID    map[task.EndpointID]*task.Endpoint
	deleted map[task.EndpointID]bool
	sorted  []*task.Endpoint // by project, name
}

func newView() view {
	return view{byID: make(map[task.EndpointID]*task.Endpoint), deleted: make(map[task.EndpointID]bool)}
}

// makeView decodes items, reusing what was decoded of the items before.
func makeView(items, before map[Key]Item, old view) (v view, faults []Key) {
	v = newView()
	for key, it := range items {
		if key.Kind != kindEndpoint {
			continue
		}
		id := task.MakeEndpointID(key.Project, key.Name)
		if it.Deleted {
			v.deleted[id] = true
			continue
		}
		ep := old.byID[id]
		if ep == nil || !bytes.Equal(before[key].Value, it.Value) {
			ep = new(task.Endpoint)
			if err := json.Unmarshal(it.Value, ep); err != nil || ep.Project != key.Project || ep.Name != key.Name {
				faults = append(faults, key)
				continue
			}
		}
		v.byID[id] = ep
		v.sorted = append(v.sorted, ep)
	}
	slices.SortFunc(v.sorted, func(a, b *task.Endpoint) int {
		if c := strings.Compare(a.Project, b.Project); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return v, faults
}

// copyOf shares nothing with ep, so that no caller can spoil the memory.
func copyOf(ep *task.Endpoint) *task.Endpoint {
	c := *ep
	c.Headers = maps.Clone(ep.Headers)
	c.Labels = maps.Clone(ep.Labels)
	c.SealedSecret = slices.Clone(ep.SealedSecret)
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

func pointTo[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
