// Package scenario says what is measured, on which systems, and in which order.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
)

// Options of a plan.
type Options struct {
	Systems []string // none: those of the session
	Rounds  int
	// For is how long each load is measured, Warm how long it runs before.
	For, Warm  time.Duration
	Submitters int
	// Parked is how many long-polls are parked, Million how many tasks are waiting.
	Parked, Million int
	// Short leaves out what a short run has no time for.
	Short bool
}

// session is a set of steps on one start of each system, round by round.
type session struct {
	name    string
	about   string
	systems []string
	once    bool // one round is enough, or all there is time for
	// each is about how long one system takes, to know whether there is time for it.
	each  func(Options) time.Duration
	steps func(ctx context.Context, s *step)
}

// step is one system in one round.
type step struct {
	run   *rig.Run
	opt   Options
	round int
	book  *report.Book
}

// record notes a scenario's values. When it failed they count for nothing.
func (s *step) record(scenario string, values map[string]float64, err error) {
	r := report.Result{Scenario: scenario, System: s.run.System.Name, Round: s.round, Values: values}
	if err != nil {
		r.Values, r.Error = nil, err.Error()
		s.run.Logf("%-14s FAILED: %v", scenario, err)
	} else {
		s.run.Logf("%-14s %s", scenario, brief(values))
	}
	s.book.Add(r)
}

// brief shows the values that tell most.
func brief(values map[string]float64) string {
	var text strings.Builder
	for _, k := range []string{
		report.Rate, report.TotalP50, report.TotalP99, report.CPUSystem, report.Fill, report.Drain, report.Restart,
		report.RateRatio, report.ParkedKiB, report.WakeP99, report.AloneP99, report.BesideP99, report.DoneRedis,
	} {
		if v, ok := values[k]; ok {
			fmt.Fprintf(&text, "%s %.4g  ", k, v)
		}
	}
	return text.String()
}

// dev is a system only to look at when idle.
const dev = "dev"

// sessions in the order of their weight: what comes late is left out first when time is short.
func sessions() []session {
	main := []string{rig.Chain, rig.Services, rig.Embedded}
	ours := main[1:]
	return []session{
		{
			name: "standard", about: "closed loop with 64 submitters, then 200/s and 1,000/s; every system",
			systems: names(), each: func(o Options) time.Duration { return 10*time.Second + 3*(o.Warm+o.For) }, steps: standard,
		},
		{
			name: "idle", about: "memory and CPU of what does nothing", once: true,
			systems: []string{rig.Services, rig.Embedded, dev},
			each:    func(Options) time.Duration { return 35 * time.Second }, steps: idle,
		},
		{
			name: "parked", about: "20,000 parked long-polls", once: true, systems: ours,
			each: func(Options) time.Duration { return 75 * time.Second }, steps: parked,
		},
		{
			name: "backlog", about: "10k and 100k waiting: bytes, restart, drain", once: true, systems: main,
			each: func(Options) time.Duration { return 150 * time.Second }, steps: backlog,
		},
		{
			name: "million", about: "the standard job beside 1M waiting tasks", once: true, systems: ours,
			each: func(Options) time.Duration { return 420 * time.Second }, steps: million,
		},
		{
			name: "shapes", about: "1 kB, 64 kB, 100 endpoints, callbacks, no key, a slow neighbour",
			systems: main, each: func(o Options) time.Duration { return 10*time.Second + 6*o.For }, steps: shapes,
		},
	}
}

func names() []string {
	var out []string
	for _, s := range rig.Systems() {
		out = append(out, s.Name)
	}
	return out
}

// List says what there is.
func List(w io.Writer) {
	for _, s := range sessions() {
		_, _ = fmt.Fprintf(w, "  %-10s %s\n             on %v\n", s.name, s.about, s.systems)
	}
}

// Run does the named sessions, all for none named, and fills the book. What there is no time for
// any more before ctx's deadline is left out, and the book says so. It returns early only when
// ctx is cancelled.
func Run(ctx context.Context, r *rig.Rig, book *report.Book, wanted []string, opt Options) error {
	all := sessions()
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(s session) bool { return s.name == name }) {
			return fmt.Errorf("no such scenario: %q", name)
		}
	}
	for _, name := range opt.Systems {
		if name == dev {
			continue
		}
		if _, err := rig.Named(name); err != nil {
			return err
		}
	}
	for _, s := range all {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(ctx, r, book, opt); err != nil {
			return err
		}
	}
	return nil
}

// run does the rounds of a session: A B C A B C, begun with another one each time, so that none
// always has the same neighbour before it.
func (s session) run(ctx context.Context, r *rig.Rig, book *report.Book, opt Options) error {
	systems, err := s.choose(opt)
	if err != nil || len(systems) == 0 {
		return err
	}
	rounds := opt.Rounds
	if s.once {
		rounds = 1
	}
	for round := range rounds {
		for i := range systems {
			sys := systems[(i+round)%len(systems)]
			if !timeFor(ctx, s.each(opt)) {
				book.Skipped = append(book.Skipped, fmt.Sprintf("%s on %s, round %d: no time left", s.name, sys.Name, round+1))
				continue
			}
			s.one(ctx, r, sys, &step{opt: opt, round: round, book: book})
			if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
	}
	return nil
}

func (s session) choose(opt Options) ([]rig.System, error) {
	wanted := s.systems
	if len(opt.Systems) > 0 {
		wanted = slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return !slices.Contains(opt.Systems, name) })
	}
	var out []rig.System
	for _, name := range wanted {
		if name == dev {
			out = append(out, rig.BuildDev())
			continue
		}
		sys, err := rig.Named(name)
		if err != nil {
			return nil, err
		}
		out = append(out, sys...)
	}
	return out, nil
}

func timeFor(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > d
}

// one starts a system, does the steps, and stops it again.
func (s session) one(ctx context.Context, r *rig.Rig, sys rig.System, st *step) {
	run, err := r.Start(ctx, sys)
	if run != nil {
		defer run.Stop()
	}
	if err != nil {
		st.book.Add(report.Result{Scenario: s.name, System: sys.Name, Round: st.round, Error: err.Error()})
		_, _ = fmt.Fprintf(r.Log, "%s %s FAILED: %v\n", s.name, sys.Name, err)
		return
	}
	st.run = run
	if st.book.Machine.Servers == nil {
		st.book.Machine.Servers = map[string]string{}
	}
	run.Versions(ctx, st.book.Machine.Servers)
	s.steps(ctx, st)
}

// pause waits; false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
