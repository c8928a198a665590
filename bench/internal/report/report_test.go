package report_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/stats"
)

// book has two systems whose machine was slower in the second round.
func book() *report.Book {
	b := &report.Book{Command: "bench test", Begun: time.Unix(1_800_000_000, 0), Took: time.Minute}
	add := func(scenario, system string, round int, key string, v float64) {
		b.Add(report.Result{Scenario: scenario, System: system, Round: round, Values: map[string]float64{key: v}})
	}
	for round, speed := range []float64{4000, 1000, 2000} {
		add(report.Standard, "chain", round, report.Rate, speed)
		add(report.Standard, "services", round, report.Rate, speed*1.1)
		add(report.Standard, "embedded", round, report.Rate, speed*0.5)
		add(report.Open200, "chain", round, report.TotalP99, 10)
		add(report.Open200, "services", round, report.TotalP99, 100)
	}
	add(report.Standard, "celery", 0, report.Rate, 1000) // the other rounds failed
	b.Add(report.Result{Scenario: report.Standard, System: "celery", Round: 1, Error: "broken"})
	add(report.Idle, "services", 0, report.Rest+"gateway", 25)
	return b
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	t.Parallel()
	b := book()
	got := b.Ratio(report.Standard, report.Rate, "services", "chain")
	if got.N != 3 || got.Min < 1.0999 || got.Max > 1.1001 {
		t.Errorf("services over chain: %+v", got)
	}
	if got := b.Ratio(report.Standard, report.Rate, "services", "celery"); got.N != 1 || got.Median < 4.39 || got.Median > 4.41 {
		t.Errorf("only one round has both: %+v", got)
	}
	if got := b.Ratio(report.Standard, report.Rate, "services", "nobody"); got != (stats.Spread{}) {
		t.Errorf("against nobody: %+v", got)
	}
	if got := b.Spread(report.Standard, "chain", report.Rate); got != (stats.Spread{Median: 2000, Min: 1000, Max: 4000, N: 3}) {
		t.Errorf("spread %+v", got)
	}
}

func verdict(t *testing.T, b *report.Book, what string) report.Verdict {
	t.Helper()
	for _, v := range b.Judge() {
		if strings.HasPrefix(v.What, what) {
			return v
		}
	}
	t.Fatalf("no bar %q", what)
	return report.Verdict{}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	b := book()
	for what, want := range map[string]struct{ measured, met bool }{
		"services: tasks/s against the bare chain":           {true, true},
		"embedded: tasks/s against the bare chain":           {true, false},
		"services: p99 submit-to-result at 200/s":            {true, false},
		"services: tasks/s against Celery":                   {true, false},
		"idle gateway: memory":                               {true, true}, // just
		"idle gateway: CPU":                                  {false, false},
		"services: tasks/s against River, client":            {false, false},
		"services: gateway restart with 100,000 waiting tas": {false, false},
	} {
		v := verdict(t, b, what)
		if v.Measured() != want.measured || v.Met() != want.met {
			t.Errorf("%s: measured %v, met %v: %+v", what, v.Measured(), v.Met(), v.Figure)
		}
	}
}

// A tail is not for a short run to judge, and what was not measured is no loss.
func TestGrossLosses(t *testing.T) {
	t.Parallel()
	var whats []string
	for _, v := range book().GrossLosses() {
		whats = append(whats, v.What)
	}
	want := []string{"embedded: tasks/s against the bare chain", "services: tasks/s against Celery calling HTTP"}
	if !reflect.DeepEqual(whats, want) {
		t.Errorf("gross losses: %q", whats)
	}
}

// What costs nothing is within any bar that asks for at most so much.
func TestNothingIsWithinEveryMost(t *testing.T) {
	t.Parallel()
	b := &report.Book{}
	b.Add(report.Result{Scenario: report.Idle, System: "services", Values: map[string]float64{report.IdleCPU + "gateway": 0}})
	if v := verdict(t, b, "idle gateway: CPU"); !v.Met() {
		t.Errorf("%+v", v)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	text := book().Markdown(map[string]string{"chain": "bare chain"})
	for _, want := range []string{
		"`bench test`, begun 2027-01-15T08:00:00Z, took 1m0s",
		"| services: tasks/s against the bare chain | 1.10 (1.10–1.10) | ≥ 1 x | yes |",
		"| embedded: tasks/s against the bare chain | 0.500 (0.500–0.500) | ≥ 1.3 x | **no** |",
		"| idle gateway: CPU | – | ≤ 0.5 % | not measured |",
		"| | bare chain | services | embedded | celery |",
		"| tasks/s | 2000 (1000–4000) | 2200 (1100–4400) | 1000 (500–2000) | 1000 |",
		"| rest MiB: gateway | 25.0 |",
		"- standard on celery, round 2: broken",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	b := book()
	file := filepath.Join(t.TempDir(), "results.json")
	if err := b.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := report.Load(file)
	if err != nil || len(got.Results) != len(b.Results) || got.Markdown(nil) != b.Markdown(nil) {
		t.Errorf("%v: %+v", err, got)
	}
}
