package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func endpoint(name string) *task.Endpoint { return &task.Endpoint{Project: "p", Name: name} }

// scrape reads the metrics as Prometheus does: series and their values.
func scrape(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if w.Code != http.StatusOK || err != nil {
		t.Fatalf("%d: %s", w.Code, body)
	}
	out := make(map[string]string)
	for line := range strings.SplitSeq(string(body), "\n") {
		if i := strings.LastIndex(line, " "); i > 0 && !strings.HasPrefix(line, "#") {
			out[line[:i]] = line[i+1:]
		}
	}
	return out
}

func want(t *testing.T, got map[string]string, series ...string) {
	t.Helper()
	for _, s := range series {
		i := strings.LastIndex(s, " ")
		if got[s[:i]] != s[i+1:] {
			t.Errorf("%s is %q, want %s", s[:i], got[s[:i]], s[i+1:])
		}
	}
}

// exercise has everything counted once.
func exercise(m *Metrics) {
	m.Accepted("p", "a")
	m.Begun(endpoint("a"), time.Second)
	m.Ended(endpoint("a"), task.Outcome{Kind: task.KindRetry, Reason: task.ReasonTimeout, Took: time.Second}, task.Decision{}, false)
	m.Finished("p", "a", task.Failed)
	m.RequestBegun()
	m.RequestEnded("/v1/tasks", "POST", 202, time.Millisecond)
	m.Published("task", time.Millisecond, nil)
	m.Corrupt()
	m.Called("swap", time.Millisecond, nil)
	m.PollBegun()
	m.PollEnded("woken")
	m.AuthFailed(true)
	m.Certificate(time.Unix(1, 0))
	m.CertificateRead(false)
	m.Refused("overloaded")
	m.PayloadDropped("p")
	m.Swept(true, 1, 2, 3, nil)
	m.Exported(3, nil)
	m.Pull(Sources{
		Own: func() Figures {
			return Figures{
				Broker:    &BrokerFigures{Connects: map[string]int64{"publish": 2}, Blocked: true, Consumers: 3},
				Store:     &StoreFigures{Connects: 1, Failures: 2, Timeouts: 3, Busy: 4, Idle: 5},
				Registry:  &RegistryFigures{Version: 6, Age: time.Second, Endpoints: 7},
				Admission: &AdmissionFigures{Working: 1, Queued: 2, Polls: 3, MaxPolls: 4, Bodies: 5, MaxBodies: 6},
			}
		},
		Shared: func(context.Context) Figures {
			return Figures{
				Up: map[string]bool{"store": false, "broker": true}, System: map[string]int64{"dead": 8},
				Delays:    []Delay{{time.Second, time.Millisecond, 5}},
				Broken:    []Broken{{"p", "a", task.ReasonTimeout}},
				Endpoints: []Backlog{{"p", "a", task.Depths{task.Queued: {Tasks: 9, Oldest: time.Now().Add(-time.Hour)}}}},
			}
		},
	})
}

