package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskgate/taskgate/internal/task"
)

// other is the project and the endpoint of the series that endpoints beyond
// the limit share. No name begins with an underscore.
const other = "_other"

// laneKey names an endpoint.
type laneKey struct{ project, endpoint string }

// lane is one endpoint's series, resolved.
type lane struct {
	accepted, unsettled prometheus.Counter
	late, took          prometheus.Observer
	inFlight            prometheus.Gauge
	attempts            handles[attemptKey, prometheus.Counter]
	finished            handles[task.State, prometheus.Counter]

	running atomic.Int64 // as inFlight: a lane in use is not dropped
}

type attemptKey struct {
	kind   task.Kind
	reason task.Reason
}

// lanes are the series of all endpoints: at most limit sets, and one more that
// the rest share, so that memory is bounded whatever is registered.
type lanes struct {
	accepted, unsettled, attempts, finished *prometheus.CounterVec
	late, took                              *prometheus.HistogramVec
	inFlight, count                         *prometheus.GaugeVec
	limit                                   int

	mu     sync.RWMutex
	byName map[laneKey]*lane
	rest   *lane // made when needed
}

func newLanes(f factory, limit int) *lanes {
	l := &lanes{
		accepted:  f.counter(metricAccepted),
		finished:  f.counter(metricFinished),
		attempts:  f.counter(metricAttempts),
		unsettled: f.counter(metricUnsettled),
		late:      f.histogram(metricLate, lateBuckets),
		took:      f.histogram(metricTook, waitBuckets),
		inFlight:  f.gauge(metricInFlight),
		count:     f.gauge(metricTracked),
		limit:     limit, byName: make(map[laneKey]*lane),
	}
	l.count.WithLabelValues("limit").Set(float64(limit))
	l.count.WithLabelValues("used").Set(0)
	return l
}

// of returns an endpoint's lane.
func (l *lanes) of(project, endpoint string) *lane {
	key := laneKey{project, endpoint}
	l.mu.RLock()
	found := l.byName[key]
	if found == nil && len(l.byName) >= l.limit {
		found = l.rest
	}
	l.mu.RUnlock()
	if found != nil {
		return found
	}
	return l.add(key)
}

func (l *lanes) add(key laneKey) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := l.byName[key]; found != nil {
		return found
	}
	if len(l.byName) < l.limit {
		made := l.resolve(key)
		l.byName[key] = made
		l.count.WithLabelValues("used").Set(float64(len(l.byName)))
		return made
	}
	if l.rest == nil {
		l.rest = l.resolve(laneKey{other, other})
	}
	return l.rest
}

func (l *lanes) resolve(k laneKey) *lane {
	p, e := k.project, k.endpoint
	made := &lane{
		accepted: l.accepted.WithLabelValues(p, e), unsettled: l.unsettled.WithLabelValues(p, e),
		late: l.late.WithLabelValues(p, e), took: l.took.WithLabelValues(p, e),
		inFlight: l.inFlight.WithLabelValues(p, e),
	}
	made.attempts.make = func(a attemptKey) prometheus.Counter {
		return l.attempts.WithLabelValues(p, e, string(a.kind), string(a.reason))
	}
	made.finished.make = func(s task.State) prometheus.Counter { return l.finished.WithLabelValues(p, e, string(s)) }
	// A counter that begins with its first event hides it from rate().
	for _, s := range task.States() {
		if s.Final() {
			made.finished.get(s)
		}
	}
	made.attempts.get(attemptKey{task.KindSuccess, task.ReasonNone})
	return made
}

// prune drops the series of endpoints that are gone, for others to use.
func (l *lanes) prune(known func(project, endpoint string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, lane := range l.byName {
		if lane.running.Load() > 0 || known(key.project, key.endpoint) {
			continue
		}
		delete(l.byName, key)
		match := prometheus.Labels{"project": key.project, "endpoint": key.endpoint}
		for _, vec := range []interface{ DeletePartialMatch(l prometheus.Labels) int }{
			l.accepted, l.unsettled, l.attempts, l.finished, l.late, l.took, l.inFlight,
		} {
			vec.DeletePartialMatch(match)
		}
	}
	l.count.WithLabelValues("used").Set(float64(len(l.byName)))
}

// enter returns the endpoint's lane with one more attempt running in it.
func (l *lanes) enter(project, endpoint string) *lane {
	for {
		lane := l.of(project, endpoint)
		l.mu.RLock()
		if l.rest == lane || l.byName[laneKey{project, endpoint}] == lane {
			lane.running.Add(1) // before anyone can drop it
			l.mu.RUnlock()
			return lane
		}
		l.mu.RUnlock()
	}
}

// leave ends an attempt and returns the lane to count it in. An endpoint that
// has got series of its own meanwhile ends what it began in the shared ones.
func (l *lanes) leave(project, endpoint string) *lane {
	own := l.of(project, endpoint)
	entered := own
	if own.running.Add(-1) < 0 {
		own.running.Add(1)
		l.mu.RLock()
		entered = l.rest
		l.mu.RUnlock()
		entered.running.Add(-1)
	}
	entered.inFlight.Dec()
	return own
}

// has reports whether the endpoint has series of its own.
func (l *lanes) has(project, endpoint string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byName[laneKey{project, endpoint}] != nil
}

// free is how many more endpoints can have them.
func (l *lanes) free() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.limit - len(l.byName)
}

// Accepted notes a task that its submitter is told of.
func (m *Metrics) Accepted(project, endpoint string) { m.lanes.of(project, endpoint).accepted.Inc() }

// Finished notes a task that reached a final state.
func (m *Metrics) Finished(project, endpoint string, s task.State) {
	m.lanes.of(project, endpoint).finished.get(s).Inc()
}

// Begun notes an attempt that begins, late after it was due.
func (m *Metrics) Begun(ep *task.Endpoint, late time.Duration) {
	lane := m.lanes.enter(ep.Project, ep.Name)
	lane.inFlight.Inc()
	lane.late.Observe(late.Seconds())
}

// Ended notes its end. d says nothing unless settled.
func (m *Metrics) Ended(ep *task.Endpoint, o task.Outcome, _ task.Decision, settled bool) {
	lane := m.lanes.leave(ep.Project, ep.Name)
	lane.took.Observe(o.Took.Seconds())
	lane.attempts.get(attemptKey{o.Kind, o.Reason}).Inc()
	if !settled {
		lane.unsettled.Inc()
	}
}
