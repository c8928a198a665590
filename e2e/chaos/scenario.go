package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

// Target is what a scenario is run on.
type Target string

// The two backends.
const (
	Services Target = "services" // gateways and dispatchers on RabbitMQ and Redis
	Embedded Target = "embedded" // one "taskgate serve"
)

// Scenario is one way to hurt an installation, and what must hold then.
type Scenario struct {
	Name    string // of the test and in the report: lower case, with dashes
	Number  int    // orders the report
	What    string // one line for the report: what is done
	Targets []Target
	// WholeOnly: it is no part of the small form.
	WholeOnly bool
	Run       func(t *testing.T, w *World)
}

// scenarios is every scenario there is. A new one needs a line here.
func scenarios() []Scenario {
	return []Scenario{
		kills, stops, rolling, diskFull, damage,
		rabbitFaults, rabbitCluster, redisFaults,
		handlers, clocks, poison, backlog, overload,
	}
}

// World is what a scenario is given.
type World struct {
	Target Target
	Whole  bool // everything, as `make chaos` wants it; else the small form
	Rand   *rand.Rand

	scenario Scenario
	suite    *Suite
}

// Suite is what the scenarios of one run have in common.
type Suite struct {
	Binaries string                        // folder of the programs
	Services func() (*rig.Services, error) // started at the first call
	Report   *Report
	Seed     uint64
	Whole    bool
}

// world of a scenario on a target: the seed decides what is done to it,
// whatever was run before.
func (s *Suite) world(sc Scenario, target Target) *World {
	return &World{
		Target: target, Whole: s.Whole, scenario: sc, suite: s,
		Rand: rand.New(rand.NewPCG(s.Seed, uint64(hash(sc.Name+string(target))))),
	}
}

// Pick returns the first value in the small form, the second in the whole one.
func Pick[T any](w *World, small, whole T) T {
	if w.Whole {
		return whole
	}
	return small
}

// Between draws a duration.
func (w *World) Between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.Rand.Int64N(int64(most-least)+1))
}

// Install starts an installation on the world's target. It ends with the
// test; when that failed, the logs are kept. On services, URLs that are not
// given are those of the suite's own servers.
func (w *World) Install(t *testing.T, opt rig.Options) *rig.Installation {
	t.Helper()
	opt.Binaries, opt.Dir = w.suite.Binaries, t.TempDir()
	if w.Target == Services && opt.AMQP == "" && opt.Redis == "" {
		s, err := w.suite.Services()
		if err != nil {
			t.Fatal(err)
		}
		opt.AMQP, opt.Redis = s.AMQP, s.Redis
	}
	in, err := rig.Install(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			if dir, err := in.KeepLogs(); err == nil {
				t.Logf("the logs of the processes are kept in %s", dir)
			}
		}
	})
	return in
}

// Ledger makes one for an installation.
func (w *World) Ledger(t *testing.T, in *rig.Installation) *Ledger {
	t.Helper()
	l := NewLedger(NewClient(in.Bases(), rig.AdminKey))
	t.Cleanup(l.Receiver.Close)
	return l
}

// Register makes an endpoint of a ledger, or ends the test.
func (w *World) Register(t *testing.T, l *Ledger, e Endpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Register(ctx, e); err != nil {
		t.Fatal(err)
	}
}

// Conclude settles within the bound, fails the test for what was lost or
// unannounced, and writes the report's row, with the facts that the scenario
// wants to tell.
func (w *World) Conclude(t *testing.T, l *Ledger, bound time.Duration, mercy Mercy, facts ...string) Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	v := l.Settle(ctx, mercy)
	t.Logf("%s on %s: %v %v", w.scenario.Name, w.Target, v, facts)
	for i, fault := range v.Faults() {
		if i == 20 {
			t.Errorf("and %d more", len(v.Faults())-i)
			break
		}
		t.Error(fault)
	}
	if v.Accepted == 0 {
		t.Error("nothing was accepted: this proves nothing")
	}
	w.suite.Report.Add(Row{
		Number: w.scenario.Number, Scenario: w.scenario.Name, Target: w.Target, What: w.scenario.What, Verdict: v, Facts: facts,
	})
	return v
}

// NoRefusals fails the test when a submission was never accepted although it
// was repeated with its key.
func NoRefusals(t *testing.T, l *Ledger) {
	t.Helper()
	for i, r := range l.Refused() {
		if i == 5 {
			t.Errorf("%d submissions failed altogether", len(l.Refused()))
			return
		}
		t.Errorf("a submission failed after %d tries: %s", r.Tries, r.Why)
	}
}

// Wait waits, unless the test ends before.
func (w *World) Wait(t *testing.T, d time.Duration) {
	t.Helper()
	if err := pause(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// Until polls until ok, at most as long as the bound.
func (w *World) Until(t *testing.T, bound time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if err := Await(ctx, what, ok); err != nil {
		t.Fatal(err)
	}
}

// Seconds writes a duration for the report.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
