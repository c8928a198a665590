package dispatch

import (
	"context"
	"log/slog"
	"time"
)

// Pauses between tries to consume, and the bounds of its steps.
const (
	consumeFirst = 250 * time.Millisecond
	consumeMost  = 15 * time.Second
	consumeTime  = 15 * time.Second
	stopTime     = 5 * time.Second
)

// line keeps one subscription: it subscribes, for ever if need be, until its
// context ends, and then stops it.
type line struct {
	name   string
	log    *slog.Logger
	cancel context.CancelFunc
	// prefetch is how many deliveries an endpoint's line holds.
	prefetch int
	// stopped is closed when no delivery comes any more: what is given back
	// from then on does not return to us.
	stopped chan struct{}
}

// run is the line's goroutine.
func (l *line) run(ctx context.Context, consume func(ctx context.Context) (Consumer, error)) {
	defer close(l.stopped)
	c := l.subscribe(ctx, consume)
	if c == nil {
		return
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := c.Stop(stop); err != nil {
		l.log.WarnContext(stop, "consumer not stopped cleanly", "consumer", l.name, "error", err)
	}
}

func (l *line) subscribe(ctx context.Context, consume func(ctx context.Context) (Consumer, error)) Consumer {
	for b := (backoff{consumeFirst, consumeMost}); ; {
		try, cancel := context.WithTimeout(ctx, consumeTime)
		c, err := consume(try)
		cancel()
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			return nil
		}
		l.log.WarnContext(ctx, "not consuming yet", "consumer", l.name, "error", err)
		if !pause(ctx, b.step()) {
			return nil
		}
	}
}
