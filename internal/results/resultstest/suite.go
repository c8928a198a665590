// Package resultstest proves that a driver keeps the contract of
// [results.Driver]. Every driver runs the whole suite; none opts out.
package resultstest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// Harness is an empty store and two ways into it. Its maker closes both
// drivers at the end of the test that it was made for.
type Harness struct {
	Driver results.Driver
	// Peer is a second driver on the same store, as another process has it.
	// A store of one process gives the same driver again.
	Peer results.Driver
}

// Run runs every case, each on a harness of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	groups := []map[string]func(*kit){
		createCases(), acceptCases(), swapCases(), partCases(), waitCases(), listCases(), pageCases(),
		indexCases(), flagCases(), documentCases(), liveCases(),
		quotaCases(), tallyCases(), rateCases(), usageCases(),
	}
	for _, group := range groups {
		for name, run := range group {
			t.Run(name, func(t *testing.T) { run(newKit(t, open(t))) })
		}
	}
}

// patience bounds every wait of a case; ttl is the short life that cases give
// to things whose end they wait for.
const (
	patience = 20 * time.Second
	ttl      = 300 * time.Millisecond
	hour     = time.Hour
	step     = 10 * time.Millisecond
)

const project = "p"

type kit struct {
	*testing.T
	ctx  context.Context
	d    results.Driver
	peer results.Driver
	now  time.Time
	n    atomic.Int64
}

func newKit(t *testing.T, h Harness) *kit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if h.Peer == nil {
		h.Peer = h.Driver
	}
	return &kit{T: t, ctx: ctx, d: h.Driver, peer: h.Peer, now: time.Now().UTC().Truncate(time.Millisecond)}
}

// id makes ids that grow and spread over the shards.
func (k *kit) id() task.ID {
	n := k.n.Add(1)
	return idOf(int(n), int(n)*7)
}

func idOf(n, shard int) task.ID { return task.MakeID(fmt.Sprintf("%026d", n), shard) }

// idFor makes an id in the shard of an idempotency key, as callers must.
func (k *kit) idFor(key string) task.ID { return idOf(int(k.n.Add(1)), task.ShardOf(key)) }

func endpoint(name string) task.EndpointID { return task.MakeEndpointID(project, name) }

// row is a live row of endpoint "e" that nobody will abandon soon.
func (k *kit) row(id task.ID) results.Create {
	return results.Create{
		Row: results.Row{ID: id, Version: 1, Head: []byte("head of " + id), Spec: []byte("spec of " + id)},
		Index: results.Index{
			Project: project, Endpoint: endpoint("e"), Created: k.now, Lane: 2,
		},
		AcceptBy: k.now.Add(hour), KeepTill: k.now.Add(hour),
	}
}

// change is a swap to the next version that moves nothing.
func (k *kit) change(c results.Create, from int64) results.Swap {
	return results.Swap{
		ID: c.ID, Expect: from, Version: from + 1,
		Head:  fmt.Appendf(nil, "head %d of %s", from+1, c.ID),
		Index: c.Index, KeepTill: k.now.Add(hour),
	}
}

func (k *kit) create(c results.Create) results.Create {
	k.Helper()
	got, err := k.d.Create(k.ctx, c)
	k.ok(err)
	k.checkf(got.New, "create of %s: not new", c.ID)
	return c
}

func (k *kit) swap(s results.Swap) {
	k.Helper()
	got, err := k.d.Swap(k.ctx, s)
	k.ok(err)
	k.checkf(got.OK, "swap of %s from %d: present version is %d", s.ID, s.Expect, got.Row.Version)
}

// mismatch makes a swap that must lose and returns the present row.
func (k *kit) mismatch(s results.Swap) results.Row {
	k.Helper()
	got, err := k.d.Swap(k.ctx, s)
	k.ok(err)
	k.checkf(!got.OK, "swap of %s from %d went through", s.ID, s.Expect)
	return got.Row
}

func (k *kit) read(id task.ID) results.Row {
	k.Helper()
	r, err := k.d.Read(k.ctx, id, true)
	k.ok(err)
	return r
}

// gone waits until the row's TTL has removed it.
func (k *kit) gone(id task.ID) {
	k.Helper()
	k.eventually("row "+string(id)+" is gone", func() bool { return k.read(id).Version == 0 })
}

func (k *kit) same(what string, got, want []byte) {
	k.Helper()
	k.checkf(bytes.Equal(got, want), "%s: got %q, want %q", what, clip(got), clip(want))
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }

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

// eventually polls until done says so or the kit's patience ends.
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

// scan reads a whole list page by page.
func (k *kit) scan(s results.Scan) []task.ID {
	k.Helper()
	var ids []task.ID
	for range 10_000 {
		rows, last, more, err := k.d.Scan(k.ctx, s)
		k.ok(err)
		k.checkf(len(rows) <= s.Limit, "page of %d rows, limit %d", len(rows), s.Limit)
		for _, r := range rows {
			k.checkf(r.Version > 0 && len(r.Head) > 0 && len(r.Spec) > 0, "page holds a hollow row %+v", r)
			k.checkf(r.Result == nil, "page holds a result")
			ids = append(ids, r.ID)
		}
		if !more {
			return ids
		}
		s.Before, s.BeforeID = last.Created, last.ID
	}
	k.Fatal("the list never ends")
	return nil
}

func (k *kit) list(l results.List, ep task.EndpointID) []task.ID {
	k.Helper()
	return k.scan(results.Scan{List: l, Project: project, Endpoint: ep, Limit: 50})
}

func (k *kit) live(ep task.EndpointID) int {
	k.Helper()
	n := 0
	for _, c := range k.lanes(ep) {
		n += c.Rows
	}
	return n
}

func (k *kit) lanes(ep task.EndpointID) results.Lanes {
	k.Helper()
	lanes, err := k.d.CountLanes(k.ctx, project, ep)
	k.ok(err)
	return lanes
}
