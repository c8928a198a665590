// Package registrytest proves that a driver keeps the contract of
// [registry.Driver]. Every driver runs the whole suite; none opts out.
package registrytest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
)

// Harness is an empty store and two ways into it. Its maker closes both
// drivers at the end of the test that it was made for.
type Harness struct {
	Driver registry.Driver
	// Peer is a second driver on the same store, as another process has it.
	// A store of one process gives the same driver again.
	Peer registry.Driver
}

// Run runs every case, each on a harness of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, group := range []map[string]func(*kit){putCases(), seedCases(), watchCases(), touchCases()} {
		for name, run := range group {
			t.Run(name, func(t *testing.T) { run(newKit(t, open(t))) })
		}
	}
}

const (
	patience = 20 * time.Second
	step     = 10 * time.Millisecond
	racers   = 50
	epoch    = "first epoch"
)

type kit struct {
	*testing.T
	ctx  context.Context
	d    registry.Driver
	peer registry.Driver
}

func newKit(t *testing.T, h Harness) *kit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if h.Peer == nil {
		h.Peer = h.Driver
	}
	return &kit{T: t, ctx: ctx, d: h.Driver, peer: h.Peer}
}

func item(name, value string) registry.Item {
	return registry.Item{
		Key:   registry.Key{Kind: "endpoint", Project: "p", Name: name},
		Value: []byte(value),
	}
}

// put must succeed.
func (k *kit) put(it registry.Item, expect int64) int64 {
	k.Helper()
	v, ok, err := k.d.Put(k.ctx, it, expect, epoch)
	k.ok(err)
	k.checkf(ok, "put of %s expecting %d is refused", it.Name, expect)
	return v
}

// refused puts must change nothing.
func (k *kit) refused(it registry.Item, expect int64) {
	k.Helper()
	before := k.load()
	_, ok, err := k.d.Put(k.ctx, it, expect, epoch)
	k.ok(err)
	k.checkf(!ok, "put of %s expecting %d went through", it.Name, expect)
	k.equal(k.load(), before)
}

func (k *kit) load() registry.State {
	k.Helper()
	s, err := k.peer.Load(k.ctx)
	k.ok(err)
	e, v, err := k.peer.Version(k.ctx)
	k.ok(err)
	k.checkf(e == s.Epoch && v == s.Version, "Version says %q %d, Load %q %d", e, v, s.Epoch, s.Version)
	return s
}

func (k *kit) equal(got, want registry.State) {
	k.Helper()
	k.checkf(got.Epoch == want.Epoch, "epoch %q, want %q", got.Epoch, want.Epoch)
	k.checkf(got.Version == want.Version, "version %d, want %d", got.Version, want.Version)
	k.checkf(len(got.Items) == len(want.Items), "%d items, want %d", len(got.Items), len(want.Items))
	for _, w := range want.Items {
		k.has(got, w)
	}
}

// has checks that the state holds exactly this item under its key.
func (k *kit) has(s registry.State, want registry.Item) {
	k.Helper()
	for _, it := range s.Items {
		if it.Key != want.Key {
			continue
		}
		k.checkf(bytes.Equal(it.Value, want.Value), "%v: value %q, want %q", want.Key, it.Value, want.Value)
		k.checkf(it.Revision == want.Revision && it.Deleted == want.Deleted,
			"%v: revision %d deleted %v, want %d %v", want.Key, it.Revision, it.Deleted, want.Revision, want.Deleted)
		return
	}
	k.Fatalf("%v is missing", want.Key)
}

func (k *kit) ok(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *kit) checkf(good bool, format string, args ...any) {
	k.Helper()
	if !good {
		k.Fatalf(format, args...)
	}
}

func (k *kit) unavailable(what string, err error) {
	k.Helper()
	k.checkf(errors.Is(err, registry.ErrUnavailable), "%s: got %v, want ErrUnavailable", what, err)
}

func (k *kit) eventually(what string, done func() bool) {
	k.Helper()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			k.Fatalf("never: %s", what)
		}
	}
}

// together runs f n times at once and waits.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}
