package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxLine bounds one line of the stream: go test splits longer output itself.
const maxLine = 4 << 20

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string `json:"Action"`
	Package    string `json:"Package"`
	ImportPath string `json:"ImportPath"` // of build events
	Test       string `json:"Test"`
	Output     string `json:"Output"`
}

// servicesWords tell a test of the services by its package, its name or its reason for skipping.
var servicesWords = regexp.MustCompile(`(?i)services|rabbit|redis|amqp`)

type report struct {
	out      io.Writer
	required bool

	began                   time.Time
	packages                int
	passed, failed, skipped int
	output                  map[string][]string // of tests and packages that have not ended
	faults                  []string
}

func newReport(out io.Writer, servicesRequired bool) *report {
	return &report{out: out, required: servicesRequired, began: time.Now(), output: map[string][]string{}}
}

// read prints the stream's digest and returns an error when anything in it is a failure.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			// Not of the stream: what the go command itself has to say.
			fmt.Fprintln(r.out, lines.Text())

			continue
		}
		r.add(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}

	return r.close()
}

func (r *report) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.fault("build failed: " + e.ImportPath)
	case "output":
		r.addOutput(key, e)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(key, e)
		}
		delete(r.output, key)
	}
}

// addOutput keeps a test's lines until it ends; a package's own lines are few and shown at its end.
func (r *report) addOutput(key string, e event) {
	if e.Test != "" && isFraming(e.Output) {
		return
	}
	r.output[key] = append(r.output[key], e.Output)
}

func isFraming(line string) bool {
	for _, prefix := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}

	return false
}

func (r *report) endTest(key string, e event) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprint(r.out, strings.Join(r.output[key], ""))
		r.fault("failed: " + e.Package + " " + e.Test)
	case "skip":
		r.skipped++
		reason := strings.TrimSpace(strings.Join(r.output[key], ""))
		if r.required && servicesWords.MatchString(e.Package+e.Test+reason) {
			fmt.Fprintln(r.out, reason)
			r.fault("skipped although services are required: " + e.Package + " " + e.Test)
		}
	}
}

func (r *report) endPackage(e event) {
	r.packages++
	lines := r.output[e.Package+" "]
	if e.Action == "fail" {
		r.fault("failed: " + e.Package)
		// A test that was running when the process died never ends: its output says why.
		for key, unfinished := range r.output {
			if strings.HasPrefix(key, e.Package+" ") && key != e.Package+" " {
				fmt.Fprint(r.out, strings.Join(unfinished, ""))
			}
		}
		fmt.Fprint(r.out, strings.Join(lines, ""))

		return
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") || strings.HasPrefix(line, "\t") {
			fmt.Fprint(r.out, line)
		}
	}
}

func (r *report) fault(text string) {
	if !slices.Contains(r.faults, text) {
		r.faults = append(r.faults, text)
	}
}

func (r *report) close() error {
	fmt.Fprintf(r.out, "%d packages, %d tests passed, %d failed, %d skipped, in %s\n",
		r.packages, r.passed, r.failed, r.skipped, time.Since(r.began).Round(time.Second))
	if r.packages == 0 {
		r.fault("no package was tested")
	}
	if len(r.faults) == 0 {
		return nil
	}

	return errors.New(strings.Join(r.faults, "\n  "))
}
