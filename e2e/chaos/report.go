package chaos

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// The report stands between these lines of docs/reliability.md.
const (
	reportBegin = "<!-- Written by make chaos; what stands here is replaced. -->"
	reportEnd   = "<!-- The end of what make chaos writes. -->"
)

// Row is one scenario on one target.
type Row struct {
	Number   int
	Scenario string
	Target   Target
	What     string
	Verdict  Verdict
	Facts    []string
}

// Report collects rows.
type Report struct {
	mu   sync.Mutex
	rows []Row
}

// Add adds a row.
func (r *Report) Add(row Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row)
}

// Rows returns them in the order of their numbers.
func (r *Report) Rows() []Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.rows)
	slices.SortStableFunc(out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(b.Target, a.Target))
	})
	return out
}

// Markdown writes the table and the sums.
func (r *Report) Markdown(facts []string) string {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	b.WriteString("\n| # | scenario | on | what is done | accepted | lost | duplicates, announced | duplicates, unannounced | longest stall | settled in | more |\n" +
		"|--:|---|---|---|--:|--:|--:|--:|--:|--:|---|\n")
	var sum Verdict
	var lost, unannounced int
	for _, row := range r.Rows() {
		v := row.Verdict
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %d | %d | %d | %d | %s | %s | %s |\n", row.Number, row.Scenario, row.Target, row.What,
			v.Accepted, len(v.Lost), v.Announced, len(v.Unannounced), Seconds(v.Stall), Seconds(v.Settled), strings.Join(row.Facts, "; "))
		sum.Accepted += v.Accepted
		sum.Announced += v.Announced
		lost += len(v.Lost)
		unannounced += len(v.Unannounced)
	}
	fmt.Fprintf(&b, "| | **together** | | | **%d** | **%d** | **%d** | **%d** | | | |\n", sum.Accepted, lost, sum.Announced, unannounced)
	return b.String()
}

// Write puts the report into a document, between its markers.
func (r *Report) Write(file string, facts []string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := replaceReport(string(doc), r.Markdown(facts))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(out), 0o644)
}

func replaceReport(doc, report string) (string, error) {
	before, rest, ok := strings.Cut(doc, reportBegin)
	_, after, ok2 := strings.Cut(rest, reportEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the lines %q and %q are missing", reportBegin, reportEnd)
	}
	return before + reportBegin + "\n\n" + report + "\n" + reportEnd + after, nil
}

// MachineFacts are what the figures depend on.
func MachineFacts(seed uint64, took time.Duration) []string {
	return []string{
		fmt.Sprintf("%s, in %d min %d s, seed %d, commit %s", time.Now().UTC().Format(time.DateOnly), int(took.Minutes()), int(took.Seconds())%60, seed,
			output("git", "rev-parse", "--short", "HEAD")),
		fmt.Sprintf("%d cores (%s), %s of memory, %s/%s, %s", runtime.NumCPU(), procLine("/proc/cpuinfo", "model name"),
			procLine("/proc/meminfo", "MemTotal"), runtime.GOOS, runtime.GOARCH, runtime.Version()),
		"RabbitMQ " + packageVersion("rabbitmq-server") + ", Redis " + packageVersion("redis-server"),
	}
}

// packageVersion of an installed Debian package; elsewhere nobody knows.
func packageVersion(name string) string { return output("dpkg-query", "-W", "-f=${Version}", name) }

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return "of unknown version"
	}
	return string(bytes.TrimSpace(out))
}

// procLine returns the value of a line "name: value".
func procLine(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
