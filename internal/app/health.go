package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
)

// Bounds of the looks at dependencies.
const (
	lookTime  = 2 * time.Second // one look
	lookFor   = time.Second     // how long its answer is used
	lookEvery = 5 * time.Second
	// registryOld is how long the registry may not have been compared with
	// its store; it tries every 5 s.
	registryOld = 20 * time.Second
)

// dependency is something that the process stands on.
type dependency struct {
	name string
	// vital: without it the process is not ready. Without the others it works
	// on, with less.
	vital bool
	look  func(ctx context.Context) error
}

// outlook is what is known of a dependency.
type outlook struct {
	name  string
	vital bool
	err   error // nil: it answers
	took  time.Duration
	at    time.Time // of the look
	since time.Time // that it is so
}

// health knows how the dependencies are, and since when.
type health struct {
	log      *slog.Logger
	parts    []*watched
	warnings func() []string
}

func newHealth(log *slog.Logger, deps []dependency, warnings func() []string) *health {
	if warnings == nil {
		warnings = func() []string { return nil }
	}
	h := &health{log: log, warnings: warnings}
	for _, d := range deps {
		h.parts = append(h.parts, &watched{dependency: d})
	}
	return h
}

// run looks from time to time, so that the log tells of changes when they
// happen, whether anybody asks or not.
func (h *health) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		h.all(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// all looks at every dependency at once, for at most [lookTime].
func (h *health) all(ctx context.Context) []outlook {
	out := make([]outlook, len(h.parts))
	var wg sync.WaitGroup
	for i, p := range h.parts {
		wg.Go(func() { out[i] = p.see(ctx, h.log) })
	}
	wg.Wait()
	return out
}

// watched is a dependency with its past.
type watched struct {
	dependency

	mu   sync.Mutex // held while it is looked at: others wait for that look
	last outlook
}

// see returns a look of the last second, or looks. The look is its own, not
// the caller's: one that leaves early must not make it a failure.
func (w *watched) see(ctx context.Context, log *slog.Logger) outlook {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.last.at.IsZero() && time.Since(w.last.at) < lookFor {
		return w.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	begin := time.Now()
	now := outlook{name: w.name, vital: w.vital, at: begin, since: begin, err: w.look(ctx)}
	now.took = time.Since(begin)
	before := w.last
	if !before.at.IsZero() && (before.err == nil) == (now.err == nil) {
		now.since = before.since
	}
	w.last = now
	w.tell(ctx, log, before)
	return now
}

// tell writes what has changed into the log.
func (w *watched) tell(ctx context.Context, log *slog.Logger, before outlook) {
	switch {
	case w.last.err != nil && before.err == nil:
		log.WarnContext(ctx, "dependency does not answer", "dependency", w.name, "error", w.last.err)
	case w.last.err == nil && before.err != nil:
		log.InfoContext(ctx, "dependency answers again", "dependency", w.name, "after", w.last.at.Sub(before.since).String())
	}
}

// ready is the dependency in the API's words.
func (h *health) ready(p *watched) func(context.Context) error {
	return func(ctx context.Context) error { return p.see(ctx, h.log).err }
}

// fresh looks whether the registry in memory is of this minute.
func (b *backends) fresh(context.Context) error {
	age := time.Since(b.registry.Status().Synced)
	if age > registryOld {
		return fmt.Errorf("not compared with its store for %s", age.Round(time.Second))
	}
	return nil
}

func (b *backends) dependencies() []dependency {
	out := []dependency{
		{"broker", true, b.queue.Ready}, {"store", false, b.store.Ready}, {"registry", false, b.fresh},
	}
	if b.canary == nil {
		return out
	}
	// Tasks are accepted and delivered, and those that wait are kept: a process
	// with a stalled delay is no less ready than another.
	for i, d := range broker.CanaryDelays() {
		out = append(out, dependency{"delay " + d.String(), false, func(context.Context) error { return b.moving(i) }})
	}
	return out
}

// moving looks whether messages of a delay come.
func (b *backends) moving(i int) error {
	s := b.canary.States()[i]
	if !s.Stalled() {
		return nil
	}
	return fmt.Errorf("messages delayed by %s do not come, for %s now; see docs/operations.md, delays that stall",
		s.Delay, s.Late.Round(time.Second))
}
