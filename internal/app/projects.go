package app

import (
	"context"
	"fmt"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// projects makes sure of the default project, and that the callbacks of every
// project find their queue: first the queue, then the registry.
func (a *App) projects(ctx context.Context, b *backends) error {
	names := []string{auth.DefaultProject}
	for _, p := range b.registry.Projects() {
		if p.Name != auth.DefaultProject {
			names = append(names, p.Name)
		}
	}
	for _, name := range names {
		if err := b.queue.Declare(ctx, task.MakeEndpointID(name, task.CallbackEndpoint)); err != nil {
			return fmt.Errorf("declare the callbacks' queue of project %s: %w", name, err)
		}
	}
	_, _, err := b.registry.UpdateProject(ctx, auth.DefaultProject, func(old *task.Project) (task.Project, error) {
		if old != nil {
			return task.Project{}, task.ErrUnchanged
		}
		sealed, err := b.secrets.Seal(auth.DefaultProject, task.CallbackEndpoint, b.secrets.Generate())
		return task.Project{CallbackSecret: task.SealedSecret{Current: sealed}}, err
	})
	if err != nil {
		return fmt.Errorf("make the default project: %w", err)
	}
	return nil
}
