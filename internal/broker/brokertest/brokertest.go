// Package brokertest is the conformance suite of [broker.Driver]: every
// sentence of its comments is a case here, run for every driver against the
// real thing. No driver opts out of a case.
package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// Options of a store under test.
type Options struct {
	// DeliveryLimit lowers the number of deliveries after which a message
	// goes to quarantine. 0: the driver's own (about 100).
	DeliveryLimit int
}

// Harness is one store (a broker's namespace, a database file) with at most
// one driver open on it at a time.
type Harness interface {
	// Open opens a driver on the store. What earlier drivers left is in it.
	Open(t *testing.T) broker.Driver
	// Kill ends a driver as a crash of its process does: connections drop,
	// nothing is finished, nothing is given back. When it returns, the driver
	// does no more work and Open may be called.
	Kill(t *testing.T, d broker.Driver)
}

// Bounds of the promises and of the suite's patience.
const (
	// maxLate is how late a delayed message may be at rest.
	maxLate = 300 * time.Millisecond
	// patience is how long the suite waits for something that must happen.
	patience = 20 * time.Second
	// quiet is how long it watches for something that must not.
	quiet = 300 * time.Millisecond
)

// Run proves a driver. newHarness makes a new, empty store and cleans it up
// by t.Cleanup.
func Run(t *testing.T, newHarness func(t *testing.T, o Options) Harness) {
	t.Helper()
	t.Run("shared", func(t *testing.T) { runShared(t, newHarness(t, Options{})) })
	t.Run("own", func(t *testing.T) {
		for name, c := range map[string]func(*testing.T, Harness){
			"ConfirmMeansStored":    confirmMeansStored,
			"DelayOutlivesRestart":  delayOutlivesRestart,
			"WorkerDies":            workerDies,
			"StaleEndsHarmNobody":   staleEndsHarmNobody,
			"RedeliveredIsKept":     redeliveredIsKept,
			"CloseWaits":            closeWaits,
			"MaintainEnds":          maintainEnds,
			"SystemOutlivesRestart": systemOutlivesRestart,
			"SystemDepth":           systemDepth,
			"CanariesVanish":        canariesVanish,
			"Stats":                 stats,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c(t, newHarness(t, Options{}))
			})
		}
		t.Run("TooManyDeliveries", func(t *testing.T) {
			t.Parallel()
			tooManyDeliveries(t, newHarness(t, Options{DeliveryLimit: 3}))
		})
	})
}

// runShared runs the cases that can share a store: each has endpoints of its
// own, and the timing cases run while nothing else does.
func runShared(t *testing.T, h Harness) {
	t.Helper()
	s := &suite{driver: h.Open(t), fates: newFates()}
	t.Cleanup(func() { closeDriver(t, s.driver) })
	// Two, as when two processes maintain one broker.
	for range 2 {
		maintain(t, s.driver, s.fates.ask)
	}
	t.Run("cases", func(t *testing.T) {
		for name, c := range map[string]func(*testing.T){
			"BytesComeBack":       s.bytesComeBack,
			"BigBodies":           s.bigBodies,
			"WireComesBack":       s.wireComesBack,
			"ManyInFlight":        s.manyInFlight,
			"PrefetchIsKept":      s.prefetchIsKept,
			"RoughOrder":          s.roughOrder,
			"ConsumersShare":      s.consumersShare,
			"Doubt":               s.doubt,
			"Postpone":            s.postpone,
			"PostponeIntoThePast": s.postponeIntoThePast,
			"PostponeOften":       s.postponeOften,
			"ReleaseOften":        s.releaseOften,
			"DelayHoldsNoWorker":  s.delayHoldsNoWorker,
			"DeclareTwice":        s.declareTwice,
			"MissingQueueHeld":    s.missingQueueHeld,
			"MissingQueueDropped": s.missingQueueDropped,
			"Delete":              s.deleteQueue,
			"DeleteUnknown":       s.deleteUnknown,
			"Stop":                s.stop,
			"PublishCancelled":    s.publishCancelled,
			"PublishDeadline":     s.publishDeadline,
			"SystemQueues":        s.systemQueues,
			"Canaries":            s.canaries,
			"Depth":               s.depth,
			"SlowHandsHurtNobody": s.slowHandsHurtNobody,
			"ReadyWhileItCan":     s.ready,
			"FateFailsOnce":       s.fateFailsOnce,
			"ManyEndpoints":       s.manyEndpoints,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c(t)
			})
		}
	})
	t.Run("NeverEarlySeldomLate", s.neverEarlySeldomLate)
	t.Run("MissingNeverBlocksOthers", s.missingNeverBlocksOthers)
}

// suite is a store with two maintainers that cases share.
type suite struct {
	driver broker.Driver
	fates  *fates
}

// maintain runs Maintain until the test ends, and waits for its end.
func maintain(t *testing.T, d broker.Driver, fate func(context.Context, broker.Wire) (broker.Fate, error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Maintain(ctx, fate); err != nil && ctx.Err() == nil {
			t.Errorf("Maintain ended by itself: %v", err)
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Maintain did not end with its context")
		}
	}
	t.Cleanup(stop)
	return stop
}

func hold(context.Context, broker.Wire) (broker.Fate, error) { return broker.Hold, nil }

func closeDriver(t *testing.T, d broker.Driver) {
	t.Helper()
	if err := d.Close(within(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// within is a context for one step that must end in reasonable time. It is
// usable in cleanups, where t.Context has ended.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// endpoint is an endpoint of this test alone.
func endpoint(t *testing.T, name string) task.EndpointID {
	t.Helper()
	return task.MakeEndpointID(t.Name(), name)
}
