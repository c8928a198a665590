// Package rig builds the systems under test, each from nothing, and takes them down again.
package rig

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/bench/internal/spawn"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// Rig knows where everything is.
type Rig struct {
	Root    string   // the repository
	Product string   // folder of the binaries gateway, dispatcher and taskgate
	Tools   string   // folder of the bench's own binaries
	Work    string   // folder for data and logs, on the disk to be measured
	Environ []string // of every process, without settings of Taskgate
	Files   int      // how many a process may have open
	Log     io.Writer
	Lock    io.Closer // of the work folder; ends with the process
	// Pprof has Taskgate serve profiles.
	Pprof bool
}

func (r *Rig) tool(name string) string { return filepath.Join(r.Tools, name) }

const (
	startWithin = 60 * time.Second
	stopWithin  = 20 * time.Second
)

// Run is one system that is up.
type Run struct {
	rig  *Rig
	dir  string // its data, removed at the end
	logs *os.File

	mu     sync.Mutex
	groups []group
	stops  []func()

	System     System
	Target     wire.Target
	HandlerURL string
	// loader is the program that puts load on it.
	loader []string

	Redis, AMQP, Postgres string // URLs, "" without one
	// Taskgate is set for Taskgate.
	Taskgate *Taskgate
	// hold stops the work on tasks, and release lets it go on.
	hold, release func(ctx context.Context) error
}

// Start builds a system. Stop the run, whatever happens.
func (r *Rig) Start(ctx context.Context, s System) (*Run, error) {
	dir, err := os.MkdirTemp(r.Work, s.Name+".data.")
	if err != nil {
		return nil, err
	}
	run := &Run{rig: r, dir: dir, System: s, loader: []string{r.tool("load")}}
	run.stops = append(run.stops, func() { _ = os.RemoveAll(dir) })
	//nolint:gosec // a log beside the data
	if run.logs, err = os.OpenFile(filepath.Join(r.Work, s.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return run, err
	}
	run.stops = append(run.stops, func() { _ = run.logs.Close() })
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if _, run.HandlerURL, err = run.tool(ctx, Handler, "handler"); err != nil {
		return run, err
	}
	if err := s.build(ctx, run); err != nil {
		return run, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return run, nil
}

// Stop takes everything down, the last part first.
func (run *Run) Stop() {
	run.mu.Lock()
	stops := run.stops
	run.stops = nil
	run.mu.Unlock()
	for _, stop := range slices.Backward(stops) {
		stop()
	}
}

func (run *Run) onStop(f func()) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.stops = append(run.stops, f)
}

// end stops a process and forgets its group.
func (run *Run) end(p *spawn.Process) {
	p.Stop(stopWithin)
	run.unwatch(p.PID())
}

// env tells the bench's own programs where everything is.
func (run *Run) env() []string {
	return slices.Concat(run.rig.Environ, []string{
		"BENCH_AMQP_URL=" + run.AMQP, "BENCH_REDIS_URL=" + run.Redis,
		"BENCH_POSTGRES_URL=" + run.Postgres, "BENCH_HANDLER_URL=" + run.HandlerURL,
	})
}

// Files is how many a process may have open.
func (run *Run) Files() int { return run.rig.Files }

// Hold stops the work on the tasks of the run's target: they wait.
func (run *Run) Hold(ctx context.Context) error { return run.hold(ctx) }

// Release lets the work go on.
func (run *Run) Release(ctx context.Context) error { return run.release(ctx) }

// Logf says what happens.
func (run *Run) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(run.rig.Log, "%s  %-12s "+format+"\n", append([]any{time.Now().Format("15:04:05"), run.System.Name}, args...)...)
}
