package registry

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// MaxKeys is how many keys a project may have: all of them are in memory.
const MaxKeys = 1000

// FindKey returns a key by its id, whoever's it is. The value is shared: it
// must not be changed. known is true for one that was revoked, too.
func (r *Registry) FindKey(id string) (k *task.APIKey, known bool) {
	v := r.current()
	k = v.keyByID[id]
	return k, k != nil || v.revoked[id]
}

// Key returns a project's key. The value is the caller's own.
func (r *Registry) Key(project, id string) (*task.APIKey, bool) {
	return find(r, keys, apiKeyKey(project, id))
}

// Keys returns a project's keys by id, which is by age.
func (r *Registry) Keys(project string) []task.APIKey { return list(r, keys, project) }

// AddKey keeps a new key, durably when it returns. Its time is set for it.
// Errors: CodeConflict when the project has MaxKeys, CodeNotFound when there
// is no such project.
func (r *Registry) AddKey(ctx context.Context, k task.APIKey) (task.APIKey, error) {
	_, out, err := update(ctx, r, keys, apiKeyKey(k.Project, k.ID), func(old *task.APIKey) (task.APIKey, error) {
		switch _, ok := r.Project(k.Project); {
		case !ok:
			return k, task.Errorf(task.CodeNotFound, "no such project")
		case old != nil: // 40 random bits within the same millisecond
			return k, task.Errorf(task.CodeConflict, "this id is taken")
		case len(r.Keys(k.Project)) >= MaxKeys:
			return k, task.Errorf(task.CodeConflict, "a project has at most %d keys; delete some", MaxKeys)
		}
		return k, nil
	})
	return out, err
}

// DeleteKey revokes a key: here at once, elsewhere as soon as the change is
// seen. allowed may refuse; its error is returned as it is.
func (r *Registry) DeleteKey(ctx context.Context, project, id string, allowed func(*task.APIKey) error) error {
	if err := remove(ctx, r, keys, apiKeyKey(project, id), allowed); err != nil {
		return err
	}
	r.uses.forget(id)
	if err := r.d.Touch(ctx, map[string]time.Time{id: {}}); err != nil {
		r.opt.Logger.DebugContext(ctx, "the last use of a revoked key is still kept", "key", id, "error", err)
	}
	return nil
}
