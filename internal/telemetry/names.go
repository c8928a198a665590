package telemetry

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// name is a metric of the catalogue, by its place.
type name int

// The metrics.
const (
	metricAccepted name = iota
	metricFinished
	metricLate
	metricAttempts
	metricTook
	metricInFlight
	metricUnsettled
	metricWaiting
	metricOldest
	metricBreakerOpen
	metricTracked

	metricRequests
	metricRequestTime
	metricRequestsNow
	metricPolls
	metricPollsEnded
	metricAuthFailures
	metricCertificateEnd
	metricCertificates
	metricRefused
	metricPlaces
	metricBodies
	metricDropped

	metricPublishes
	metricConfirmTime
	metricCorrupt
	metricConnects
	metricBlocked
	metricConsumers
	metricSystemDepth
	metricCanaryLate
	metricCanaries

	metricCalls
	metricCallTime
	metricStoreConnects
	metricStoreConns
	metricStoreTimeouts

	metricRegistryVersion
	metricRegistryAge
	metricRegistryEndpoints
	metricSweeps
	metricSwept

	metricSpans
	metricUp
	metricBuild
	metricCount
)

const prefix = "taskgate_"

// Kinds of metrics.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// entry describes one metric.
type entry struct {
	name, kind string
	labels     string // separated by blanks
	help       string
}

