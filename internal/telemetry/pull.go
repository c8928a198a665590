package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskgate/taskgate/internal/task"
)

// Figures is what is asked of others when metrics are read. What is nil is
// not known, and left out.
type Figures struct {
	Up        map[string]bool
	Broker    *BrokerFigures
	Store     *StoreFigures
	Registry  *RegistryFigures
	Admission *AdmissionFigures
	System    map[string]int64 // messages in the installation's own queues
	Endpoints []Backlog
	Broken    []Broken
	Delays    []Delay
}

// Delay is how messages fare that are delayed so long.
type Delay struct {
	Delay, Late time.Duration
	Arrived     int64
}

// BrokerFigures are those of the connections to the broker.
type BrokerFigures struct {
	Connects  map[string]int64 // by link
	Blocked   bool
	Consumers int
}

// StoreFigures are those of the connections to Redis.
type StoreFigures struct {
	Connects, Failures, Timeouts int64
	Busy, Idle                   int
}

// RegistryFigures are those of the registry in memory.
type RegistryFigures struct {
	Version   int64
	Age       time.Duration
	Endpoints int
}

// AdmissionFigures are those of the API: what it holds and works now.
type AdmissionFigures struct {
	Working, Queued   int
	Polls, MaxPolls   int64
	Bodies, MaxBodies int64
}

// Backlog is what of an endpoint has not ended.
type Backlog struct {
	Project, Endpoint string
	States            task.Depths
}

// Broken is an endpoint whose circuit is not closed.
type Broken struct {
	Project, Endpoint string
	Reason            task.Reason
}

// Sources give figures.
type Sources struct {
	// Own are this process's, at no cost.
	Own func() Figures
	// Shared are asked of broker and store, until ctx ends. They are asked
	// again when the last answer is a few seconds old.
	Shared func(ctx context.Context) Figures
	// Known reports whether an endpoint exists; series of others are dropped.
	Known func(project, endpoint string) bool
}

const (
	sharedTime = 3 * time.Second // bounds one question
	sharedFor  = 5 * time.Second // how long its answer is used
)

// Pull sets what is asked when metrics are read. It is called once, before
// that.
func (m *Metrics) Pull(s Sources) { m.pull.sources = s }

// pull is the collector of figures that nobody counts here.
type pull struct {
	sources Sources
	lanes   *lanes
	descs   [metricCount]*prometheus.Desc
	now     func() time.Time

	mu     sync.Mutex
	shared Figures
	asked  time.Time
}

// pulled are its metrics.
var pulled = []name{
	metricWaiting, metricOldest, metricBreakerOpen, metricConnects, metricBlocked, metricConsumers, metricSystemDepth, metricCanaryLate, metricCanaries, metricStoreConnects,
	metricStoreConns, metricStoreTimeouts, metricRegistryVersion, metricRegistryAge, metricRegistryEndpoints, metricUp, metricPlaces, metricBodies,
}

func newPull(l *lanes) *pull {
	p := &pull{lanes: l, now: time.Now}
	for _, n := range pulled {
		p.descs[n] = prometheus.NewDesc(n.full(), catalogue[n].help, n.labels(), nil)
	}
	return p
}

// Describe implements prometheus.Collector.
func (p *pull) Describe(to chan<- *prometheus.Desc) {
	for _, n := range pulled {
		to <- p.descs[n]
	}
}

// Collect implements prometheus.Collector.
func (p *pull) Collect(to chan<- prometheus.Metric) {
	out := output{p, to}
	if p.sources.Own != nil {
		out.figures(p.sources.Own())
	}
	if p.sources.Shared != nil {
		out.figures(p.ask())
	}
}

// ask returns shared figures of the last few seconds. Whoever comes while they
// are asked for waits for the same answer.
func (p *pull) ask() Figures {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() && p.now().Sub(p.asked) < sharedFor {
		return p.shared
	}
	ctx, cancel := context.WithTimeout(context.Background(), sharedTime)
	defer cancel()
	p.shared = p.sources.Shared(ctx)
	p.asked = p.now()
	return p.shared
}

// output writes figures as metrics.
type output struct {
	*pull
	to chan<- prometheus.Metric
}

