package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

const idleFor = 20 * time.Second

// idle looks at what does nothing.
func idle(ctx context.Context, s *step) {
	if !pause(ctx, 3*settling) {
		return
	}
	before := s.run.Usage(true)
	begun := time.Now()
	if !pause(ctx, idleFor) {
		return
	}
	v := map[string]float64{}
	took := time.Since(begun)
	for name, u := range s.run.Usage(true) {
		v[report.IdleCPU+name] = 100 * (u.CPU - before[name].CPU).Seconds() / took.Seconds()
		v[report.Rest+name] = float64(u.Memory) / mib
	}
	s.record(report.Idle, v, nil)
}

const (
	// parkers is how many client processes share the long-polls: each has its own ports and files.
	parkers     = 2
	parkWithin  = 45 * time.Second // the polls last 30 s, so that some are renewed meanwhile
	probeRate   = 100
	probeTime   = "200ms" // longer than it takes to park
	parkSettles = 3 * time.Second
)

// parked keeps long-polls waiting, looks at their memory, and at how fast others wake up.
func parked(ctx context.Context, s *step) {
	values, err := s.parked(ctx, s.run.Taskgate)
	s.record(report.Parked, values, err)
}

func (s *step) parked(ctx context.Context, tg *rig.Taskgate) (map[string]float64, error) {
	for name, url := range map[string]string{"parked": "/", "probe": "/slow/" + probeTime} {
		if err := tg.Register(ctx, name, s.run.HandlerURL+url); err != nil {
			return nil, err
		}
	}
	if err := tg.Pause(ctx, "parked", true); err != nil {
		return nil, err
	}
	loads, err := s.park(ctx)
	defer func() {
		for _, l := range loads {
			l.Stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	// A fresh process: what the submissions left behind is not the polls'.
	if _, err := tg.Restart(ctx); err != nil {
		return nil, err
	}
	pause(ctx, settling)
	before := s.run.Usage(true)[tg.Front()].Memory
	if err := proceed(ctx, loads); err != nil {
		return nil, err
	}
	pause(ctx, parkSettles)
	n := s.opt.Parked / parkers * parkers
	held := s.run.Usage(true)[tg.Front()].Memory - before
	target := s.run.Target
	target.Endpoint = "probe"
	m, err := s.run.Load(ctx, wire.Job{
		Kind: wire.Open, Rate: probeRate, Warm: time.Second, For: s.opt.For, Size: payloadSize,
		Submitters: underWay * probeRate, Target: target,
	})
	if err != nil {
		return nil, err
	}
	for _, l := range loads {
		if _, err := l.Finish(ctx); err != nil {
			return nil, fmt.Errorf("parked polls: %w", err)
		}
	}
	return map[string]float64{
		report.ParkedN: float64(n), report.ParkedKiB: float64(held) / (1 << 10) / float64(n),
		report.WakeP50: m.Wake.P50, report.WakeP99: m.Wake.P99,
	}, nil
}

// park starts the clients and has them submit.
func (s *step) park(ctx context.Context) ([]*rig.Load, error) {
	target := s.run.Target
	target.Endpoint = "parked"
	var loads []*rig.Load
	for range parkers {
		l, err := s.run.StartLoad(wire.Job{
			Kind: wire.Park, N: s.opt.Parked / parkers, Size: payloadSize, Submitters: s.opt.Submitters, Target: target,
		})
		if err != nil {
			return loads, err
		}
		loads = append(loads, l)
	}
	for _, l := range loads {
		if err := awaitWithin(ctx, l, wire.Begin); err != nil {
			return loads, err
		}
	}
	return loads, nil
}

// proceed has the clients park their polls.
func proceed(ctx context.Context, loads []*rig.Load) error {
	for _, l := range loads {
		if err := l.Proceed(); err != nil {
			return err
		}
	}
	for _, l := range loads {
		if err := awaitWithin(ctx, l, wire.Parked); err != nil {
			return err
		}
	}
	return nil
}

func awaitWithin(ctx context.Context, l *rig.Load, mark string) error {
	ctx, cancel := context.WithTimeout(ctx, parkWithin)
	defer cancel()
	return l.Await(ctx, mark)
}
