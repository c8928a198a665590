package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
)

// rounds is how often a timing case may try to find the machine at rest. Early
// is wrong in every round.
const rounds = 3

// neverEarlySeldomLate: delays of 0 to 4 s, all under way together.
func (s *suite) neverEarlySeldomLate(t *testing.T) {
	atRest(t, func(round int) lateness {
		ep := endpoint(t, fmt.Sprint("ep", round))
		declare(t, s.driver, ep)
		in := consume(t, s.driver, ep, 50)
		ws := delayed(wires(ep, 200), 4*time.Second)
		publishAll(t, s.driver, ws)
		return in.measure(ws)
	})
}

// delayHoldsNoWorker: a message that waits takes no place of the prefetch.
func (s *suite) delayHoldsNoWorker(t *testing.T) {
	ep := endpoint(t, "ep")
	declare(t, s.driver, ep)
	ws := wires(ep, 10)
	for i := range ws {
		ws[i].ETA = time.Now().Add(time.Hour)
	}
	publishAll(t, s.driver, ws)
	in := consume(t, s.driver, ep, 1)
	w := wire(ep, 100)
	publish(t, s.driver, w)
	in.collect([]string{w.ID})
	in.none()
}

// missingNeverBlocksOthers: many delayed messages for endpoints without a
// queue, whose fate nobody can tell yet, delay no delayed message of others.
func (s *suite) missingNeverBlocksOthers(t *testing.T) {
	decided := make(chan struct{})
	t.Cleanup(func() { close(decided) })
	undecided := func(ctx context.Context, _ broker.Wire) (broker.Fate, error) {
		select {
		case <-decided:
		case <-ctx.Done():
		}
		return broker.Drop, nil
	}
	var lost []broker.Wire
	for i := range 60 {
		ep := endpoint(t, fmt.Sprint("missing", i%15))
		s.fates.set(ep, undecided)
		w := wire(ep, i)
		w.ETA = time.Now().Add(time.Duration(i%4) * 250 * time.Millisecond)
		lost = append(lost, w)
	}
	publishAll(t, s.driver, lost)
	atRest(t, func(round int) lateness {
		ep := endpoint(t, fmt.Sprint("ep", round))
		declare(t, s.driver, ep)
		in := consume(t, s.driver, ep, 50)
		ws := delayed(wires(ep, 40), 3*time.Second)
		publishAll(t, s.driver, ws)
		return in.measure(ws)
	})
}

// delayed spreads ETAs from now to span.
func delayed(ws []broker.Wire, span time.Duration) []broker.Wire {
	now := time.Now()
	for i := range ws {
		ws[i].ETA = now.Add(time.Duration(rand.Int64N(int64(span))))
	}
	return ws
}

// atRest repeats a measurement that a busy machine spoiled: the promise of
// lateness is for a machine at rest.
func atRest(t *testing.T, measure func(round int) lateness) {
	t.Helper()
	for round := range rounds {
		late := measure(round)
		t.Logf("lateness: %v", late)
		if late.max() <= maxLate || t.Failed() {
			return
		}
	}
	t.Errorf("more than %v late in each of %d rounds", maxLate, rounds)
}
