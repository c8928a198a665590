package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/stats"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

const (
	smallBacklog = 10_000
	largeBacklog = 100_000
	restarts     = 3
	fillWithin   = 3 * time.Minute
	drainWithin  = 3 * time.Minute
	lookEvery    = 20 * time.Millisecond
)

// backlog fills a queue whose work is held, looks at what a waiting task costs, and drains it.
func backlog(ctx context.Context, s *step) {
	for _, b := range []struct {
		name string
		n    int
	}{{report.Backlog10, smallBacklog}, {report.Backlog, largeBacklog}} {
		values, err := s.backlog(ctx, b.n)
		s.record(b.name, values, err)
		if err != nil {
			return
		}
	}
}

func (s *step) backlog(ctx context.Context, n int) (map[string]float64, error) {
	run := s.run
	if err := run.Hold(ctx); err != nil {
		return nil, err
	}
	pause(ctx, settling)
	before := s.stored(ctx)
	target := run.Target
	target.Idempotency = false
	filled, err := s.fill(ctx, target, n, fillWithin)
	if err != nil {
		return nil, err
	}
	v := map[string]float64{report.Fill: filled.Rate()}
	pause(ctx, settling)
	s.stored(ctx).waiting(v, before, n)
	if run.Taskgate != nil && n >= largeBacklog {
		if v[report.Restart], err = s.restart(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.drain(ctx, v, n, drainWithin); err != nil {
		return nil, err
	}
	pause(ctx, settling)
	s.stored(ctx).finished(v, before, n)
	return v, nil
}

// restart is the median time of a few restarts.
func (s *step) restart(ctx context.Context) (float64, error) {
	var times []float64
	for range restarts {
		took, err := s.run.Taskgate.Restart(ctx)
		if err != nil {
			return 0, err
		}
		times = append(times, took.Seconds())
	}
	return stats.SpreadOf(times).Median, nil
}

// stores is what the servers keep, in bytes; -1 where there is none.
type stores struct{ redis, rabbit, rabbitMemory, sqlite int64 }

func (s *step) stored(ctx context.Context) stores {
	out := stores{redis: -1, rabbit: -1, rabbitMemory: -1, sqlite: -1}
	if s.run.Redis != "" {
		if n, err := s.run.RedisBytes(ctx); err == nil {
			out.redis = n
		}
	}
	if s.run.AMQP != "" {
		out.rabbit = s.run.RabbitDisk()
		out.rabbitMemory = s.run.Usage(true)[rig.RabbitMQ].Memory
	}
	if tg := s.run.Taskgate; tg != nil && s.run.Redis == "" {
		out.sqlite = tg.StoreBytes()
	}
	return out
}

func per(v map[string]float64, key string, now, before int64, n int) {
	if now >= 0 && before >= 0 {
		v[key] = float64(now-before) / float64(n)
	}
}

func (now stores) waiting(v map[string]float64, before stores, n int) {
	per(v, report.WaitingRedis, now.redis, before.redis, n)
	per(v, report.WaitingRabbit, now.rabbit, before.rabbit, n)
	per(v, report.WaitingMemory, now.rabbitMemory, before.rabbitMemory, n)
	per(v, report.WaitingStore, now.sqlite, before.sqlite, n)
}

func (now stores) finished(v map[string]float64, before stores, n int) {
	per(v, report.DoneRedis, now.redis, before.redis, n)
	per(v, report.DoneStore, now.sqlite, before.sqlite, n)
}

// drain lets the work go on and measures the middle 90 % of n tasks: neither the start of the
// consumers nor the last ones that run alone.
func (s *step) drain(ctx context.Context, v map[string]float64, n int, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errors.New("not drained in time"))
	defer cancel()
	base, err := s.run.Handled(ctx)
	if err != nil {
		return err
	}
	if err := s.run.Release(ctx); err != nil {
		return err
	}
	if _, err := s.handled(ctx, base+n/20); err != nil {
		return err
	}
	from, usage := time.Now(), s.run.Usage(false)
	first, err := s.run.Handled(ctx)
	if err != nil {
		return err
	}
	last, err := s.handled(ctx, base+n-n/20)
	if err != nil {
		return err
	}
	v[report.Drain] = float64(last-first) / time.Since(from).Seconds()
	used := map[string]time.Duration{}
	for name, u := range s.run.Usage(false) {
		used[name] = u.CPU - usage[name].CPU
	}
	maps.Copy(v, costs(used, last-first))
	_, err = s.handled(ctx, base+n)
	return err
}

// handled waits until the handler has answered n tasks.
func (s *step) handled(ctx context.Context, n int) (int, error) {
	for {
		got, err := s.run.Handled(ctx)
		if err != nil || got >= n {
			return got, err
		}
		if !pause(ctx, lookEvery) {
			return got, context.Cause(ctx)
		}
	}
}

const (
	windows       = 3
	millionWithin = 5 * time.Minute
	millionDrain  = 15 * time.Second
)

// million runs the standard job on an empty system, and beside a million waiting tasks.
func million(ctx context.Context, s *step) {
	values, err := s.million(ctx)
	s.record(report.Million, values, err)
}

func (s *step) million(ctx context.Context) (map[string]float64, error) {
	tg := s.run.Taskgate
	empty, err := s.windows(ctx)
	if err != nil {
		return nil, err
	}
	const held = "held"
	if err := tg.Register(ctx, held, s.run.HandlerURL+"/"); err != nil {
		return nil, err
	}
	if err := tg.Pause(ctx, held, true); err != nil {
		return nil, err
	}
	target := s.run.Target
	target.Endpoint, target.Idempotency = held, false
	before := s.stored(ctx)
	filled, err := s.fill(ctx, target, s.opt.Million, millionWithin)
	if filled == nil || filled.Tasks == 0 {
		return nil, err
	}
	if filled.Tasks < s.opt.Million { // what is there must do
		s.book.Skipped = append(s.book.Skipped, fmt.Sprintf("%s on %s: only %d of %d tasks were accepted in %s; the figures are with those",
			report.Million, s.run.System.Name, filled.Tasks, s.opt.Million, millionWithin))
	}
	v := map[string]float64{report.Fill: filled.Rate(), report.Filled: float64(filled.Tasks)}
	pause(ctx, 2*settling)
	s.stored(ctx).waiting(v, before, filled.Tasks)
	full, err := s.windows(ctx)
	if err != nil {
		return nil, err
	}
	v[report.RateEmpty], v[report.RateFull], v[report.RateRatio] = empty, full, full/empty
	if took, err := tg.Restart(ctx); err == nil {
		v[report.Restart] = took.Seconds()
	}
	v[report.Drain], err = s.drainFor(ctx, millionDrain, func(ctx context.Context) error { return tg.Pause(ctx, held, false) })
	return v, err
}

// windows is the median rate of a few closed loops.
func (s *step) windows(ctx context.Context) (float64, error) {
	var rates []float64
	for range windows {
		v, err := s.closed(ctx, wire.Job{For: s.opt.For / 2})
		if err != nil {
			return 0, err
		}
		rates = append(rates, v[report.Rate])
	}
	slices.Sort(rates)
	return stats.SpreadOf(rates).Median, nil
}

// drainFor measures a backlog's drain for some time only.
func (s *step) drainFor(ctx context.Context, d time.Duration, release func(context.Context) error) (float64, error) {
	if err := release(ctx); err != nil {
		return 0, err
	}
	pause(ctx, 2*settling)
	from := time.Now()
	first, err := s.run.Handled(ctx)
	if err != nil {
		return 0, err
	}
	pause(ctx, d)
	last, err := s.run.Handled(ctx)
	return float64(last-first) / time.Since(from).Seconds(), err
}
