package scenario

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

const (
	payloadSize = 200
	mib         = 1 << 20
	perTasks    = 1000 // CPU is told for so many
	// underWay bounds what an open load may have outstanding: two seconds of it.
	underWay = 2
	// headroom is how much faster than a rate a system must be for it to be worth asking.
	headroom = 1.1
	settling = time.Second
)

// standard is the standard job, and the latency at fixed rates.
func standard(ctx context.Context, s *step) {
	if !pause(ctx, settling) {
		return
	}
	rest := s.run.Usage(true)
	values, err := s.closed(ctx, wire.Job{})
	if err == nil {
		for name, u := range rest {
			values[report.Rest+name] = float64(u.Memory) / mib
		}
	}
	s.record(report.Standard, values, err)
	if err != nil {
		return
	}
	rates := []float64{200, 1000}
	if s.opt.Short {
		rates = rates[:1]
	}
	for _, rate := range rates {
		name := "open-" + strconv.Itoa(int(rate))
		if values[report.Rate] < rate*headroom {
			s.run.Logf("%-14s not asked for: it does %.0f/s at most", name, values[report.Rate])
			continue
		}
		opened, err := s.open(ctx, rate, wire.Target{})
		s.record(name, opened, err)
	}
}

// closed runs a closed loop; job says what differs from the standard one.
func (s *step) closed(ctx context.Context, job wire.Job) (map[string]float64, error) {
	job.Kind, job.Submitters, job.Warm = wire.Closed, s.opt.Submitters, s.opt.Warm
	if job.For == 0 {
		job.For = s.opt.For
	}
	if job.Size == 0 {
		job.Size = payloadSize
	}
	m, err := s.run.Load(ctx, job)
	if err != nil {
		return nil, err
	}
	return figures(m), nil
}

// open runs a load at a fixed rate.
func (s *step) open(ctx context.Context, rate float64, target wire.Target) (map[string]float64, error) {
	m, err := s.run.Load(ctx, wire.Job{
		Kind: wire.Open, Rate: rate, Warm: s.opt.Warm, For: s.opt.For, Size: payloadSize,
		Submitters: int(underWay * rate), Target: target,
	})
	if err != nil {
		return nil, err
	}
	v := figures(m)
	v[report.Lag] = m.Lag
	return v, nil
}

// figures of a load.
func figures(m *rig.Measured) map[string]float64 {
	v := map[string]float64{
		report.Rate:      m.Rate(),
		report.SubmitP50: m.Submit.P50, report.SubmitP99: m.Submit.P99,
		report.TotalP50: m.Total.P50, report.TotalP99: m.Total.P99,
	}
	maps.Copy(v, costs(m.CPU, m.Tasks))
	for name, bytes := range m.Peak {
		v[report.Peak+name] = float64(bytes) / mib
	}
	return v
}

// costs is CPU seconds for 1,000 tasks, of each part and of all that belong to the system.
func costs(cpu map[string]time.Duration, tasks int) map[string]float64 {
	v := map[string]float64{}
	var sum float64
	for name, used := range cpu {
		c := used.Seconds() / float64(tasks) * perTasks
		v[report.CPU+name] = c
		if name != rig.Client && name != rig.Handler {
			sum += c
		}
	}
	v[report.CPUSystem] = sum
	return v
}
