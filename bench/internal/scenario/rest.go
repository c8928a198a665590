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
	parkWithin  = 60 * time.Second
	probeRate   = 100
	probeTime   = "200ms" // longer than it takes to park
	parkSettles = 3 * time.Second
	// parkSubmitters is how many submit at once before they park.
	parkSubmitters = 32
)

// parked keeps long-polls waiting, looks at their memory, and at how fast others wake up.
func parked(ctx context.Context, s *step) {
	values, err := s.parked(ctx, s.run.Taskgate)
	s.record(report.Parked, values, err)
}

func (s *step) parked(ctx context.Context, tg *rig.Taskgate) (map[string]float64, error) {
	lot, err := Park(ctx, s.run, s.opt.Parked)
	defer lot.Stop()
	if lot.Polls < s.opt.Parked {
		s.book.Skipped = append(s.book.Skipped, fmt.Sprintf("%s on %s: %d long-polls, a process may have %d files open here",
			report.Parked, s.run.System.Name, lot.Polls, s.run.Files()))
	}
	if err != nil {
		return nil, err
	}
	if err := tg.Register(ctx, "probe", s.run.HandlerURL+"/slow/"+probeTime); err != nil {
		return nil, err
	}
	target := s.run.Target
	target.Endpoint = "probe"
	m, err := s.run.Load(ctx, wire.Job{
		Kind: wire.Open, Rate: probeRate, Warm: time.Second, For: s.opt.For, Size: payloadSize,
		Submitters: underWay * probeRate, Target: target,
	})
	if err != nil {
		return nil, err
	}
	if err := lot.Finish(ctx); err != nil {
		return nil, err
	}
	return map[string]float64{
		report.ParkedN: float64(lot.Polls), report.ParkedKiB: float64(lot.Held) / (1 << 10) / float64(lot.Polls),
		report.WakeP50: m.Wake.P50, report.WakeP99: m.Wake.P99,
	}, nil
}

// Lot is parked long-polls.
type Lot struct {
	Polls int
	// Held is how much the memory of Taskgate's front has grown by them, in bytes.
	Held  int64
	loads []*rig.Load
}

// otherFiles are those that a front needs besides its polls.
const otherFiles = 600

// Park parks n long-polls on tasks that do not end, or as many as may be open. Stop the lot,
// whatever happens.
func Park(ctx context.Context, run *rig.Run, n int) (*Lot, error) {
	lot, tg := &Lot{Polls: min(n, run.Files()-otherFiles) / parkers * parkers}, run.Taskgate
	if err := tg.Register(ctx, "parked", run.HandlerURL+"/"); err != nil {
		return lot, err
	}
	if err := tg.Pause(ctx, "parked", true); err != nil {
		return lot, err
	}
	if err := lot.submit(ctx, run); err != nil {
		return lot, err
	}
	// A fresh process: what the submissions left behind is not the polls'.
	if _, err := tg.Restart(ctx); err != nil {
		return lot, err
	}
	pause(ctx, settling)
	before := run.Usage(true)[tg.Front()].Memory
	if err := lot.proceed(ctx); err != nil {
		return lot, err
	}
	pause(ctx, parkSettles)
	lot.Held = run.Usage(true)[tg.Front()].Memory - before
	return lot, nil
}

// submit starts the clients and has them submit.
func (lot *Lot) submit(ctx context.Context, run *rig.Run) error {
	target := run.Target
	target.Endpoint = "parked"
	for range parkers {
		l, err := run.StartLoad(wire.Job{
			Kind: wire.Park, N: lot.Polls / parkers, Size: payloadSize, Submitters: parkSubmitters, Target: target,
		})
		if err != nil {
			return err
		}
		lot.loads = append(lot.loads, l)
	}
	return lot.await(ctx, wire.Begin)
}

// proceed has the clients send their polls.
func (lot *Lot) proceed(ctx context.Context) error {
	for _, l := range lot.loads {
		if err := l.Proceed(); err != nil {
			return err
		}
	}
	return lot.await(ctx, wire.Parked)
}

func (lot *Lot) await(ctx context.Context, mark string) error {
	ctx, cancel := context.WithTimeout(ctx, parkWithin)
	defer cancel()
	for _, l := range lot.loads {
		if err := l.Await(ctx, mark); err != nil {
			return fmt.Errorf("parked polls: %w", err)
		}
	}
	return nil
}

// Finish ends the polls; a poll that did not last is an error.
func (lot *Lot) Finish(ctx context.Context) error {
	for _, l := range lot.loads {
		if _, err := l.Finish(ctx); err != nil {
			return fmt.Errorf("parked polls: %w", err)
		}
	}
	return nil
}

// Stop ends the clients.
func (lot *Lot) Stop() {
	for _, l := range lot.loads {
		l.Stop()
	}
}
