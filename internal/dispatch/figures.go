package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Tallies keeps the endpoints' figures, of all dispatchers.
type Tallies interface {
	// Tally adds what this process counted since it last told. What is in
	// flight takes the place of what it said before, and counts for ttl.
	Tally(ctx context.Context, owner string, now time.Time, ts []task.EndpointTally, ttl time.Duration) error
}

const (
	tallyEvery = time.Second
	tallyTime  = 2 * time.Second
	levelTTL   = 10 * time.Second
	levelEvery = 3 * time.Second // how often what does not change is said again
	meterIdle  = time.Minute     // after it an endpoint is forgotten here
)

// meter counts the attempts of this process by endpoint, and tells the store
// once a second. It is an [Observer]. Attempts never wait for the store:
// figures that cannot be told are lost.
type meter struct {
	store Tallies
	owner string
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	gauges map[named]*gauge
}

// named is an endpoint as it is found without computing its identity.
type named struct{ project, name string }

// gauge is what was counted of an endpoint since it was last told.
type gauge struct {
	id    task.EndpointID
	tally task.Tally
	said  int // the level that the store knows
	told  time.Time
}

func newMeter(store Tallies, owner string, log *slog.Logger, now func() time.Time) *meter {
	return &meter{store: store, owner: owner, log: log, now: now, gauges: make(map[named]*gauge)}
}

// Begun implements [Observer].
func (m *meter) Begun(ep *task.Endpoint, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gauge(ep).tally.InFlight++
}

// Ended implements [Observer]. What we interrupted, or never sent by a fault
// of ours, says nothing of the handler.
func (m *meter) Ended(ep *task.Endpoint, o task.Outcome, _ task.Decision, _ bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.gauge(ep)
	g.tally.InFlight--
	if o.Kind == task.KindInterrupted || o.Reason == task.ReasonInternal {
		return
	}
	g.tally.Took.Add(o.Took)
	if o.Kind == task.KindSuccess {
		g.tally.Succeeded++
	}
}

func (m *meter) gauge(ep *task.Endpoint) *gauge {
	key := named{ep.Project, ep.Name}
	g := m.gauges[key]
	if g == nil {
		g = &gauge{id: ep.ID(), told: m.now()}
		m.gauges[key] = g
	}
	return g
}

// take returns what is new since the last call.
func (m *meter) take(now time.Time) []task.EndpointTally {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []task.EndpointTally
	for key, g := range m.gauges {
		level, since := g.tally.InFlight, now.Sub(g.told)
		switch {
		case g.tally.Took.Total() > 0, level != g.said, level > 0 && since >= levelEvery:
			out = append(out, task.EndpointTally{Endpoint: g.id, Tally: g.tally})
			g.tally, g.said, g.told = task.Tally{InFlight: level}, level, now
		case level == 0 && since >= meterIdle:
			delete(m.gauges, key)
		}
	}
	return out
}

// run tells the store until ctx ends, and then once more.
func (m *meter) run(ctx context.Context) {
	last := context.WithoutCancel(ctx)
	failing := false
	every(ctx, tallyEvery, func() { failing = m.tell(last, failing) })
	m.tell(last, failing)
}

// tell says that the store is away once, until it is back.
func (m *meter) tell(ctx context.Context, failing bool) bool {
	now := m.now()
	tallies := m.take(now)
	if len(tallies) == 0 || m.store == nil {
		return failing
	}
	ctx, cancel := context.WithTimeout(ctx, tallyTime)
	defer cancel()
	err := m.store.Tally(ctx, m.owner, now, tallies, levelTTL)
	if err != nil && !failing {
		m.log.WarnContext(ctx, "figures are lost while the store is away", "error", err)
	}
	return err != nil
}
