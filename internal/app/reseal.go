package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/taskgate/taskgate/internal/task"
)

// resealed is what came of sealing anew.
type resealed struct {
	changed int
	// stale are values that an old key has sealed still.
	stale int
	// lost says of each value that no key here opens whose it is, and which
	// key that takes.
	lost []error
}

// reseal seals what an old key has sealed with the current one. Each value is
// written only over the one that was read, so that several processes may do it
// at once, and operators meanwhile change what they like. With look it changes
// nothing.
func (a *App) reseal(ctx context.Context, b *backends, look bool) (resealed, error) {
	var out resealed
	for _, p := range b.registry.Projects() {
		one := b.secrets.renewal(p.Callbacks())
		found := one.stale
		if !out.count(one, look) {
			continue
		}
		_, _, err := b.registry.UpdateProject(ctx, p.Name, func(old *task.Project) (task.Project, error) {
			if old == nil {
				return task.Project{}, task.ErrUnchanged
			}
			next := *old
			one = b.secrets.renewal(old.Callbacks())
			next.CallbackSecret = one.endpoint.SealedSecret
			return next, one.err()
		})
		if err = out.wrote(found, one.stale, err); err != nil {
			return out, fmt.Errorf("project %s: %w", p.Name, err)
		}
	}
	for _, ep := range b.registry.Endpoints("") {
		if ep.Builtin {
			continue // it is its project's
		}
		one := b.secrets.renewal(&ep)
		found := one.stale
		if !out.count(one, look) {
			continue
		}
		_, _, err := b.registry.UpdateEndpoint(ctx, ep.Project, ep.Name, func(old *task.Endpoint) (task.Endpoint, error) {
			if old == nil {
				return task.Endpoint{}, task.ErrUnchanged
			}
			one = b.secrets.renewal(old)
			return *one.endpoint, one.err()
		})
		if err = out.wrote(found, one.stale, err); err != nil {
			return out, fmt.Errorf("endpoint %s/%s: %w", ep.Project, ep.Name, err)
		}
	}
	return out, nil
}

// count notes what there is to do; false: nothing, or it is only looked.
func (r *resealed) count(one renewal, look bool) bool {
	r.stale += one.stale
	if one.lost != nil {
		r.lost = append(r.lost, one.lost)
	}
	return one.stale > 0 && !look
}

// wrote notes what was written. What somebody else has renewed or deleted
// meanwhile is no failure.
func (r *resealed) wrote(found, renewed int, err error) error {
	if errors.Is(err, task.ErrUnchanged) {
		err = nil
	}
	if err == nil {
		r.changed += renewed
		r.stale -= found
	}
	return err
}

// renewal is an endpoint with its secrets sealed anew.
type renewal struct {
	endpoint *task.Endpoint
	stale    int
	lost     error // why some cannot be opened; nil: all can
}

func (r renewal) err() error {
	if r.stale == 0 {
		return task.ErrUnchanged
	}
	return nil
}

// renewal seals anew what of an endpoint an old key has sealed.
func (s secrets) renewal(ep *task.Endpoint) renewal {
	next := *ep
	next.SealedSecret, next.Auth = ep.SealedSecret.Clone(), ep.Auth.Clone()
	r := renewal{endpoint: &next}
	renew := func(value *[]byte, what string, owner ...string) {
		if len(*value) == 0 || !s.ring.Stale(*value) {
			return
		}
		plain, err := s.ring.Open(*value, owner...)
		if err != nil {
			r.lost = errors.Join(r.lost, fmt.Errorf("%s of %s: %w", what, named(ep), err))
			return
		}
		*value = s.ring.Seal(plain, owner...)
		r.stale++
	}
	renew(&next.SealedSecret.Current, "the signing secret", ep.Project, ep.Name)
	renew(&next.SealedSecret.Previous, "the signing secret before this one", ep.Project, ep.Name)
	if next.Auth != nil {
		renew(&next.Auth.Sealed, "what the target asks for", ep.Project, ep.Name, ownerAuth)
	}
	return r
}

// named says whose secrets they are.
func named(ep *task.Endpoint) string {
	if ep.Builtin {
		return "the callbacks of project " + ep.Project
	}
	return "endpoint " + ep.Project + "/" + ep.Name
}

// checkSealed tells at the start which secrets cannot be opened, and seals
// anew what an old key has sealed where no other process can have a say: in
// the embedded store. With Redis, processes may be at work that do not know
// the new key yet: there it takes the command.
func (a *App) checkSealed(ctx context.Context, b *backends) error {
	r, err := a.reseal(ctx, b, !a.cfg.Role.Embedded())
	if err != nil {
		return fmt.Errorf("seal secrets anew: %w", err)
	}
	for _, lost := range r.lost {
		a.log.ErrorContext(ctx, "a secret cannot be opened: nothing is sent with it until TASKGATE_SECRET_KEY has the key again, or another secret is set", "error", lost)
	}
	if r.changed > 0 {
		a.log.InfoContext(ctx, "secrets are sealed anew with the first key of TASKGATE_SECRET_KEY", "values", r.changed)
	}
	if r.stale > 0 {
		a.log.WarnContext(ctx, "secrets are sealed with an old key; once every process has the new one, run: taskgate registry reseal", "values", r.stale)
	}
	return nil
}