// Every metric of the catalogue exists, with its labels and its help, and no
// other of ours does.
func TestCatalogue(t *testing.T) {
	m := NewMetrics(MetricsOptions{Role: "dev", Version: "v1"})
	exercise(m)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]entry)
	for n := range metricCount {
		left[n.full()] = catalogue[n]
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		e, ok := left[f.GetName()]
		if !ok {
			t.Errorf("%s is not in the catalogue", f.GetName())
			continue
		}
		delete(left, f.GetName())
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		wanted := strings.Fields(e.labels)
		slices.Sort(wanted)
		if kind := strings.ToLower(f.GetType().String()); kind != e.kind || f.GetHelp() != e.help || !slices.Equal(labels, wanted) {
			t.Errorf("%s is a %s with %q, the catalogue says %s with %q", f.GetName(), kind, labels, e.kind, wanted)
		}
	}
	for n := range left {
		t.Errorf("%s never showed", n)
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestValues(t *testing.T) {
	m := NewMetrics(MetricsOptions{Role: "dev", Version: "v1"})
	exercise(m)
	m.Published("parked", time.Second, task.Errorf(task.CodeNotAccepted, "full"))
	m.Published("parked", time.Second, task.Errorf(task.CodeOutcomeUnknown, "late"))
	m.Called("swap", time.Second, task.Errorf(task.CodeUnavailable, "away"))
	m.Called("swap", time.Second, errors.New("torn"))
	m.Exported(4, errors.New("away"))
	m.Swept(false, 0, 0, 0, nil)
	m.Swept(true, 0, 0, 0, errors.New("away"))
	for _, status := range []int{0, 99, 100, 599, 600} {
		m.RequestBegun()
		m.RequestEnded("", "BREW", status, time.Millisecond)
	}
	got := scrape(t, m)
	want(t, got,
		`taskgate_tasks_accepted_total{endpoint="a",project="p"} 1`,
		`taskgate_tasks_finished_total{endpoint="a",project="p",state="failed"} 1`,
		`taskgate_tasks_finished_total{endpoint="a",project="p",state="cancelled"} 0`,
		`taskgate_attempts_total{endpoint="a",outcome="retry",project="p",reason="timeout"} 1`,
		`taskgate_attempts_in_flight{endpoint="a",project="p"} 0`,
		`taskgate_attempts_unsettled_total{endpoint="a",project="p"} 1`,
		`taskgate_attempt_start_delay_seconds_sum{endpoint="a",project="p"} 1`,
		`taskgate_attempt_duration_seconds_sum{endpoint="a",project="p"} 1`,
		`taskgate_endpoint_tasks{endpoint="a",project="p",state="queued"} 9`,
		`taskgate_endpoint_tasks{endpoint="a",project="p",state="retrying"} 0`,
		`taskgate_endpoint_oldest_task_seconds{endpoint="a",project="p",state="retrying"} 0`,
		`taskgate_http_requests_total{class="2xx",method="POST",route="/v1/tasks"} 1`,
		`taskgate_http_requests_total{class="none",method="any",route="none"} 3`,
		`taskgate_http_requests_total{class="1xx",method="any",route="none"} 1`,
		`taskgate_http_requests_total{class="5xx",method="any",route="none"} 1`,
		`taskgate_http_requests_in_flight 0`,
		`taskgate_broker_publishes_total{kind="parked",outcome="refused"} 1`,
		`taskgate_broker_publishes_total{kind="parked",outcome="unknown"} 1`,
		`taskgate_broker_confirm_seconds_count{kind="task"} 1`,
		`taskgate_broker_connects_total{link="publish"} 2`,
		`taskgate_broker_blocked 1`,
		`taskgate_store_calls_total{operation="swap",outcome="unavailable"} 1`,
		`taskgate_store_calls_total{operation="swap",outcome="failed"} 1`,
		`taskgate_store_call_duration_seconds_count{operation="swap"} 3`,
		`taskgate_store_connects_total{outcome="failed"} 2`,
		`taskgate_dependency_up{dependency="store"} 0`,
		`taskgate_trace_spans_total{outcome="sent"} 3`, `taskgate_trace_spans_total{outcome="lost"} 4`,
		`taskgate_sweeps_total{outcome="leader"} 1`, `taskgate_sweeps_total{outcome="follower"} 1`,
		`taskgate_sweeps_total{outcome="failed"} 1`, `taskgate_swept_total{what="expired"} 2`, `taskgate_swept_total{what="callbacks"} 3`,
	)
	age := got[`taskgate_endpoint_oldest_task_seconds{endpoint="a",project="p",state="queued"}`]
	if !strings.HasPrefix(age, "360") {
		t.Errorf("oldest: %s", age)
	}
}

// However many endpoints there are, the series stay within the limit, nothing
// is lost, and endpoints that are gone make room.
func TestLimit(t *testing.T) {
	const limit, all = 3, 50
	m := NewMetrics(MetricsOptions{MaxEndpoints: limit})
	backlogs := make([]Backlog, all)
	known := map[string]bool{}
	for i := range all {
		ep := endpoint(fmt.Sprintf("e%02d", i))
		known[ep.Name] = true
		m.Accepted("p", ep.Name)
		m.Begun(ep, 0)
		m.Ended(ep, task.Outcome{Kind: task.KindSuccess}, task.Decision{}, true)
		backlogs[i] = Backlog{"p", ep.Name, task.Depths{task.Queued: {Tasks: 1, Oldest: time.Now().Add(-time.Hour)}}}
	}
	m.Pull(Sources{
		Shared: func(context.Context) Figures { return Figures{Endpoints: backlogs} },
		Known:  func(_, endpoint string) bool { return known[endpoint] },
	})
	got := scrape(t, m)
	want(t, got,
		`taskgate_tasks_accepted_total{endpoint="e00",project="p"} 1`,
		`taskgate_tasks_accepted_total{endpoint="_other",project="_other"} 47`,
		`taskgate_attempts_total{endpoint="_other",outcome="success",project="_other",reason=""} 47`,
		`taskgate_endpoint_tasks{endpoint="e02",project="p",state="queued"} 1`,
		`taskgate_endpoint_tasks{endpoint="_other",project="_other",state="queued"} 47`,
		`taskgate_metrics_endpoints{what="used"} 3`, `taskgate_metrics_endpoints{what="limit"} 3`,
	)
	series := 0
	for s := range got {
		if strings.HasPrefix(s, "taskgate_tasks_accepted_total") {
			series++
		}
	}
	if series != limit+1 {
		t.Errorf("%d sets of series", series)
	}
	delete(known, "e00")
	got = scrape(t, m)
	for s := range got {
		if strings.Contains(s, `"e00"`) && !strings.HasPrefix(s, "taskgate_endpoint_") {
			t.Errorf("%s is still there", s)
		}
	}
	m.Accepted("p", "e49")
	want(t, scrape(t, m), `taskgate_tasks_accepted_total{endpoint="e49",project="p"} 1`,
		`taskgate_tasks_accepted_total{endpoint="_other",project="_other"} 47`)
}

// An endpoint that gets series of its own while an attempt runs leaves no
// attempt behind in the shared ones, and one whose attempt runs is not dropped.
func TestInFlightIsExact(t *testing.T) {
	m := NewMetrics(MetricsOptions{MaxEndpoints: 1})
	known := map[string]bool{"a": true, "b": true}
	m.Pull(Sources{Known: func(_, endpoint string) bool { return known[endpoint] }})
	ok := task.Outcome{Kind: task.KindSuccess}
	m.Begun(endpoint("a"), 0)
	m.Begun(endpoint("b"), 0) // in the shared series
	delete(known, "a")
	want(t, scrape(t, m), `taskgate_attempts_in_flight{endpoint="a",project="p"} 1`)
	m.Ended(endpoint("a"), ok, task.Decision{}, true)
	scrape(t, m) // drops a
	m.Ended(endpoint("b"), ok, task.Decision{}, true)
	m.Begun(endpoint("b"), 0)
	got := scrape(t, m)
	want(t, got, `taskgate_attempts_in_flight{endpoint="b",project="p"} 1`,
		`taskgate_attempts_in_flight{endpoint="_other",project="_other"} 0`)
	if _, there := got[`taskgate_attempts_in_flight{endpoint="a",project="p"}`]; there {
		t.Error("a is still there")
	}

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				ep := endpoint(fmt.Sprint("x", (i+n)%5))
				m.Begun(ep, 0)
				m.lanes.prune(func(string, string) bool { return n%3 == 0 })
				m.Ended(ep, ok, task.Decision{}, true)
			}
		})
	}
	wg.Wait()
	m.Ended(endpoint("b"), ok, task.Decision{}, true)
	for s, v := range scrape(t, m) {
		if strings.HasPrefix(s, "taskgate_attempts_in_flight") && v != "0" {
			t.Errorf("%s %s", s, v)
		}
	}
}

