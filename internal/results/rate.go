package results

import (
	"context"

	"github.com/taskgate/taskgate/internal/task"
)

// Rates are limits of how often, which all processes share.
type Rates interface {
	// Take takes for each ask, in order, up to Want of the rate of that name,
	// as [task.Rate.Take] does by the store's clock: all that is ever taken
	// together, by whatever process, is within the rate. A Want of 0 looks
	// only. A rate that nobody asked for as long as its window may be
	// forgotten: it is full again.
	Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error)
}

// Take takes up to what is wanted of each rate.
func (s *Store) Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error) {
	taken, err := s.d.Take(ctx, asks)
	return taken, fail(err)
}
