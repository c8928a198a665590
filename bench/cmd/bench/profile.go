package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/scenario"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// profile runs the standard job on Taskgate and writes profiles of each of its processes.
func profile(ctx context.Context, args []string) error {
	var p places
	f := flag.NewFlagSet("bench profile", flag.ContinueOnError)
	p.flags(f)
	system := f.String("system", rig.Services, "services or embedded")
	out := f.String("out", "", "folder for the profiles (default: profiles in the work folder)")
	took := f.Duration("for", 10*time.Second, "time of the CPU profile")
	key := f.Bool("key", true, "submit with an Idempotency-Key")
	parked := f.Int("parked", 0, "park so many long-polls, and profile the heap instead")
	if err := f.Parse(args); err != nil {
		return err
	}
	r, err := p.rig()
	if err != nil {
		return err
	}
	r.Pprof = true
	if *out == "" {
		*out = filepath.Join(r.Work, "profiles")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil { //nolint:gosec // to be read by everyone
		return err
	}
	systems, err := rig.Named(*system)
	if err != nil {
		return err
	}
	run, err := r.Start(ctx, systems[0])
	if run != nil {
		defer run.Stop()
	}
	if err != nil {
		return err
	}
	if run.Taskgate == nil {
		return errors.New("only Taskgate serves profiles")
	}
	run.Target.Idempotency = *key
	if *parked > 0 {
		return profileParked(ctx, run, *parked, *out)
	}
	return profiled(ctx, run, *out, *took)
}

// profiled loads the system longer than the CPU profile takes.
func profiled(ctx context.Context, run *rig.Run, out string, took time.Duration) error {
	const before = 2 * time.Second
	l, err := run.StartLoad(wire.Job{Kind: wire.Closed, Warm: before, For: took + before, Size: 200, Submitters: 64})
	if err != nil {
		return err
	}
	defer l.Stop()
	if err := l.Await(ctx, wire.Begin); err != nil {
		return err
	}
	tg := run.Taskgate
	start, commands := map[string]rig.Memory{}, run.RedisCommands(ctx)
	done := make(chan error, len(tg.Admin))
	for part := range tg.Admin {
		start[part] = tg.Memory(ctx, part)
		go func() {
			what := fmt.Sprintf("profile?seconds=%d", int(took.Seconds()))
			done <- tg.Profile(ctx, part, what, filepath.Join(out, run.System.Name+"-"+part+".cpu"))
		}()
	}
	var errs []error
	for range tg.Admin {
		errs = append(errs, <-done)
	}
	if err := l.Await(ctx, wire.End); err != nil {
		return err
	}
	end, after := map[string]rig.Memory{}, run.RedisCommands(ctx)
	for part := range tg.Admin {
		end[part] = tg.Memory(ctx, part)
		errs = append(errs, tg.Profile(ctx, part, "allocs", filepath.Join(out, run.System.Name+"-"+part+".allocs")))
	}
	m, err := l.Wait(ctx)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	tell(m, start, end)
	for name, c := range after {
		c.Calls -= commands[name].Calls
		c.Micros -= commands[name].Micros
		if c.Calls >= float64(m.Tasks)/100 {
			fmt.Printf("  Redis %-10s %.2f per task, %.1f µs each\n", name, c.Calls/float64(m.Tasks), c.Micros/c.Calls)
		}
	}
	fmt.Println("profiles in", out)
	return nil
}

// tell prints what a task costs each process.
func tell(m *rig.Measured, start, end map[string]rig.Memory) {
	fmt.Printf("%.0f tasks/s, p50 %.1f ms, p99 %.1f ms\n", m.Rate(), m.Total.P50, m.Total.P99)
	n := float64(m.Tasks)
	for part, cpu := range m.CPU {
		fmt.Printf("  %-12s %.3f CPU s per 1,000 tasks", part, cpu.Seconds()/n*1000)
		if e, s := end[part], start[part]; e.Mallocs > 0 {
			fmt.Printf(", %.0f allocations and %.0f bytes per task, %.1f collections per 1,000 tasks",
				(e.Mallocs-s.Mallocs)/n, (e.Bytes-s.Bytes)/n, (e.Collections-s.Collections)/n*1000)
		}
		fmt.Println()
	}
}

// profileParked looks at the memory of a process that does nothing but keep long-polls.
func profileParked(ctx context.Context, run *rig.Run, n int, out string) error {
	lot, err := scenario.Park(ctx, run, n)
	defer lot.Stop()
	if err != nil {
		return err
	}
	tg := run.Taskgate
	before := run.Usage(false)[tg.Front()].CPU
	for what, name := range map[string]string{"heap": "heap", "goroutine": "goroutine", "profile?seconds=20": "cpu"} {
		err = errors.Join(err, tg.Profile(ctx, tg.Front(), what, filepath.Join(out, run.System.Name+"-parked."+name)))
	}
	used := run.Usage(false)[tg.Front()].CPU - before
	m := tg.Memory(ctx, tg.Front())
	each := func(bytes float64) float64 { return bytes / (1 << 10) / float64(lot.Polls) }
	fmt.Printf("%d long-polls: %.1f KiB each; heap %.1f, stacks %.1f, both of the whole process; %.1f s of CPU in 20 s; profiles in %s\n",
		lot.Polls, each(float64(lot.Held)), each(m.Heap), each(m.Stacks), used.Seconds(), out)
	return err
}
