package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
)

// tallies keeps figures in memory: they may be lost. The zero value is ready.
type tallies struct {
	mu     sync.Mutex
	byName map[string]*figures
	swept  time.Time
}

// figures of one name.
type figures struct {
	minutes map[int64]*minute
	levels  map[string]level // by owner
}

type minute struct {
	counts map[int]int64
	till   time.Time
}

type level struct {
	n    int
	till time.Time
}

// Tally implements [results.Driver].
func (d *Driver) Tally(ctx context.Context, owner string, at int64, ts []results.Tally, ttl time.Duration) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	t, now := &d.tallies, d.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	for _, one := range ts {
		f := t.of(one.Name)
		f.levels[owner] = level{one.Level, now.Add(ttl)}
		if len(one.Counts) == 0 {
			continue
		}
		m := f.minutes[at]
		if m == nil {
			m = &minute{counts: make(map[int]int64)}
			f.minutes[at] = m
		}
		m.till = now.Add(results.TallyKept)
		for _, c := range one.Counts {
			m.counts[c.Counter] += c.N
		}
	}
	return nil
}

func (t *tallies) of(name string) *figures {
	if t.byName == nil {
		t.byName = make(map[string]*figures)
	}
	f := t.byName[name]
	if f == nil {
		f = &figures{minutes: make(map[int64]*minute), levels: make(map[string]level)}
		t.byName[name] = f
	}
	return f
}

// sweep forgets what is over, once a minute.
func (t *tallies) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	for name, f := range t.byName {
		for at, m := range f.minutes {
			if !now.Before(m.till) {
				delete(f.minutes, at)
			}
		}
		for owner, l := range f.levels {
			if !now.Before(l.till) {
				delete(f.levels, owner)
			}
		}
		if len(f.minutes)+len(f.levels) == 0 {
			delete(t.byName, name)
		}
	}
}

// Tallied implements [results.Driver].
func (d *Driver) Tallied(ctx context.Context, names []string, first, last int64) ([]results.Tallied, error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	t, now := &d.tallies, d.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]results.Tallied, len(names))
	for i, name := range names {
		if f := t.byName[name]; f != nil {
			out[i] = f.sum(first, last, now)
		}
	}
	return out, nil
}

func (f *figures) sum(first, last int64, now time.Time) (out results.Tallied) {
	counts := make(map[int]int64)
	for at, m := range f.minutes {
		if at < first || at > last {
			continue
		}
		for counter, n := range m.counts {
			counts[counter] += n
		}
	}
	for counter, n := range counts {
		out.Counts = append(out.Counts, results.Count{Counter: counter, N: n})
	}
	for _, l := range f.levels {
		if now.Before(l.till) {
			out.Level += l.n
		}
	}
	return out
}
