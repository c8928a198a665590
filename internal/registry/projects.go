package registry

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/taskgate/taskgate/internal/task"
)

// Project returns a project by name. The value is the caller's own.
func (r *Registry) Project(name string) (*task.Project, bool) {
	return find(r, projects, projectKey(name))
}

// Projects returns all projects by name.
func (r *Registry) Projects() []task.Project { return list(r, projects, "") }

// UpdateProject creates or changes a project as UpdateEndpoint does an
// endpoint. Name and times are set for it. The queue of its callbacks is to
// be declared before.
func (r *Registry) UpdateProject(
	ctx context.Context, name string, mutate func(old *task.Project) (task.Project, error),
) (created bool, p task.Project, err error) {
	return update(ctx, r, projects, projectKey(name), mutate)
}

// DeleteProject deletes a project and its built-in endpoint, and remembers
// that. CodeConflict while it has endpoints or keys.
func (r *Registry) DeleteProject(ctx context.Context, name string) error {
	return remove(ctx, r, projects, projectKey(name), func(*task.Project) error {
		if n := len(r.Endpoints(name)); n > 0 {
			return task.Errorf(task.CodeConflict, "the project has %d endpoints", n)
		}
		if n := len(r.Keys(name)); n > 0 {
			return task.Errorf(task.CodeConflict, "the project has %d keys", n)
		}
		return nil
	})
}

// EndpointNames lists a project's registered endpoints by name, the deleted
// ones included.
func (r *Registry) EndpointNames(project string) []string {
	return r.names(func(key Key) (string, bool) {
		return key.Name, key.Kind == KindEndpoint && key.Project == project
	})
}

// ProjectNames lists all projects by name, the deleted ones included.
func (r *Registry) ProjectNames() []string {
	return r.names(func(key Key) (string, bool) { return key.Project, key.Kind == KindProject })
}

func (r *Registry) names(of func(Key) (string, bool)) []string {
	r.mu.RLock()
	items := r.items // never changed once made
	r.mu.RUnlock()
	var out []string
	for key := range items {
		if name, ok := of(key); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// elder reports whether mine is a project that is older than theirs. A process
// that starts on an emptied store makes the default project anew, with another
// secret: receivers must not notice.
func elder(mine, theirs Item) bool {
	var a, b task.Project
	return mine.Kind == KindProject && !theirs.Deleted &&
		json.Unmarshal(mine.Value, &a) == nil && json.Unmarshal(theirs.Value, &b) == nil && a.CreatedAt.Before(b.CreatedAt)
}
