package resultstest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func liveCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"beat: alive for the ttl, then dead":       beatLife,
		"beat: a later beat prolongs":              beatProlongs,
		"lead: one holder, who may renew":          leadHolder,
		"lead: one winner of many":                 leadRace,
		"lead: taken over after the ttl":           leadOver,
		"ready":                                    ready,
		"context: a call ends with it":             contextEnds,
		"close: every method fails as unavailable": closed,
	}
}

func (k *kit) alive(owner string) bool {
	k.Helper()
	ok, err := k.d.Alive(k.ctx, owner)
	k.ok(err)
	return ok
}

func beatLife(k *kit) {
	k.checkf(!k.alive("nobody"), "an owner that never beat is alive")
	k.ok(k.d.Beat(k.ctx, "a", ttl))
	k.ok(k.d.Beat(k.ctx, "b", hour))
	start := time.Now()
	k.checkf(k.alive("b"), "b is dead")
	k.eventually("a is dead", func() bool { return !k.alive("a") })
	k.checkf(time.Since(start) > ttl/2, "a died early")
	k.checkf(k.alive("b"), "b died with a")
}

func beatProlongs(k *kit) {
	k.ok(k.d.Beat(k.ctx, "a", ttl))
	k.ok(k.d.Beat(k.ctx, "other", ttl))
	k.ok(k.d.Beat(k.ctx, "a", hour))
	k.eventually("other is dead", func() bool { return !k.alive("other") })
	k.checkf(k.alive("a"), "a died at a ttl that was prolonged")
}

func (k *kit) lead(d results.Driver, name, owner string, ttl time.Duration) bool {
	k.Helper()
	ok, err := d.Lead(k.ctx, name, owner, ttl)
	k.ok(err)
	return ok
}

func leadHolder(k *kit) {
	k.checkf(k.lead(k.d, "n", "a", hour), "a free lease is refused")
	k.checkf(!k.lead(k.peer, "n", "b", hour), "a second holder")
	k.checkf(k.lead(k.d, "n", "a", hour), "the holder may not renew")
	k.checkf(k.lead(k.peer, "m", "b", hour), "another name is taken too")
}

func leadRace(k *kit) {
	var won atomic.Int64
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		ok, err := d.Lead(k.ctx, "n", fmt.Sprint("owner", i), hour)
		if err != nil {
			k.Error(err)
		}
		if ok {
			won.Add(1)
		}
	})
	k.checkf(won.Load() == 1, "%d holders", won.Load())
}

func leadOver(k *kit) {
	k.checkf(k.lead(k.d, "n", "a", ttl), "a free lease is refused")
	start := time.Now()
	k.eventually("b takes over", func() bool { return k.lead(k.peer, "n", "b", hour) })
	k.checkf(time.Since(start) > ttl/2, "taken over early")
	k.checkf(!k.lead(k.d, "n", "a", hour), "a still leads")
}

func ready(k *kit) { k.ok(k.d.Ready(k.ctx)) }

func (k *kit) unavailable(what string, err error) {
	k.Helper()
	k.checkf(errors.Is(err, results.ErrUnavailable), "%s: got %v, want ErrUnavailable", what, err)
}

// calls makes every call of the contract that must answer at once.
func (k *kit) calls(ctx context.Context) map[string]error {
	id := k.id()
	errs := make(map[string]error)
	note := func(name string, err error) { errs[name] = err }
	_, err := k.d.Create(ctx, k.row(id))
	note("Create", err)
	note("Accepted", k.d.Accepted(ctx, id))
	_, err = k.d.Renew(ctx, id, k.now, k.now)
	note("Renew", err)
	_, err = k.d.Abandon(ctx, k.now, 1)
	note("Abandon", err)
	_, err = k.d.Swap(ctx, k.change(k.row(id), 1))
	note("Swap", err)
	_, err = k.d.Read(ctx, id, true)
	note("Read", err)
	_, _, err = k.d.Payload(ctx, id)
	note("Payload", err)
	_, err = k.d.Attempts(ctx, id)
	note("Attempts", err)
	_, err = k.d.Await(ctx, id, "t")
	note("Await", err)
	note("Scan", scanOnce(ctx, k.d))
	_, err = k.d.CountLanes(ctx, project, endpoint("e"))
	note("CountLanes", err)
	_, err = k.d.Expiring(ctx, k.now, 1)
	note("Expiring", err)
	_, err = k.d.Flagged(ctx, k.now, 1)
	note("Flagged", err)
	note("Unflag", k.d.Unflag(ctx, results.Unflag{ID: id, Flag: 1, KeepTill: k.now}))
	_, _, err = k.d.SwapDocument(ctx, task.Document{Kind: "k", Group: "g", Name: string(id), Data: []byte{}, KeepTill: k.now.Add(hour)})
	note("SwapDocument", err)
	_, err = k.d.ReadDocument(ctx, "k", "g", "n")
	note("ReadDocument", err)
	_, _, err = k.d.ListDocuments(ctx, "k", "g", "", 1)
	note("ListDocuments", err)
	note("Forget", k.d.Forget(ctx, project, k.now))
	note("Beat", k.d.Beat(ctx, "a", hour))
	_, err = k.d.Alive(ctx, "a")
	note("Alive", err)
	_, err = k.d.Lead(ctx, "n", "a", hour)
	note("Lead", err)
	_, err = k.d.Grant(ctx, "a", []task.QuotaAsk{{Name: "q", Limit: 1, Want: 1}}, hour)
	note("Grant", err)
	note("Tally", k.d.Tally(ctx, "a", 1, []results.Tally{counted("n", 1)}, hour))
	_, err = k.d.Tallied(ctx, []string{"n"}, 1, 1)
	note("Tallied", err)
	note("Hint", k.d.Hint(ctx, "t", "m"))
	note("Ready", k.d.Ready(ctx))
	return errs
}

func contextEnds(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	over, stop := context.WithDeadline(k.ctx, k.now.Add(-time.Second))
	defer stop()
	for _, ctx := range []context.Context{ctx, over} {
		for name, err := range k.calls(ctx) {
			if name == "Hint" || name == "Alive" || name == "Beat" {
				continue // may need no I/O
			}
			k.unavailable(name, err)
		}
		k.ok(k.d.Subscribe(ctx, "t", func(string) {}, func() {}))
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
	_, err := k.d.ReadMany(k.ctx, []task.ID{k.id()})
	k.unavailable("ReadMany", err)
	k.unavailable("Subscribe", k.d.Subscribe(k.ctx, "t", func(string) {}, func() {}))
}

func scanOnce(ctx context.Context, d results.Driver) error {
	_, _, _, err := d.Scan(ctx, results.Scan{Project: project, Limit: 1}) //nolint:dogsled // only the error counts
	return err
}