// catalogue is the only list of our metrics; the documentation is written
// from it.
var catalogue = [metricCount]entry{
	metricAccepted:  {"tasks_accepted_total", counter, "project endpoint", "Tasks accepted by this gateway."},
	metricFinished:  {"tasks_finished_total", counter, "project endpoint state", "Tasks that this process brought to a final state."},
	metricLate:      {"attempt_start_delay_seconds", histogram, "project endpoint", "Time from the moment an attempt was due to its begin."},
	metricAttempts:  {"attempts_total", counter, "project endpoint outcome reason", "Attempts by what came of them; the reason is empty after a success."},
	metricTook:      {"attempt_duration_seconds", histogram, "project endpoint", "Duration of attempts, from the request's begin to the end of its answer."},
	metricInFlight:  {"attempts_in_flight", gauge, "project endpoint", "Attempts that run in this process now."},
	metricUnsettled: {"attempts_unsettled_total", counter, "project endpoint", "Attempts whose outcome neither store nor broker took; their tasks are delivered again."},
	metricWaiting:   {"endpoint_tasks", gauge, "project endpoint state", "Tasks that have not ended, by state. The same in every process."},
	metricOldest: {
		"endpoint_oldest_task_seconds", gauge, "project endpoint state",
		"How long ago the oldest of them was accepted; 0 when there are none. The same in every process.",
	},
	metricBreakerOpen: {
		"endpoint_breaker_open", gauge, "project endpoint reason",
		"1 for an endpoint whose circuit breaker is not closed, with the reason; absent for others. The same in every process.",
	},
	metricTracked: {
		"metrics_endpoints", gauge, "what",
		"Endpoints with series of their own (used), and how many may have them (limit); the rest share those of _other.",
	},

	metricRequests:    {"http_requests_total", counter, "route method class", "API requests by route of the contract (none: no such route) and class of status."},
	metricRequestTime: {"http_request_duration_seconds", histogram, "route method", "Duration of API requests, the wait of long-polls included."},
	metricRequestsNow: {"http_requests_in_flight", gauge, "", "API requests being worked now, long-polls included."},
	metricPolls:       {"long_polls_waiting", gauge, "", "Long-polls that wait now."},
	metricPollsEnded:  {"long_polls_total", counter, "outcome", "Long-polls that ended: woken by the end of the task, timeout, left by the caller, failed."},

	metricAuthFailures:   {"auth_failures_total", counter, "outcome", "Failed authentications: refused (401), or slowed (429 before anything was looked up)."},
	metricCertificateEnd: {"tls_certificate_expiry_timestamp_seconds", gauge, "", "End of the API's certificate; 0 when it speaks HTTP."},
	metricCertificates:   {"tls_certificate_reads_total", counter, "outcome", "Changed certificates: taken, or refused because the files are broken."},
	metricRefused:        {"http_refused_total", counter, "code", "API requests refused before anything was done for them: rate_limited, quota_exceeded, overloaded."},
	metricPlaces: {
		"http_places", gauge, "what",
		"API requests that are worked with broker and store (working), that wait for it (queued), and long-polls (polls, of at most polls_limit).",
	},
	metricBodies: {"http_body_bytes", gauge, "what", "Bytes of request bodies held now (held), and at most (limit)."},

	metricDropped: {"payloads_not_kept_total", counter, "project", "Failed tasks whose payload was not kept for a replay, since the project keeps as many bytes as it may."},

	metricPublishes:   {"broker_publishes_total", counter, "kind outcome", "Messages given to the broker: stored, refused (surely not stored) or unknown."},
	metricConfirmTime: {"broker_confirm_seconds", histogram, "kind", "Time from a publish to the confirm that the message is stored."},
	metricCorrupt:     {"broker_corrupt_messages_total", counter, "", "Messages that could not be decoded and were moved to the dead."},
	metricConnects:    {"broker_connects_total", counter, "link", "Connections made to the broker; more than one of a link are reconnects."},
	metricBlocked:     {"broker_blocked", gauge, "", "1 while the broker takes no messages (memory or disk alarm)."},
	metricConsumers:   {"broker_consumers", gauge, "", "Queues that this process consumes now."},
	metricSystemDepth: {
		"broker_system_messages", gauge, "queue",
		"Messages in the installation's own queues: results (parked while the store was away), quarantine, dead. The same in every process.",
	},
	metricCanaryLate: {
		"canary_late_seconds", gauge, "delay",
		"How late the messages are that this process sends itself through each delay: the last one, or the one most overdue.",
	},
	metricCanaries: {"canaries_total", counter, "delay", "Such messages that came."},

	metricCalls:         {"store_calls_total", counter, "operation outcome", "Calls of the task store: ok, unavailable or failed."},
	metricCallTime:      {"store_call_duration_seconds", histogram, "operation", "Duration of calls of the task store."},
	metricStoreConnects: {"store_connects_total", counter, "outcome", "Connections made to Redis (ok) and tries that failed."},
	metricStoreConns:    {"store_connections", gauge, "use", "Connections to Redis by use: busy, idle."},
	metricStoreTimeouts: {"store_pool_timeouts_total", counter, "", "Calls that got no connection to Redis in time."},

	metricRegistryVersion:   {"registry_version", gauge, "", "Version of the registry in this process's memory."},
	metricRegistryAge:       {"registry_age_seconds", gauge, "", "Time since the registry in memory was last seen to equal its store."},
	metricRegistryEndpoints: {"registry_endpoints", gauge, "", "Endpoints registered."},
	metricSweeps:            {"sweeps_total", counter, "outcome", "Rounds of housekeeping: as leader, as follower (another process leads), or failed."},
	metricSwept:             {"swept_total", counter, "what", "What housekeeping tidied up: expired tasks, abandoned acceptances, callbacks that were left."},

	metricSpans: {"trace_spans_total", counter, "outcome", "Spans sent to the receiver of traces, and those that were lost."},
	metricUp:    {"dependency_up", gauge, "dependency", "1 when the dependency answers, 0 when it does not."},
	metricBuild: {"build_info", gauge, "role version", "Always 1; its labels tell role and version."},
}

func (n name) full() string { return prefix + catalogue[n].name }

func (n name) labels() []string { return strings.Fields(catalogue[n].labels) }

// Buckets, in seconds.
var (
	// lateBuckets: from at once to a backlog of hours.
	lateBuckets = []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800, 7200}
	// waitBuckets: users' handlers and long-polls, up to the longest attempt.
	waitBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1500}
	// callBuckets: one round trip to broker or store.
	callBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// factory makes and registers what the catalogue describes.
type factory struct{ reg *prometheus.Registry }

func (f factory) counter(n name) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: n.full(), Help: catalogue[n].help}, n.labels())
	f.reg.MustRegister(v)
	return v
}

func (f factory) gauge(n name) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: n.full(), Help: catalogue[n].help}, n.labels())
	f.reg.MustRegister(v)
	return v
}

func (f factory) histogram(n name, buckets []float64) *prometheus.HistogramVec {
	opts := prometheus.HistogramOpts{Name: n.full(), Help: catalogue[n].help, Buckets: buckets}
	v := prometheus.NewHistogramVec(opts, n.labels())
	f.reg.MustRegister(v)
	return v
}
