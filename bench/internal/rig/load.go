package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/bench/internal/spawn"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// Client is the group of the program that puts load on a system.
const Client = "client"

// Measured is what a load measured, with what each part of the system used meanwhile.
type Measured struct {
	wire.Report

	CPU  map[string]time.Duration // within the measured time
	Peak map[string]int64         // bytes
}

// Rate is tasks per second.
func (m *Measured) Rate() float64 { return float64(m.Tasks) / m.Seconds }

// ErrFailed says that tasks failed: no figure of such a load counts.
var ErrFailed = errors.New("tasks failed")

// slack is what a load may take beyond its own times.
const slack = 2 * time.Minute

// Load puts a load on the system and waits for its end.
func (run *Run) Load(ctx context.Context, job wire.Job) (*Measured, error) {
	ctx, cancel := context.WithTimeout(ctx, job.Warm+job.For+slack)
	defer cancel()
	l, err := run.StartLoad(job)
	if err != nil {
		return nil, err
	}
	defer l.Stop()
	return l.Wait(ctx)
}

// Load is a load that has been started.
type Load struct {
	run     *Run
	process *spawn.Process
	events  chan wire.Event
	peaks   func() map[string]int64

	m      Measured
	before map[string]Usage
}

// StartLoad starts a load; its target is the run's unless the job has one.
func (run *Run) StartLoad(job wire.Job) (*Load, error) {
	if job.Target.Kind == "" {
		job.Target = run.Target
	}
	l := &Load{run: run, events: make(chan wire.Event, 16), peaks: func() map[string]int64 { return nil }} //nolint:mnd // a load has four
	p, err := spawn.Start(spawn.Spec{
		Name: Client, Path: run.loader[0], Args: run.loader[1:], Env: run.env(), Log: run.logs,
		Line: func(line string) {
			var e wire.Event
			if json.Unmarshal([]byte(line), &e) == nil && (e.Mark != "" || e.Report != nil) {
				l.take(e)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	l.process = p
	run.watch(group{name: Client, root: p.PID()})
	if _, err := p.Stdin().Write(wire.Line(job)); err != nil {
		l.Stop()
		return nil, fmt.Errorf("give the load its job: %w", err)
	}
	return l, nil
}

// take is called with each event, as soon as it comes.
func (l *Load) take(e wire.Event) {
	switch e.Mark {
	case wire.Begin:
		l.before = l.run.Usage(false)
		l.peaks = l.run.peaks()
	case wire.End:
		l.m.CPU = map[string]time.Duration{}
		for name, u := range l.run.Usage(false) {
			l.m.CPU[name] = u.CPU - l.before[name].CPU
		}
		l.m.Peak = l.peaks()
	}
	l.events <- e
}

// Proceed tells a load that waits for it to go on.
func (l *Load) Proceed() error {
	_, err := l.process.Stdin().Write(wire.Line(wire.Proceed))
	return err
}

// Await waits for a mark.
func (l *Load) Await(ctx context.Context, mark string) error {
	for {
		select {
		case e := <-l.events:
			if e.Mark == mark {
				return nil
			}
		case <-l.process.Done():
			return fmt.Errorf("%w before %q: %w", spawn.ErrEnded, mark, l.process.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Wait waits for the load's report. Failed tasks are an error.
func (l *Load) Wait(ctx context.Context) (*Measured, error) {
	for {
		select {
		case e := <-l.events:
			if e.Report != nil {
				return l.judge(e.Report)
			}
		case <-l.process.Done():
			return l.last()
		case <-ctx.Done():
			return nil, fmt.Errorf("load: %w", context.Cause(ctx))
		}
	}
}

// last looks for a report of a load that has ended: it may stand behind other events.
func (l *Load) last() (*Measured, error) {
	for {
		select {
		case e := <-l.events:
			if e.Report != nil {
				return l.judge(e.Report)
			}
		case <-time.After(time.Second): // its last lines are read by now
			return nil, fmt.Errorf("load %w without a report: %w", spawn.ErrEnded, l.process.Err())
		}
	}
}

func (l *Load) judge(rep *wire.Report) (*Measured, error) {
	l.m.Report = *rep
	if rep.Failed > 0 {
		return &l.m, fmt.Errorf("%w: %d, first: %s", ErrFailed, rep.Failed, rep.Error)
	}
	return &l.m, nil
}

// Finish tells a load that goes on for ever to end, and waits for its report.
func (l *Load) Finish(ctx context.Context) (*Measured, error) {
	_ = l.process.Stdin().Close()
	return l.Wait(ctx)
}

// Stop ends the load.
func (l *Load) Stop() {
	l.run.end(l.process)
	l.peaks()
}
