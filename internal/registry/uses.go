package registry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// useEvery is how often the last use of one key is written at most.
	useEvery = time.Minute
	// useTime bounds the write when the process ends.
	useTime = 2 * time.Second
)

// uses knows when keys were last used here: in memory with every request,
// written now and then.
type uses struct {
	mu sync.RWMutex
	of map[string]*use
}

type use struct {
	last atomic.Int64 // Unix milliseconds

	written   int64     // guarded by uses.mu, as the next
	writtenAt time.Time // of the latest write
}

// UseKey notes that a key was used. It does no I/O: the last use is written
// by Run, at most once a minute for each key.
func (r *Registry) UseKey(id string, at time.Time) {
	r.uses.mu.RLock()
	u := r.uses.of[id]
	r.uses.mu.RUnlock()
	if u == nil {
		u = r.uses.add(id)
	}
	u.last.Store(at.UnixMilli())
}

func (us *uses) add(id string) *use {
	us.mu.Lock()
	defer us.mu.Unlock()
	if us.of[id] == nil {
		us.of[id] = new(use)
	}
	return us.of[id]
}

func (us *uses) forget(id string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.of, id)
}

// KeyUses says when keys were last used, here or as another process wrote it:
// up to a minute late. Keys that never were are missing.
func (r *Registry) KeyUses(ctx context.Context) (map[string]time.Time, error) {
	out, err := r.d.Touched(ctx)
	if err != nil {
		return nil, fail(err)
	}
	if out == nil {
		out = make(map[string]time.Time)
	}
	r.uses.mu.RLock()
	defer r.uses.mu.RUnlock()
	for id, u := range r.uses.of {
		if at := time.UnixMilli(u.last.Load()); at.After(out[id]) {
			out[id] = at
		}
	}
	return out, nil
}

// writeUses writes what is due, or everything at the end. A failure is
// mended by the next round.
func (r *Registry) writeUses(ctx context.Context, everything bool) {
	now := r.opt.Now()
	due := r.uses.due(now, everything, func(id string) bool {
		k, _ := r.FindKey(id)
		return k != nil
	})
	if len(due) == 0 {
		return
	}
	times := make(map[string]time.Time, len(due))
	marks := make(map[*use]int64, len(due))
	for id, u := range due {
		at := u.last.Load()
		times[id], marks[u] = time.UnixMilli(at), at
	}
	if err := r.d.Touch(ctx, times); err != nil {
		r.opt.Logger.DebugContext(ctx, "last uses of keys not written yet", "keys", len(times), "error", err)
		return
	}
	r.uses.mu.Lock()
	defer r.uses.mu.Unlock()
	for u, at := range marks {
		u.written, u.writtenAt = at, now
	}
}

// writeAgain is called when the store has lost everything.
func (us *uses) writeAgain() {
	us.mu.Lock()
	defer us.mu.Unlock()
	for _, u := range us.of {
		u.written = 0
	}
}

// due lists what is to be written, and forgets keys that are no more.
func (us *uses) due(now time.Time, everything bool, live func(id string) bool) map[string]*use {
	us.mu.Lock()
	defer us.mu.Unlock()
	var out map[string]*use
	for id, u := range us.of {
		if !live(id) {
			delete(us.of, id)
			continue
		}
		if u.last.Load() <= u.written || !everything && now.Sub(u.writtenAt) < useEvery {
			continue
		}
		if out == nil {
			out = make(map[string]*use)
		}
		out[id] = u
	}
	return out
}
