package registry_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/task"
)

// slow is a store that answers no look before its caller's time is over, and
// counts the looks.
type slow struct {
	*fake

	looks atomic.Int64
}

func (s *slow) Version(ctx context.Context) (string, int64, error) {
	s.looks.Add(1)
	<-ctx.Done()
	return "", 0, registry.ErrUnavailable
}

// TestSyncIsBounded: however many ask while the store hangs, each is answered
// by its own deadline, and after two looks' time at the latest.
func TestSyncIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{fake: newFake()}
		r := registry.New(s, registry.Options{})
		ask := func(within time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			start := time.Now()
			if err := r.Sync(ctx); task.CodeOf(err) != task.CodeUnavailable {
				t.Error(err)
			}
			return time.Since(start)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			patient := i%2 == 0
			wg.Go(func() {
				if patient {
					if took := ask(time.Hour); took > 10*time.Second {
						t.Errorf("a patient one waited for %s", took)
					}
				} else if took := ask(time.Second); took > time.Second {
					t.Errorf("one with a second waited for %s", took)
				}
			})
		}
		wg.Wait()
		if n := s.looks.Load(); n > 4 {
			t.Errorf("%d looks for all of them", n)
		}
	})
}

// gated is a store whose looks wait to be let through.
type gated struct {
	*fake

	enter, let chan struct{}
}

func (g *gated) Version(ctx context.Context) (string, int64, error) {
	g.enter <- struct{}{}
	<-g.let
	return g.fake.Version(ctx)
}

// TestSyncSeesWhatWasWrittenBefore: a look that began before the call does not
// count for it.
func TestSyncSeesWhatWasWrittenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		put(t, registry.New(f, registry.Options{}), "p", "a")
		g := &gated{fake: f, enter: make(chan struct{}, 100), let: make(chan struct{})}
		r := registry.New(g, registry.Options{})
		var wg sync.WaitGroup
		sync := func() {
			wg.Go(func() {
				if err := r.Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		sync()
		<-g.enter // the first look is under way
		for range 20 {
			sync()
		}
		synctest.Wait()
		close(g.let)
		wg.Wait()
		// A look is asked again until it finds nothing new: the first one
		// twice, and then one for all the others.
		if n := 1 + len(g.enter); n != 3 {
			t.Errorf("%d looks", n)
		}
		wantNames(t, r, "p/a")
	})
}
