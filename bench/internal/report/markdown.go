package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
)

// number shows three significant digits, and no more decimals than tell something.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 1000:
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func spread(s stats.Spread) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return number(s.Median)
	}
	return number(s.Median) + " (" + number(s.Min) + "–" + number(s.Max) + ")"
}

// Bars is the table of all bars.
func (b *Book) Bars() string {
	var t strings.Builder
	t.WriteString("| figure | measured | bar | met |\n|---|---|---|---|\n")
	for _, v := range b.Judge() {
		sign := "≥"
		if v.Most {
			sign = "≤"
		}
		met := "**no**"
		switch {
		case !v.Measured():
			met = "not measured"
		case v.Met():
			met = "yes"
		}
		fmt.Fprintf(&t, "| %s | %s | %s %s %s | %s |\n", v.What, spread(v.Figure), sign, strconv.FormatFloat(v.Limit, 'f', -1, 64), v.Unit, met)
	}
	return t.String()
}

// Markdown is the whole report. titles are the systems' names for people.
func (b *Book) Markdown(titles map[string]string) string {
	var t strings.Builder
	t.WriteString("# Results of the bench\n\nWritten by `make bench`; do not edit. What is measured, and how the systems are set up: README.md beside this file.\n\n")
	t.WriteString(b.head())
	t.WriteString("\n## The bars\n\nMedians of the rounds, with the lowest and the highest; ratios are taken round by round, side by side.\n\n")
	t.WriteString(b.Bars())
	for _, scenario := range b.scenarios() {
		t.WriteString("\n## " + scenario + "\n\n" + b.table(scenario, titles))
	}
	t.WriteString(b.faults())
	return t.String()
}

func (b *Book) head() string {
	m := b.Machine
	var t strings.Builder
	fmt.Fprintf(&t, "- `%s`, begun %s, took %s\n", b.Command, b.Begun.UTC().Format(time.RFC3339), b.Took.Round(time.Second))
	fmt.Fprintf(&t, "- %d × %s, %s, Linux %s; load average at the start %s; append and fsync of 512 bytes %s ms\n",
		m.Cores, m.CPU, m.Memory, m.Kernel, m.Load, number(m.Fsync))
	fmt.Fprintf(&t, "- Taskgate %s, %s\n", m.Commit, m.Go)
	for _, versions := range []map[string]string{m.Servers, m.Modules} {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(versions)) {
			list = append(list, name+" "+versions[name])
		}
		if len(list) > 0 {
			t.WriteString("- " + strings.Join(list, ", ") + "\n")
		}
	}
	return t.String()
}

func (b *Book) scenarios() []string {
	var out []string
	for _, r := range b.Results {
		if len(r.Values) > 0 && !slices.Contains(out, r.Scenario) {
			out = append(out, r.Scenario)
		}
	}
	return out
}

// table has a row for each value and a column for each system.
func (b *Book) table(scenario string, titles map[string]string) string {
	systems := b.Systems(scenario)
	var t strings.Builder
	t.WriteString("| |")
	for _, s := range systems {
		title := titles[s]
		if title == "" {
			title = s
		}
		t.WriteString(" " + title + " |")
	}
	t.WriteString("\n|---|" + strings.Repeat("---|", len(systems)) + "\n")
	for _, key := range b.Keys(scenario) {
		t.WriteString("| " + strings.Replace(key, ".", ": ", 1) + " |")
		for _, s := range systems {
			t.WriteString(" " + spread(b.Spread(scenario, s, key)) + " |")
		}
		t.WriteString("\n")
	}
	return t.String()
}

// faults is what was not measured, and why.
func (b *Book) faults() string {
	var t strings.Builder
	for _, r := range b.Results {
		if r.Error != "" {
			fmt.Fprintf(&t, "- %s on %s, round %d: %s\n", r.Scenario, r.System, r.Round+1, r.Error)
		}
	}
	for _, s := range b.Skipped {
		t.WriteString("- " + s + "\n")
	}
	if t.Len() == 0 {
		return ""
	}
	return "\n## Not measured, or not as meant\n\n" + t.String()
}
