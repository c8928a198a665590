package registrytest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
)

func watchCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"watch: called at the start and after each change": watchChanges,
		"watch: called after a seed":                       watchSeed,
		"watch: no change is lost":                         watchRace,
		"watch: ends with its context, silent after it":    watchEnds,
		"watch: ends when the driver is closed":            watchClosed,
		"context: a call ends with it":                     contextEnds,
		"close: every method fails as unavailable":         closed,
	}
}

type watcher struct {
	calls atomic.Int64
	stop  context.CancelFunc
	done  chan struct{}
	err   error // once done
}

// watch watches and waits for the first call.
func (k *kit) watch(d registry.Driver) *watcher {
	k.Helper()
	ctx, cancel := context.WithCancel(k.ctx)
	w := &watcher{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = d.Watch(ctx, func() { w.calls.Add(1) })
	}()
	k.Cleanup(func() {
		cancel()
		<-w.done
	})
	k.eventually("the first call", func() bool { return w.calls.Load() > 0 })
	return w
}

func (k *kit) ended(w *watcher) error {
	k.Helper()
	select {
	case <-w.done:
	case <-k.ctx.Done():
		k.Fatal("Watch does not return")
	}
	return w.err
}

func (k *kit) called(w *watcher, do func()) {
	k.Helper()
	before := w.calls.Load()
	do()
	k.eventually("a call after a change", func() bool { return w.calls.Load() > before })
}

func watchChanges(k *kit) {
	mine, theirs := k.watch(k.d), k.watch(k.peer)
	for i := range 5 {
		k.called(theirs, func() { k.called(mine, func() { k.put(item(fmt.Sprint(i), "x"), 0) }) })
	}
}

func watchSeed(k *kit) {
	w := k.watch(k.peer)
	k.called(w, func() { k.seed(state(3, 5), true) })
}

// watchRace: whoever reads at each call ends up with the last version.
func watchRace(k *kit) {
	calls := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(k.ctx)
	done := make(chan error, 1)
	go func() {
		done <- k.peer.Watch(ctx, func() {
			select {
			case calls <- struct{}{}:
			default:
			}
		})
	}()
	var puts sync.WaitGroup
	defer puts.Wait()
	for i := range racers {
		puts.Go(func() {
			if _, _, err := k.d.Put(k.ctx, item(fmt.Sprint(i), "x"), 0, epoch); err != nil {
				k.Error(err)
			}
		})
	}
	for version := int64(0); version < racers; {
		select {
		case <-calls:
			_, v, err := k.peer.Version(k.ctx)
			k.ok(err)
			version = v
		case <-k.ctx.Done():
			k.Fatalf("stuck at version %d", version)
		}
	}
	cancel()
	k.ok(<-done)
}

func watchEnds(k *kit) {
	gone, here := k.watch(k.d), k.watch(k.d)
	gone.stop()
	k.ok(k.ended(gone))
	before := gone.calls.Load()
	k.called(here, func() { k.put(item("a", "1"), 0) })
	k.checkf(gone.calls.Load() == before, "called after its end")
}

func watchClosed(k *kit) {
	w := k.watch(k.d)
	k.ok(k.d.Close())
	k.unavailable("Watch", k.ended(w))
}

func (k *kit) calls(ctx context.Context) map[string]error {
	errs := make(map[string]error)
	_, _, errs["Version"] = k.d.Version(ctx)
	_, errs["Load"] = k.d.Load(ctx)
	_, _, errs["Put"] = k.d.Put(ctx, item("a", "1"), -1, epoch)
	_, errs["Seed"] = k.d.Seed(ctx, state(1, 1))
	errs["Touch"] = k.d.Touch(ctx, map[string]time.Time{"id": time.UnixMilli(1)})
	_, errs["Touched"] = k.d.Touched(ctx)
	return errs
}

func contextEnds(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	over, stop := context.WithDeadline(k.ctx, time.Now().Add(-time.Second))
	defer stop()
	for _, ctx := range []context.Context{ctx, over} {
		for name, err := range k.calls(ctx) {
			k.unavailable(name, err)
		}
		k.ok(k.d.Watch(ctx, func() {}))
	}
	for name, err := range k.calls(k.ctx) {
		k.checkf(err == nil, "%s after an ended context: %v", name, err)
	}
}

func closed(k *kit) {
	k.ok(k.d.Close())
	k.ok(k.d.Close())
	for name, err := range k.calls(k.ctx) {
		k.unavailable(name, err)
	}
	k.unavailable("Watch", k.d.Watch(k.ctx, func() {}))
}
