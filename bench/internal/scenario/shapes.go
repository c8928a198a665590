package scenario

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

const endpoints = 100

// shapes are the standard job in other forms.
func shapes(ctx context.Context, s *step) {
	for name, size := range map[string]int{report.Size1k: 1000, report.Size64k: 64 << 10} {
		values, err := s.closed(ctx, wire.Job{Size: size})
		s.record(name, values, err)
	}
	tg := s.run.Taskgate
	if tg == nil {
		return
	}
	target := s.run.Target
	target.Idempotency = false
	values, err := s.closed(ctx, wire.Job{Target: target})
	s.record(report.NoKey, values, err)

	values, err = s.many(ctx, tg)
	s.record(report.Many, values, err)

	if tg.HasCallbacks(ctx) {
		target := s.run.Target
		target.Callback = true
		values, err := s.closed(ctx, wire.Job{Target: target})
		s.record(report.Callbacks, values, err)
	}
	values, err = s.neighbour(ctx, tg)
	s.record(report.Slow, values, err)
}

// many spreads the tasks over 100 endpoints.
func (s *step) many(ctx context.Context, tg *rig.Taskgate) (map[string]float64, error) {
	target := s.run.Target
	target.Endpoint, target.Endpoints = "many", endpoints
	for i := range endpoints {
		if err := tg.Register(ctx, fmt.Sprintf("many-%d", i), s.run.HandlerURL+"/"); err != nil {
			return nil, err
		}
	}
	return s.closed(ctx, wire.Job{Target: target})
}

// The slow neighbour: so many tasks of two seconds each, more than can be worked meanwhile.
const (
	slowTasks = 1500
	slowTime  = "2s"
	slowRate  = 200
	slowFill  = time.Minute
)

// neighbour measures a fast endpoint alone, and beside one that is slow and has a backlog.
func (s *step) neighbour(ctx context.Context, tg *rig.Taskgate) (map[string]float64, error) {
	alone, err := s.open(ctx, slowRate, wire.Target{})
	if err != nil {
		return nil, err
	}
	if err := tg.Register(ctx, "slow", s.run.HandlerURL+"/slow/"+slowTime); err != nil {
		return nil, err
	}
	slow := s.run.Target
	slow.Endpoint, slow.Idempotency = "slow", false
	if _, err := s.fill(ctx, slow, slowTasks, slowFill); err != nil {
		return nil, err
	}
	beside, err := s.open(ctx, slowRate, wire.Target{})
	if err != nil {
		return nil, err
	}
	// What waits still would delay the end of the run.
	if err := tg.Call(ctx, http.MethodDelete, "/v1/endpoints/slow?force=cancel", nil); err != nil {
		s.run.Logf("%-14s slow endpoint not deleted: %v", report.Slow, err)
	}
	return map[string]float64{
		report.AloneP50: alone[report.TotalP50], report.AloneP99: alone[report.TotalP99],
		report.BesideP50: beside[report.TotalP50], report.BesideP99: beside[report.TotalP99],
	}, nil
}

// fill submits n tasks as fast as they are accepted.
func (s *step) fill(ctx context.Context, target wire.Target, n int, within time.Duration) (*rig.Measured, error) {
	return s.run.Load(ctx, wire.Job{
		Kind: wire.Fill, N: n, For: within, Size: payloadSize, Submitters: 2 * s.opt.Submitters, Target: target,
	})
}
