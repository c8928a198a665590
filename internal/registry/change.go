package registry

import (
	"context"
	"maps"

	"github.com/taskgate/taskgate/internal/task"
)

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
