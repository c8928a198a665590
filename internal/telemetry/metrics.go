package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/taskgate/taskgate/internal/task"
)

// MetricsOptions of [Metrics]. Zero values get defaults.
type MetricsOptions struct {
	Role, Version string
	// MaxEndpoints is how many endpoints have series of their own; the rest
	// share one set of them. Default 500.
	MaxEndpoints int
}

const defaultMaxEndpoints = 500

// Metrics counts and measures what one process does, in a registry of its own.
// It is safe for concurrent use. Its methods resolve labels once and allocate
// nothing afterwards.
type Metrics struct {
	registry *prometheus.Registry
	lanes    *lanes
	pull     *pull

	requests  handles[requestKey, prometheus.Counter]
	latencies handles[routeKey, prometheus.Observer]
	handling  prometheus.Gauge

	publishes handles[publishKey, prometheus.Counter]
	confirms  handles[string, prometheus.Observer]
	corrupt   prometheus.Counter

	calls     handles[callKey, prometheus.Counter]
	callTimes handles[string, prometheus.Observer]

	parked prometheus.Gauge
	polls  handles[string, prometheus.Counter]

	authFailures   handles[string, prometheus.Counter]
	certificateEnd prometheus.Gauge
	certificates   handles[string, prometheus.Counter]
	refused        handles[string, prometheus.Counter]
	dropped        handles[string, prometheus.Counter]

	spans  handles[string, prometheus.Counter]
	sweeps handles[string, prometheus.Counter]
	swept  handles[string, prometheus.Counter]
}

type (
	requestKey struct{ route, method, class string }
	routeKey   struct{ route, method string }
	publishKey struct{ kind, outcome string }
	callKey    struct{ operation, outcome string }
)

// NewMetrics makes the metrics of a process.
func NewMetrics(opt MetricsOptions) *Metrics {
	if opt.MaxEndpoints <= 0 {
		opt.MaxEndpoints = defaultMaxEndpoints
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	f := factory{reg}
	f.gauge(metricBuild).WithLabelValues(opt.Role, opt.Version).Set(1)
	m := &Metrics{registry: reg, lanes: newLanes(f, opt.MaxEndpoints)}
	m.http(f)
	m.broker(f)
	m.store(f)
	m.pull = newPull(m.lanes)
	reg.MustRegister(m.pull)
	return m
}

func (m *Metrics) http(f factory) {
	requests, latency := f.counter(metricRequests), f.histogram(metricRequestTime, waitBuckets)
	m.requests.make = func(k requestKey) prometheus.Counter { return requests.WithLabelValues(k.route, k.method, k.class) }
	m.latencies.make = func(k routeKey) prometheus.Observer { return latency.WithLabelValues(k.route, k.method) }
	m.handling = f.gauge(metricRequestsNow).WithLabelValues()
	m.parked = f.gauge(metricPolls).WithLabelValues()
	m.polls.make = of(f.counter(metricPollsEnded))
	m.authFailures.make = of(f.counter(metricAuthFailures))
	m.certificateEnd = f.gauge(metricCertificateEnd).WithLabelValues()
	m.certificates.make = of(f.counter(metricCertificates))
	m.refused.make = of(f.counter(metricRefused))
	m.dropped.make = of(f.counter(metricDropped))
}

func (m *Metrics) broker(f factory) {
	publishes, confirms := f.counter(metricPublishes), f.histogram(metricConfirmTime, callBuckets)
	m.publishes.make = func(k publishKey) prometheus.Counter { return publishes.WithLabelValues(k.kind, k.outcome) }
	m.confirms.make = func(kind string) prometheus.Observer { return confirms.WithLabelValues(kind) }
	m.corrupt = f.counter(metricCorrupt).WithLabelValues()
}

func (m *Metrics) store(f factory) {
	calls, times := f.counter(metricCalls), f.histogram(metricCallTime, callBuckets)
	m.calls.make = func(k callKey) prometheus.Counter { return calls.WithLabelValues(k.operation, k.outcome) }
	m.callTimes.make = func(op string) prometheus.Observer { return times.WithLabelValues(op) }
	m.spans.make = of(f.counter(metricSpans))
	m.sweeps.make = of(f.counter(metricSweeps))
	m.swept.make = of(f.counter(metricSwept))
}

func of(v *prometheus.CounterVec) func(string) prometheus.Counter {
	return func(label string) prometheus.Counter { return v.WithLabelValues(label) }
}

// Handler serves the metrics. A metric that cannot be collected is left out.
func (m *Metrics) Handler() http.Handler {
	serve := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesAtOnce,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if known := m.pull.sources.Known; known != nil {
			m.lanes.prune(known)
		}
		serve.ServeHTTP(w, r)
	})
}

