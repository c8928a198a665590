package registry

import (
	"context"
	"encoding/json"

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
// that. What else belongs to it is to be deleted before.
func (r *Registry) DeleteProject(ctx context.Context, name string) error {
	return remove(ctx, r, projects, projectKey(name), nil)
}

// elder reports whether mine is a project that is older than theirs. A process
// that starts on an emptied store makes the default project anew, with another
// secret: receivers must not notice.
func elder(mine, theirs Item) bool {
	var a, b task.Project
	return mine.Kind == kindProject && !theirs.Deleted &&
		json.Unmarshal(mine.Value, &a) == nil && json.Unmarshal(theirs.Value, &b) == nil && a.CreatedAt.Before(b.CreatedAt)
}