// Shared figures are asked for once in a while, by one at a time, in bounded
// time.
func TestSharedIsCached(t *testing.T) {
	m := NewMetrics(MetricsOptions{})
	asked := 0
	m.Pull(Sources{Shared: func(ctx context.Context) Figures {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > sharedTime {
			t.Error("no deadline")
		}
		asked++
		return Figures{System: map[string]int64{"dead": int64(asked)}}
	}})
	now := time.Now()
	m.pull.now = func() time.Time { return now }
	var wg sync.WaitGroup
	for range scrapesAtOnce {
		wg.Go(func() { want(t, scrape(t, m), `taskgate_broker_system_messages{queue="dead"} 1`) })
	}
	wg.Wait()
	now = now.Add(sharedFor)
	want(t, scrape(t, m), `taskgate_broker_system_messages{queue="dead"} 2`)
}

// What is measured on the hot path costs no allocation.
func TestAllocs(t *testing.T) {
	m := NewMetrics(MetricsOptions{})
	exercise(m)
	ep, o := endpoint("a"), task.Outcome{Kind: task.KindRetry, Reason: task.ReasonTimeout}
	n := testing.AllocsPerRun(100, func() {
		m.Accepted("p", "a")
		m.Begun(ep, 0)
		m.Ended(ep, o, task.Decision{}, true)
		m.Finished("p", "a", task.Failed)
		m.RequestBegun()
		m.RequestEnded("/v1/tasks", "POST", 202, 0)
		m.Published("task", 0, nil)
		m.Called("swap", 0, nil)
		m.PollBegun()
		m.PollEnded("woken")
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAttempt(b *testing.B) {
	m := NewMetrics(MetricsOptions{})
	ep, o := endpoint("a"), task.Outcome{Kind: task.KindSuccess}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Begun(ep, 0)
			m.Ended(ep, o, task.Decision{}, true)
		}
	})
}
