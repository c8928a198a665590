package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// table holds what is in memory of one kind.
type table[T any] struct {
	byKey  map[Key]*T
	sorted []*T // by project, name
}

// view is the registry decoded. It is never changed once made.
type view struct {
	endpoints table[task.Endpoint]
	projects  table[task.Project]
	keys      table[task.APIKey]

	// byID and deleted know every endpoint, the built-in ones included.
	byID    map[task.EndpointID]*task.Endpoint
	deleted map[task.EndpointID]bool
	all     []*task.Endpoint // by project, name

	keyByID map[string]*task.APIKey
	revoked map[string]bool
}

func newView() view {
	v, _ := makeView(nil, nil, view{})
	return v
}

// makeView decodes items, reusing what was decoded of the items before.
// Items of kinds that this version does not know are kept, not looked at.
func makeView(items, before map[Key]Item, old view) (v view, faults []Key) {
	v.endpoints, faults = decode(endpoints, items, before, old)
	var more, evenMore []Key
	v.projects, more = decode(projects, items, before, old)
	v.keys, evenMore = decode(keys, items, before, old)
	v.index(items)
	return v, slices.Concat(faults, more, evenMore)
}

// decode makes the table of one kind.
func decode[T any](k *kind[T], items, before map[Key]Item, old view) (t table[T], faults []Key) {
	t.byKey = make(map[Key]*T)
	for key, it := range items {
		if key.Kind != k.name || it.Deleted {
			continue
		}
		v := k.table(&old).byKey[key]
		if v == nil || !bytes.Equal(before[key].Value, it.Value) {
			v = new(T)
			if err := json.Unmarshal(it.Value, v); err != nil || k.keyOf(v) != key {
				faults = append(faults, key)
				continue
			}
		}
		t.byKey[key] = v
		t.sorted = append(t.sorted, v)
	}
	slices.SortFunc(t.sorted, func(a, b *T) int {
		x, y := k.keyOf(a), k.keyOf(b)
		return cmp.Or(strings.Compare(x.Project, y.Project), strings.Compare(x.Name, y.Name))
	})
	return t, faults
}

// index gathers registered, built-in and deleted endpoints, and keys by id.
func (v *view) index(items map[Key]Item) {
	v.byID = make(map[task.EndpointID]*task.Endpoint, len(v.endpoints.sorted)+len(v.projects.sorted))
	v.deleted = make(map[task.EndpointID]bool)
	v.all = slices.Clone(v.endpoints.sorted)
	for _, p := range v.projects.sorted {
		v.all = append(v.all, p.Callbacks())
	}
	slices.SortFunc(v.all, func(a, b *task.Endpoint) int {
		return cmp.Or(strings.Compare(a.Project, b.Project), strings.Compare(a.Name, b.Name))
	})
	for _, ep := range v.all {
		v.byID[ep.ID()] = ep
	}
	v.keyByID, v.revoked = make(map[string]*task.APIKey, len(v.keys.sorted)), make(map[string]bool)
	for _, k := range v.keys.sorted {
		v.keyByID[k.ID] = k
	}
	for key, it := range items {
		switch {
		case !it.Deleted:
		case key.Kind == KindKey:
			v.revoked[key.Name] = true
		case key.Kind == KindEndpoint:
			v.deleted[task.MakeEndpointID(key.Project, key.Name)] = true
		case key.Kind == KindProject:
			v.deleted[task.MakeEndpointID(key.Project, task.CallbackEndpoint)] = true
		}
	}
}
