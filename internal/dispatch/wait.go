package dispatch

import (
	"context"
	"math/rand/v2"
	"time"
)

// pause waits for d; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// backoff grows the pauses between tries of the same thing, with jitter so
// that many do not try in step.
type backoff struct{ next, most time.Duration }

func (b *backoff) step() time.Duration {
	d := b.next
	b.next = min(2*b.next, b.most)
	return d/2 + rand.N(d/2+1) //nolint:gosec // no secret
}
