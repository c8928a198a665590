package results

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Tally is what one owner counted of one name within a minute.
type Tally struct {
	Name string
	// Counts are added to the minute's counters.
	Counts []Count
	// Level takes the place of what the owner said before.
	Level int
}

// Count is a counter, or what to add to it.
type Count struct {
	Counter int
	N       int64
}

// Tallied is the sum of what was counted of a name.
type Tallied struct {
	Counts []Count // in any order, none twice
	Level  int
}

// TallyKept is how long counters are kept after the last addition at least.
const TallyKept = 10 * time.Minute

// Tallies keeps figures: counters by name and minute (of Unix time), levels by
// name and owner. They may be lost when the store dies or is away, and cost no
// sync.
type Tallies interface {
	// Tally adds to the counters of a minute and sets the owner's levels; a
	// level counts for ttl.
	Tally(ctx context.Context, owner string, minute int64, ts []Tally, ttl time.Duration) error
	// Tallied sums for each name, in order, the counters of the minutes from
	// first to last, and the levels of all owners.
	Tallied(ctx context.Context, names []string, first, last int64) ([]Tallied, error)
}

// figureMinutes is over how many minutes figures are summed up; the present
// one is not over yet.
const figureMinutes = 5

// The counters of an endpoint: attempts that succeeded, and then the buckets
// of the histogram.
const (
	counterSucceeded = iota
	counterBuckets
)

const minute = time.Minute / time.Second

// Tally adds what a process counted of its endpoints since it last did; what
// runs there counts for ttl.
func (s *Store) Tally(ctx context.Context, owner string, now time.Time, ts []task.EndpointTally, ttl time.Duration) error {
	out := make([]Tally, len(ts))
	for i := range ts {
		t := &ts[i]
		out[i] = Tally{Name: string(t.Endpoint), Level: t.InFlight}
		if t.Succeeded > 0 {
			out[i].Counts = append(out[i].Counts, Count{counterSucceeded, t.Succeeded})
		}
		for b, n := range t.Took {
			if n > 0 {
				out[i].Counts = append(out[i].Counts, Count{counterBuckets + b, n})
			}
		}
	}
	return fail(s.d.Tally(ctx, owner, now.Unix()/int64(minute), out, ttl))
}

// Figures returns the endpoints' figures over the last minutes, in order.
func (s *Store) Figures(ctx context.Context, eps []task.EndpointID, now time.Time) ([]task.Figures, error) {
	names := make([]string, len(eps))
	for i, ep := range eps {
		names[i] = string(ep)
	}
	last := now.Unix() / int64(minute)
	first := last - figureMinutes + 1
	sums, err := s.d.Tallied(ctx, names, first, last)
	if err != nil {
		return nil, fail(err)
	}
	out := make([]task.Figures, len(sums))
	for i, sum := range sums {
		out[i] = task.Figures{Over: now.Sub(time.Unix(first*int64(minute), 0))}
		out[i].InFlight = sum.Level
		for _, c := range sum.Counts {
			switch b := c.Counter - counterBuckets; {
			case c.Counter == counterSucceeded:
				out[i].Succeeded = c.N
			case b >= 0 && b < task.HistogramBuckets:
				out[i].Took[b] = c.N
			}
		}
	}
	return out, nil
}
