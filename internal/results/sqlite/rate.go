package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

var _ results.Rates = (*Driver)(nil)

// rates knows when each rate's whole burst is there again. The zero value is
// ready. It lives in memory: there is one process, and a new one begins with
// full bursts.
type rates struct {
	mu    sync.Mutex
	full  map[string]time.Time
	swept time.Time
}

// ratesSwept is how often those that are full are forgotten.
const ratesSwept = time.Minute

// Take implements [results.Driver].
func (d *Driver) Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	r, now := &d.rates, d.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	out := make([]task.Taken, len(asks))
	for i, a := range asks {
		out[i], r.full[a.Name] = a.Rate.Take(r.full[a.Name], now, a.Want)
	}
	return out, nil
}

func (r *rates) sweep(now time.Time) {
	if r.full == nil {
		r.full = make(map[string]time.Time)
	}
	if now.Sub(r.swept) < ratesSwept {
		return
	}
	r.swept = now
	for name, full := range r.full {
		if full.Before(now) {
			delete(r.full, name)
		}
	}
}
