package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
)

// Keeper is the housekeeping part of the lifecycle.
type Keeper interface {
	Beat(ctx context.Context) error
	Sweep(ctx context.Context, projects []string) (lifecycle.Swept, error)
	Renote(ctx context.Context) error
}

const (
	sweepEvery = 5 * time.Second
	sweepTime  = 30 * time.Second
)

// Sweeper runs the housekeeping. Its failures are logged, and the next round
// tries again.
type Sweeper struct {
	keeper   Keeper
	projects func() []string
	log      *slog.Logger
}

// NewSweeper makes a sweeper. projects lists those whose old records may be
// forgotten.
func NewSweeper(k Keeper, projects func() []string, log *slog.Logger) *Sweeper {
	return &Sweeper{keeper: k, projects: projects, log: log}
}

// Beat tells the store that this process lives, until ctx ends. It must
// outlive every attempt: a lease dies with its process's heartbeat.
func (s *Sweeper) Beat(ctx context.Context) {
	every(ctx, lifecycle.HeartbeatInterval, func() { s.beat(ctx) })
}

func (s *Sweeper) beat(ctx context.Context) { s.round(ctx, "heartbeat", s.keeper.Beat) }

// Run sweeps and notes acceptances again, until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	every(ctx, sweepEvery, func() {
		s.round(ctx, "renote", s.keeper.Renote)
		s.round(ctx, "sweep", s.sweep)
	})
}

func (s *Sweeper) sweep(ctx context.Context) error {
	swept, err := s.keeper.Sweep(ctx, s.projects())
	if swept.Abandoned+swept.Expired+swept.Callbacks > 0 {
		s.log.InfoContext(ctx, "swept", "abandoned", swept.Abandoned, "expired", swept.Expired, "callbacks", swept.Callbacks)
	}
	return err
}

func (s *Sweeper) round(ctx context.Context, what string, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if err := do(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "housekeeping failed", "step", what, "error", err)
	}
}

// every calls f now and then at each interval, until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}