func (o output) put(n name, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if catalogue[n].kind == counter {
		kind = prometheus.CounterValue
	}
	o.to <- prometheus.MustNewConstMetric(o.descs[n], kind, value, labels...)
}

func (o output) figures(f Figures) {
	for name, up := range f.Up {
		o.put(metricUp, oneIf(up), name)
	}
	if b := f.Broker; b != nil {
		for link, n := range b.Connects {
			o.put(metricConnects, float64(n), link)
		}
		o.put(metricBlocked, oneIf(b.Blocked))
		o.put(metricConsumers, float64(b.Consumers))
	}
	if s := f.Store; s != nil {
		o.put(metricStoreConnects, float64(s.Connects), "ok")
		o.put(metricStoreConnects, float64(s.Failures), "failed")
		o.put(metricStoreTimeouts, float64(s.Timeouts))
		o.put(metricStoreConns, float64(s.Busy), "busy")
		o.put(metricStoreConns, float64(s.Idle), "idle")
	}
	if r := f.Registry; r != nil {
		o.put(metricRegistryVersion, float64(r.Version))
		o.put(metricRegistryAge, r.Age.Seconds())
		o.put(metricRegistryEndpoints, float64(r.Endpoints))
	}
	if a := f.Admission; a != nil {
		o.put(metricPlaces, float64(a.Working), "working")
		o.put(metricPlaces, float64(a.Queued), "queued")
		o.put(metricPlaces, float64(a.Polls), "polls")
		o.put(metricPlaces, float64(a.MaxPolls), "polls_limit")
		o.put(metricBodies, float64(a.Bodies), "held")
		o.put(metricBodies, float64(a.MaxBodies), "limit")
	}
	for queue, n := range f.System {
		o.put(metricSystemDepth, float64(n), queue)
	}
	for _, b := range o.bounded(f.Endpoints) {
		o.backlog(b)
	}
	o.broken(f.Broken)
	for _, d := range f.Delays {
		o.put(metricCanaryLate, d.Late.Seconds(), d.Delay.String())
		o.put(metricCanaries, float64(d.Arrived), d.Delay.String())
	}
}

// broken writes those with series of their own one by one, and how many others
// there are.
func (o output) broken(all []Broken) {
	rest := 0
	for _, b := range all {
		if !o.lanes.has(b.Project, b.Endpoint) && o.lanes.free() == 0 {
			rest++
			continue
		}
		o.put(metricBreakerOpen, 1, b.Project, b.Endpoint, string(b.Reason))
	}
	if rest > 0 {
		o.put(metricBreakerOpen, float64(rest), other, other, "")
	}
}

// backlog writes every state, so that what is empty shows as 0.
func (o output) backlog(b Backlog) {
	for _, s := range task.States() {
		if s.Final() {
			continue
		}
		d, age := b.States[s], time.Duration(0)
		if d.Tasks > 0 {
			age = max(o.now().Sub(d.Oldest), 0)
		}
		o.put(metricWaiting, float64(d.Tasks), b.Project, b.Endpoint, string(s))
		o.put(metricOldest, age.Seconds(), b.Project, b.Endpoint, string(s))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// bounded keeps as many backlogs apart as there may be endpoints with series
// of their own, and adds the rest up.
func (o output) bounded(all []Backlog) []Backlog {
	out := make([]Backlog, 0, min(len(all), o.lanes.limit+1))
	rest := Backlog{Project: other, Endpoint: other, States: task.Depths{}}
	left, beyond := o.lanes.free(), false
	for _, b := range all {
		switch {
		case o.lanes.has(b.Project, b.Endpoint):
		case left > 0:
			left--
		default:
			rest.add(b.States)
			beyond = true
			continue
		}
		out = append(out, b)
	}
	if beyond {
		out = append(out, rest)
	}
	return out
}

func (b *Backlog) add(more task.Depths) {
	for s, d := range more {
		sum := b.States[s]
		if d.Tasks > 0 && (sum.Tasks == 0 || d.Oldest.Before(sum.Oldest)) {
			sum.Oldest = d.Oldest
		}
		sum.Tasks += d.Tasks
		b.States[s] = sum
	}
}