const scrapesAtOnce = 4

// RequestBegun notes that the API has begun to work a request.
func (m *Metrics) RequestBegun() { m.handling.Inc() }

// RequestEnded notes its end. route is the contract's path, "" for none.
func (m *Metrics) RequestEnded(route, method string, status int, took time.Duration) {
	if route == "" {
		// Any method and any path may come: they are no labels.
		route, method = "none", "any"
	}
	m.handling.Dec()
	m.requests.get(requestKey{route, method, class(status)}).Inc()
	m.latencies.get(routeKey{route, method}).Observe(took.Seconds())
}

// Refused notes a request that a limit refused.
func (m *Metrics) Refused(code string) { m.refused.get(code).Inc() }

// PayloadDropped notes a failed task whose payload was not kept.
func (m *Metrics) PayloadDropped(project string) { m.dropped.get(project).Inc() }

func class(status int) string {
	const classes = "1xx2xx3xx4xx5xx"
	n := status/100 - 1
	if n < 0 || n > 4 {
		return "none"
	}
	return classes[3*n : 3*n+3]
}

// Published notes a publish that ended.
func (m *Metrics) Published(kind string, took time.Duration, err error) {
	outcome := "stored"
	switch task.CodeOf(err) {
	case "":
		m.confirms.get(kind).Observe(took.Seconds())
	case task.CodeNotAccepted:
		outcome = "refused"
	default:
		outcome = "unknown"
	}
	m.publishes.get(publishKey{kind, outcome}).Inc()
}

// Corrupt notes a message that nobody can decode.
func (m *Metrics) Corrupt() { m.corrupt.Inc() }

// Called notes a call of the store that ended.
func (m *Metrics) Called(operation string, took time.Duration, err error) {
	outcome := "ok"
	switch task.CodeOf(err) {
	case "":
	case task.CodeUnavailable:
		outcome = "unavailable"
	default:
		outcome = "failed"
	}
	m.calls.get(callKey{operation, outcome}).Inc()
	m.callTimes.get(operation).Observe(took.Seconds())
}

// PollBegun notes a long-poll that waits.
func (m *Metrics) PollBegun() { m.parked.Inc() }

// PollEnded notes its end: "woken", "timeout", "left" or "failed".
func (m *Metrics) PollEnded(outcome string) {
	m.parked.Dec()
	m.polls.get(outcome).Inc()
}

// Exported notes spans that were sent, or lost.
func (m *Metrics) Exported(spans int, err error) {
	outcome := "sent"
	if err != nil {
		outcome = "lost"
	}
	m.spans.get(outcome).Add(float64(spans))
}

// Swept notes a round of the sweeper.
func (m *Metrics) Swept(leader bool, abandoned, expired, callbacks int, err error) {
	outcome := "follower"
	switch {
	case err != nil:
		outcome = "failed"
	case leader:
		outcome = "leader"
	}
	m.sweeps.get(outcome).Inc()
	m.swept.get("abandoned").Add(float64(abandoned))
	m.swept.get("expired").Add(float64(expired))
	m.swept.get("callbacks").Add(float64(callbacks))
}
