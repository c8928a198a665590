package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/load"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// system is a front that works each task at once.
type system struct {
	mu      sync.Mutex
	results map[string][]byte
	keys    map[string]bool
	bodies  []string
	next    atomic.Int64
	// answer makes the result of task n; nil: the right one.
	answer func(n int64) []byte
	// gate is passed by each submission.
	gate func()
}

func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		s.submit(w, r)
		return
	}
	s.mu.Lock()
	result := s.results[path.Base(path.Dir(r.URL.Path))]
	s.mu.Unlock()
	if result == nil {
		<-r.Context().Done()
		return
	}
	_, _ = w.Write(result)
}

func (s *system) submit(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	n, _ := wire.Number(body, "n")
	if s.gate != nil {
		s.gate()
	}
	result := wire.Answer(n, time.Now())
	if s.answer != nil {
		result = s.answer(n)
	}
	id := strconv.FormatInt(s.next.Add(1), 10)
	s.mu.Lock()
	s.results[id] = result
	s.keys[r.Header.Get("Idempotency-Key")] = true
	s.bodies = append(s.bodies, string(body))
	s.mu.Unlock()
	w.Header().Set("Location", "/x/"+id)
	w.WriteHeader(http.StatusAccepted)
}

func run(t *testing.T, s *system, job wire.Job) (*wire.Report, []string) {
	t.Helper()
	s.results, s.keys = map[string][]byte{}, map[string]bool{}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	job.Target.Kind, job.Target.Base, job.Target.Submit = wire.HTTP, srv.URL, "/x"
	if job.Submitters == 0 {
		job.Submitters = 4
	}
	in, stop := io.Pipe()
	out, outIn := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- load.Run(t.Context(), in, outIn); _ = outIn.Close() }()
	if _, err := stop.Write(wire.Line(job)); err != nil {
		t.Fatal(err)
	}
	report, marks := events(t, out)
	_ = stop.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return report, marks
}

// events reads until the report.
func events(t *testing.T, out io.Reader) (report *wire.Report, marks []string) {
	t.Helper()
	for dec := json.NewDecoder(out); report == nil; {
		var e wire.Event
		if err := dec.Decode(&e); err != nil {
			break
		}
		if e.Mark != "" {
			marks = append(marks, e.Mark)
		}
		if e.Report != nil {
			report = e.Report
		}
	}
	if report == nil {
		t.Fatal("no report")
	}
	return report, marks
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := &system{}
	rep, marks := run(t, s, wire.Job{
		Kind: wire.Closed, Warm: 50 * time.Millisecond, For: 200 * time.Millisecond, Size: 200,
		Target: wire.Target{Endpoint: "e", Endpoints: 2, Idempotency: true},
	})
	if strings.Join(marks, " ") != "begin end" {
		t.Errorf("marks %v", marks)
	}
	if rep.Failed != 0 || rep.Tasks == 0 || rep.All <= rep.Tasks || rep.Seconds != 0.2 || rep.Total.N == 0 || rep.Total.P50 < rep.Submit.P50 {
		t.Errorf("report %+v", rep)
	}
	if len(s.keys) != rep.All {
		t.Errorf("%d keys for %d tasks", len(s.keys), rep.All)
	}
	if b := s.bodies[0]; !json.Valid([]byte(b)) || !strings.HasPrefix(b, `{"endpoint":"e-`) {
		t.Errorf("body %s", b)
	}
}

// A result of another task, or none of ours, is a failure and not a result.
func TestWrongResults(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(int64) []byte{
		"another task's": func(n int64) []byte { return wire.Answer(n+1, time.Now()) },
		"nothing like":   func(int64) []byte { return []byte("hello") },
	} {
		rep, _ := run(t, &system{answer: answer}, wire.Job{Kind: wire.Closed, For: time.Second, Size: 200})
		if rep.Tasks != 0 || rep.Failed == 0 || rep.Error == "" {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}

// The system stands still for half a second. All that was due meanwhile shows it.
func TestOpenShowsAStall(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	stall := make(chan struct{})
	s := &system{gate: func() {
		switch n := count.Add(1); {
		case n == 50:
			time.AfterFunc(500*time.Millisecond, func() { close(stall) })
			fallthrough
		case n > 50:
			<-stall
		}
	}}
	rep, _ := run(t, s, wire.Job{Kind: wire.Open, Rate: 100, For: 1500 * time.Millisecond, Submitters: 1000, Size: 200})
	if rep.Failed != 0 || rep.Total.N != 150 {
		t.Fatalf("report %+v", rep)
	}
	// 50 of 150 tasks were due within the stall; the first of them waited for all of it.
	if rep.Total.Max < 480 || rep.Total.P90 < 250 {
		t.Errorf("latencies hide the stall: %+v", rep.Total)
	}
}

func TestOpenIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var once sync.Once
	var count atomic.Int64
	s := &system{gate: func() {
		if count.Add(1) == 5 { // no more than the five come, so these may go
			once.Do(func() { time.AfterFunc(300*time.Millisecond, func() { close(release) }) })
		}
		<-release
	}}
	rep, _ := run(t, s, wire.Job{Kind: wire.Open, Rate: 100, For: 200 * time.Millisecond, Submitters: 5, Size: 200})
	if rep.Failed != 15 || !strings.Contains(rep.Error, "too slow") {
		t.Errorf("report %+v", rep)
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	s := &system{}
	rep, marks := run(t, s, wire.Job{Kind: wire.Fill, N: 103, For: 30 * time.Second, Size: 200})
	if rep.Tasks != 103 || rep.Failed != 0 || len(s.bodies) != 103 || strings.Join(marks, " ") != "begin end" {
		t.Errorf("report %+v, %d submissions, marks %v", rep, len(s.bodies), marks)
	}
}

func TestPark(t *testing.T) {
	t.Parallel()
	s := &system{answer: func(int64) []byte { return nil }, results: map[string][]byte{}, keys: map[string]bool{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	in, stop := io.Pipe()
	out, outIn := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- load.Run(context.Background(), in, outIn); _ = outIn.Close() }()
	job := wire.Job{Kind: wire.Park, N: 20, Submitters: 4, Size: 200, Target: wire.Target{Kind: wire.HTTP, Base: srv.URL, Submit: "/x"}}
	if _, err := stop.Write(wire.Line(job)); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(out)
	for _, want := range []string{wire.Begin, wire.Parked} {
		var e wire.Event
		if err := dec.Decode(&e); err != nil || e.Mark != want {
			t.Fatalf("got %+v, %v", e, err)
		}
		if want == wire.Begin {
			if _, err := stop.Write(wire.Line(wire.Proceed)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = stop.Close()
	rep, _ := events(t, out)
	if rep.Failed != 0 {
		t.Errorf("report %+v", rep)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A caller that goes takes the load along.
func TestEndsWithItsInput(t *testing.T) {
	t.Parallel()
	s := &system{results: map[string][]byte{}, keys: map[string]bool{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	job := wire.Job{Kind: wire.Closed, For: time.Hour, Submitters: 2, Size: 200, Target: wire.Target{Kind: wire.HTTP, Base: srv.URL, Submit: "/x"}}
	begun := time.Now()
	if err := load.Run(t.Context(), bytes.NewReader(wire.Line(job)), io.Discard); err != nil {
		t.Fatal(err)
	}
	if time.Since(begun) > time.Minute {
		t.Error("the load went on")
	}
}
