package sqlite

import (
	"context"
	"sync"
	"time"
)

// leases knows who lives and who leads. The zero value is ready. Times keep
// their monotonic part: a clock that is set kills nobody.
type leases struct {
	mu    sync.Mutex
	beats map[string]time.Time
	leads map[string]lead
}

type lead struct {
	owner string
	till  time.Time
}

// Beat implements [results.Driver].
func (d *Driver) Beat(ctx context.Context, owner string, ttl time.Duration) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	l, now := &d.leases, d.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.beats == nil {
		l.beats = map[string]time.Time{}
	}
	for o, till := range l.beats {
		if !now.Before(till) {
			delete(l.beats, o)
		}
	}
	l.beats[owner] = now.Add(ttl)
	return nil
}

// Alive implements [results.Driver].
func (d *Driver) Alive(ctx context.Context, owner string) (bool, error) {
	if err := d.open(ctx); err != nil {
		return false, err
	}
	d.leases.mu.Lock()
	defer d.leases.mu.Unlock()
	return d.now().Before(d.leases.beats[owner]), nil
}

// Lead implements [results.Driver].
func (d *Driver) Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	if err := d.open(ctx); err != nil {
		return false, err
	}
	l, now := &d.leases, d.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.leads[name]; h.owner != owner && now.Before(h.till) {
		return false, nil
	}
	if l.leads == nil {
		l.leads = map[string]lead{}
	}
	l.leads[name] = lead{owner, now.Add(ttl)}
	return true, nil
}
