// Command bench measures Taskgate against the bare chain and its peers: see bench/README.md.
//
//	bench run      everything, or the scenarios and systems asked for
//	bench short    the bare chain and Taskgate for two minutes; fails on a gross loss
//	bench profile  the standard job on one system, with profiles of its processes
//	bench report   the report of a run again
//	bench list     what there is
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/scenario"
)

func main() {
	// A second signal ends the bench at once; what it started goes with it all the same.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	command := "list"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "hold":
		rig.Hold(os.Getenv("TASKGATE_TEST_AMQP_URL"), os.Getenv("TASKGATE_TEST_REDIS_URL"), os.Stdin, os.Stdout)
		return nil
	case "run", "short":
		return measure(ctx, command == "short", args)
	case "profile":
		return profile(ctx, args)
	case "report":
		return again(args)
	case "list":
		list()
		return nil
	}
	return fmt.Errorf("no command %q: run, short, profile, report or list", command)
}

func list() {
	fmt.Println("Scenarios:")
	scenario.List(os.Stdout)
	fmt.Println("Systems:")
	for _, s := range rig.Systems() {
		fmt.Printf("  %-13s %s\n", s.Name, s.Title)
	}
}

// places are the folders, as flags.
type places struct{ root, work string }

func (p *places) flags(f *flag.FlagSet) {
	f.StringVar(&p.root, "root", ".", "the repository; its binaries are in bin and bench/bin")
	f.StringVar(&p.work, "work", "", "folder for data and logs, on the disk to measure (default bench/.work)")
}

// rig makes the rig. Settings of Taskgate in the environment are not those of the bench.
func (p *places) rig() (*rig.Rig, error) {
	environ := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "TASKGATE_") })
	root, err := filepath.Abs(p.root)
	if err != nil {
		return nil, err
	}
	work := p.work
	if work == "" {
		work = filepath.Join(root, "bench", ".work")
	}
	if work, err = filepath.Abs(work); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(work, 0o755); err != nil { //nolint:gosec // PostgreSQL's user passes through
		return nil, err
	}
	lock, err := claim(work)
	if err != nil {
		return nil, err
	}
	return &rig.Rig{
		Files: moreFiles(),
		Root:  root, Environ: environ, Log: os.Stderr, Lock: lock, Work: work, Product: filepath.Join(root, "bin"), Tools: filepath.Join(root, "bench", "bin"),
	}, nil
}

// claim makes sure that this is the only bench in the folder, until it ends, and removes the data
// of one that was killed. Two would measure each other anyway.
func claim(work string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(work, "lock"), os.O_CREATE|os.O_RDWR, 0o644) //nolint:gosec // an empty file
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another bench runs in %s: %w", work, err)
	}
	left, err := filepath.Glob(filepath.Join(work, "*.data.*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return lock, err
}

// files is how many may be open: 20,000 long-polls are as many connections.
const files = 65536

// moreFiles raises the limit as far as it goes, and returns it; what is started gets the same.
func moreFiles() int {
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files}) == nil {
		return files
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = min(l.Max, files)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	return int(l.Cur)
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func measure(ctx context.Context, short bool, args []string) error {
	opt := scenario.Options{
		Rounds: 3, For: 8 * time.Second, Warm: 2 * time.Second, Submitters: 64, Parked: 20_000, Million: 1_000_000,
	}
	budget, scenarios, systems := 45*time.Minute, "", ""
	if short {
		opt.Rounds, opt.For, opt.Warm, opt.Short = 2, 4*time.Second, time.Second, true
		budget, scenarios, systems = 3*time.Minute, "standard", "chain,services,embedded"
	}
	var p places
	var out string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	p.flags(f)
	f.StringVar(&scenarios, "scenarios", scenarios, "only these, separated by commas")
	f.StringVar(&systems, "systems", systems, "only these, separated by commas")
	f.IntVar(&opt.Rounds, "rounds", opt.Rounds, "of each scenario that is repeated")
	f.DurationVar(&opt.For, "for", opt.For, "measured time of a load")
	f.DurationVar(&opt.Warm, "warm", opt.Warm, "time before it")
	f.IntVar(&opt.Submitters, "submitters", opt.Submitters, "at once")
	f.IntVar(&opt.Parked, "parked", opt.Parked, "long-polls to park")
	f.IntVar(&opt.Million, "million", opt.Million, "tasks that wait beside the standard job")
	f.DurationVar(&budget, "budget", budget, "most time; what does not fit is left out and named")
	f.StringVar(&out, "out", "", "file for the report (default: only printed)")
	if err := f.Parse(args); err != nil {
		return err
	}
	r, err := p.rig()
	if err != nil {
		return err
	}
	opt.Systems = words(systems)
	book := &report.Book{
		Machine: report.Look(r.Root, r.Tools, r.Work), Command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "), Begun: time.Now(),
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	err = scenario.Run(ctx, r, book, words(scenarios), opt)
	book.Took = time.Since(book.Begun)
	if err := errors.Join(err, publish(r, book, out)); err != nil {
		return err
	}
	if short {
		return gross(book)
	}
	return nil
}

func titles() map[string]string {
	t := map[string]string{"dev": rig.BuildDev().Title}
	for _, s := range rig.Systems() {
		t[s.Name] = s.Title
	}
	return t
}

// publish keeps the raw figures and writes the report.
func publish(r *rig.Rig, book *report.Book, out string) error {
	if err := book.Save(filepath.Join(r.Work, "results.json")); err != nil {
		return err
	}
	text := book.Markdown(titles())
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(text), 0o644) //nolint:gosec // to be read by everyone
}

// gross fails on a gross loss.
func gross(book *report.Book) error {
	var errs []error
	for _, v := range book.GrossLosses() {
		errs = append(errs, fmt.Errorf("%s: %.2f, that is %.2f of the bar of %v", v.What, v.Figure.Median, v.Reached(), v.Limit))
	}
	for _, r := range book.Results {
		if r.Error != "" {
			errs = append(errs, fmt.Errorf("%s on %s: %s", r.Scenario, r.System, r.Error))
		}
	}
	return errors.Join(errs...)
}

func again(args []string) error {
	f := flag.NewFlagSet("bench report", flag.ContinueOnError)
	file := f.String("in", "bench/.work/results.json", "what a run has kept")
	if err := f.Parse(args); err != nil {
		return err
	}
	book, err := report.Load(*file)
	if err != nil {
		return err
	}
	fmt.Print(book.Markdown(titles()))
	return nil
}
