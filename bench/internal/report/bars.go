package report

import (
	"github.com/taskgate/taskgate/bench/internal/stats"
)

// Names of the systems that bars are about; package rig builds them.
const (
	chain       = "chain"
	services    = "services"
	embedded    = "embedded"
	asynqDirect = "asynq-direct"
	asynqHTTP   = "asynq-http"
	riverDirect = "river-direct"
	riverHTTP   = "river-http"
	celery      = "celery"
	dev         = "dev"
)

// Bar is a figure to be reached.
type Bar struct {
	What  string
	Unit  string
	Limit float64
	// Most: the figure must be at most the limit; else at least.
	Most bool
	// Tail: a percentile that needs more samples than a short run has.
	Tail   bool
	figure func(b *Book) stats.Spread
}

// Gross is the part of a bar below which a loss is gross: beyond what a busy machine explains.
const Gross = 0.7

// Verdict is a bar with what was measured.
type Verdict struct {
	Bar

	Figure stats.Spread
}

// Measured reports whether there is a figure.
func (v Verdict) Measured() bool { return v.Figure.N > 0 }

// Reached is how much of the bar is reached: 1 and more is all of it.
func (v Verdict) Reached() float64 {
	if v.Most {
		if v.Figure.Median <= 0 {
			return 1
		}
		return v.Limit / v.Figure.Median
	}
	return v.Figure.Median / v.Limit
}

// Met reports whether the bar is reached.
func (v Verdict) Met() bool { return v.Measured() && v.Reached() >= 1 }

// Judge holds every bar against the book.
func (b *Book) Judge() []Verdict {
	var out []Verdict
	for _, bar := range bars() {
		out = append(out, Verdict{Bar: bar, Figure: bar.figure(b)})
	}
	return out
}

// GrossLosses are the bars that are missed by far.
func (b *Book) GrossLosses() []Verdict {
	var out []Verdict
	for _, v := range b.Judge() {
		if v.Measured() && !v.Tail && v.Reached() < Gross {
			out = append(out, v)
		}
	}
	return out
}

func ratio(scenario, key, system, against string) func(*Book) stats.Spread {
	return func(b *Book) stats.Spread { return b.Ratio(scenario, key, system, against) }
}

func value(scenario, key, system string) func(*Book) stats.Spread {
	return func(b *Book) stats.Spread { return b.Spread(scenario, system, key) }
}

// bars are those of the goal, in its order.
func bars() []Bar {
	return append(append(speed(), backlogs()...), footprint()...)
}

func speed() []Bar {
	return []Bar{
		{What: "services: tasks/s against the bare chain", Unit: "x", Limit: 1, figure: ratio(Standard, Rate, services, chain)},
		{
			What: "services: CPU per task of gateway, dispatcher, RabbitMQ and Redis against the bare chain",
			Unit: "x", Limit: 1, Most: true, figure: ratio(Standard, CPUSystem, services, chain),
		},
		{
			What: "services: p50 submit-to-result at 200/s against the bare chain",
			Unit: "x", Limit: 1.1, Most: true, figure: ratio(Open200, TotalP50, services, chain),
		},
		{
			What: "services: p99 submit-to-result at 200/s against the bare chain",
			Unit: "x", Limit: 1.2, Most: true, Tail: true, figure: ratio(Open200, TotalP99, services, chain),
		},
		{What: "embedded: tasks/s against the bare chain", Unit: "x", Limit: 1.3, figure: ratio(Standard, Rate, embedded, chain)},
		{What: "services: tasks/s against Asynq behind an HTTP intake", Unit: "x", Limit: 2, figure: ratio(Standard, Rate, services, asynqHTTP)},
		{What: "services: tasks/s against River behind an HTTP intake", Unit: "x", Limit: 2, figure: ratio(Standard, Rate, services, riverHTTP)},
		{What: "services: tasks/s against River, client inserts", Unit: "x", Limit: 2, figure: ratio(Standard, Rate, services, riverDirect)},
		{What: "services: tasks/s against Celery calling HTTP", Unit: "x", Limit: 8, figure: ratio(Standard, Rate, services, celery)},
		{What: "services: tasks/s against Asynq, client enqueues", Unit: "x", Limit: 1, figure: ratio(Standard, Rate, services, asynqDirect)},
	}
}

func backlogs() []Bar {
	return []Bar{
		{What: "services: tasks/s beside 1M waiting tasks against an empty queue", Unit: "x", Limit: 0.9, figure: value(Million, RateRatio, services)},
		{What: "embedded: tasks/s beside 1M waiting tasks against an empty queue", Unit: "x", Limit: 0.9, figure: value(Million, RateRatio, embedded)},
		{What: "services: gateway memory of a parked long-poll, 20,000 at once", Unit: "KiB", Limit: 20, Most: true, figure: value(Parked, ParkedKiB, services)},
		{What: "embedded: the same", Unit: "KiB", Limit: 20, Most: true, figure: value(Parked, ParkedKiB, embedded)},
		{What: "services: p99 of waking up beside them", Unit: "ms", Limit: 50, Most: true, Tail: true, figure: value(Parked, WakeP99, services)},
		{What: "embedded: the same", Unit: "ms", Limit: 50, Most: true, Tail: true, figure: value(Parked, WakeP99, embedded)},
	}
}

func footprint() []Bar {
	const most, busy, ready, kept = 25, 0.5, 1, 1.5
	out := []Bar{{
		What: "services: a finished task in Redis (200-byte payload, 100-byte result)", Unit: "KiB", Limit: kept, Most: true,
		figure: func(b *Book) stats.Spread {
			s := b.Spread(Backlog, services, DoneRedis)
			return stats.Spread{Median: s.Median / (1 << 10), Min: s.Min / (1 << 10), Max: s.Max / (1 << 10), N: s.N}
		},
	}}
	for _, p := range []struct{ what, system, part string }{
		{"gateway", services, "gateway"}, {"dispatcher", services, "dispatcher"}, {"`taskgate dev`", dev, "taskgate"},
	} {
		out = append(out,
			Bar{What: "idle " + p.what + ": memory", Unit: "MiB", Limit: most, Most: true, figure: value(Idle, Rest+p.part, p.system)},
			Bar{What: "idle " + p.what + ": CPU", Unit: "%", Limit: busy, Most: true, figure: value(Idle, IdleCPU+p.part, p.system)},
		)
	}
	return append(out,
		Bar{What: "services: gateway restart with 100,000 waiting tasks until ready", Unit: "s", Limit: ready, Most: true, figure: value(Backlog, Restart, services)},
		Bar{What: "embedded: the same of `taskgate serve`", Unit: "s", Limit: ready, Most: true, figure: value(Backlog, Restart, embedded)},
	)
}
