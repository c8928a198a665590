package resultstest

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
)

func swapCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"swap: replaces version and head, keeps the spec":    swapReplaces,
		"swap: a mismatch returns the present row":           swapMismatch,
		"swap: a mismatch changes no part":                   swapNothing,
		"swap: expect 0 makes a row":                         swapCreates,
		"swap: expect 0 loses to a row":                      swapCreatesNot,
		"swap: one winner of many, whole":                    swapRace,
		"swap: one maker of many":                            swapCreateRace,
		"swap: a chain of versions under contention":         swapChain,
		"swap: KeepTill is given anew":                       swapKeepTill,
		"ttl: the row and all its parts are gone":            ttlWhole,
		"ttl: a row made again has nothing of the first one": ttlAgain,
	}
}

func swapReplaces(k *kit) {
	c := k.create(k.row(k.id()))
	s := k.change(c, 1)
	s.Version = 7
	s.Spec = []byte("not written")
	k.swap(s)
	r, err := k.peer.Read(k.ctx, c.ID, true)
	k.ok(err)
	k.checkf(r.Version == 7, "version %d", r.Version)
	k.same("head", r.Head, s.Head)
	k.same("spec", r.Spec, c.Spec)
}

func swapMismatch(k *kit) {
	c := k.create(k.row(k.id()))
	win := k.change(c, 1)
	win.Result = []byte("result")
	k.swap(win)
	for _, expect := range []int64{1, 3, 0} {
		r := k.mismatch(k.change(c, expect))
		k.checkf(r.ID == c.ID && r.Version == 2, "expect %d: present row is %s version %d", expect, r.ID, r.Version)
		k.same("head", r.Head, win.Head)
		k.same("spec", r.Spec, c.Spec)
		k.checkf(r.Result == nil, "the present row carries its result")
	}
	r := k.mismatch(k.change(k.row(k.id()), 1))
	k.checkf(r.Version == 0, "an unknown row has version %d", r.Version)
}

func swapNothing(k *kit) {
	c := k.row(k.id())
	c.Payload = []byte("payload")
	k.create(c)
	s := k.change(c, 5)
	s.Lane, s.Failed = 0, true
	s.Result, s.DropPayload = []byte("result"), true
	s.Attempts = []results.NumberedAttempt{{Number: 1, Data: []byte("a")}}
	s.KeepTill = time.Now().Add(-hour)
	s.ExpiresAt = k.now.Add(-hour)
	k.mismatch(s)
	r := k.read(c.ID)
	k.checkf(r.Version == 1 && r.Result == nil, "row changed to %+v", r)
	_, ok, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(ok, "payload dropped")
	k.checkf(len(k.attempts(c.ID)) == 0, "attempt written")
	k.checkf(len(k.list(results.ListFailed, "")) == 0 && k.live(c.Endpoint) == 1, "lists moved")
	ids, err := k.d.Expiring(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(len(ids) == 0, "ExpiresAt written")
}

func swapCreates(k *kit) {
	c := k.row(k.id())
	s := k.change(c, 0)
	s.Version = 4
	s.Spec, s.Payload, s.Result = c.Spec, []byte("payload"), []byte("result")
	k.swap(s)
	r := k.read(c.ID)
	k.checkf(r.Version == 4, "version %d", r.Version)
	k.same("head", r.Head, s.Head)
	k.same("spec", r.Spec, c.Spec)
	k.same("result", r.Result, s.Result)
	k.checkf(len(k.list(results.ListAll, "")) == 1 && k.live(c.Endpoint) == 1, "not listed")
}

func swapCreatesNot(k *kit) {
	c := k.create(k.row(k.id()))
	s := k.change(c, 0)
	s.Spec = []byte("other")
	r := k.mismatch(s)
	k.checkf(r.Version == 1, "present version %d", r.Version)
	k.same("spec", k.read(c.ID).Spec, c.Spec)
}

// mark makes every part of a swap tell who wrote it.
func mark(s results.Swap, i int) results.Swap {
	s.Head = fmt.Appendf(nil, "by %d", i)
	s.Result, s.Payload = s.Head, s.Head
	s.Attempts = []results.NumberedAttempt{{Number: 1, Data: s.Head}}
	return s
}

func (k *kit) raceSwaps(s results.Swap) {
	k.Helper()
	var won atomic.Int64
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		got, err := d.Swap(k.ctx, mark(s, i))
		switch {
		case err != nil:
			k.Error(err)
		case got.OK:
			won.Add(1)
		case got.Row.Version != s.Version:
			k.Errorf("a loser saw version %d", got.Row.Version)
		}
	})
	k.checkf(won.Load() == 1, "%d winners", won.Load())
	r := k.read(s.ID)
	p, _, err := k.d.Payload(k.ctx, s.ID)
	k.ok(err)
	a := k.attempts(s.ID)
	k.checkf(len(a) == 1 && bytes.Equal(r.Result, r.Head) && bytes.Equal(p, r.Head) && bytes.Equal(a[0], r.Head),
		"parts of several winners: %q %q %q %q", r.Head, r.Result, p, a)
}

func swapRace(k *kit) { k.raceSwaps(k.change(k.create(k.row(k.id())), 1)) }

func swapCreateRace(k *kit) {
	s := k.change(k.row(k.id()), 0)
	s.Spec = []byte("spec")
	k.raceSwaps(s)
}

// swapChain lets workers climb the versions of one row; every version has
// exactly one writer.
func swapChain(k *kit) {
	const workers, top = 8, 40
	c := k.create(k.row(k.id()))
	var wins atomic.Int64
	together(workers, func(int) {
		at := int64(1)
		for at < top {
			got, err := k.d.Swap(k.ctx, k.change(c, at))
			if err != nil {
				k.Error(err)
				return
			}
			if got.OK {
				wins.Add(1)
				at++
				continue
			}
			at = got.Row.Version
		}
	})
	k.checkf(wins.Load() == top-1, "%d wins for %d versions", wins.Load(), top-1)
	k.checkf(k.read(c.ID).Version == top, "version %d", k.read(c.ID).Version)
}

func swapKeepTill(k *kit) {
	short := time.Now().Add(ttl)
	kept, shortened, other := k.row(k.id()), k.row(k.id()), k.row(k.id())
	kept.KeepTill, other.KeepTill = short, short
	k.create(kept)
	k.create(shortened)
	k.create(other)
	k.swap(k.change(kept, 1))
	s := k.change(shortened, 1)
	s.KeepTill = short
	k.swap(s)
	k.gone(other.ID)
	k.gone(shortened.ID)
	k.checkf(!time.Now().Before(short), "gone before KeepTill")
	k.checkf(k.read(kept.ID).Version == 2, "gone at a KeepTill that was replaced")
}

// short makes a row with every part whose life is short, and waits for its end.
func (k *kit) short(c results.Create) {
	k.Helper()
	c.Payload = []byte("payload")
	c.ExpiresAt = k.now.Add(-time.Second)
	k.create(c)
	s := k.change(c, 1)
	s.Index.ExpiresAt = c.ExpiresAt
	s.Index.Failed = true
	s.Result = []byte("result")
	s.Attempts = []results.NumberedAttempt{{Number: 1, Data: []byte("a")}}
	s.KeepTill = time.Now().Add(ttl)
	k.swap(s)
	k.gone(c.ID)
}

func ttlWhole(k *kit) {
	c := k.row(k.id())
	k.short(c)
	_, ok, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(!ok, "the payload outlives its row")
	k.checkf(len(k.attempts(c.ID)) == 0, "attempts outlive their row")
	k.checkf(k.mismatch(k.change(c, 2)).Version == 0, "a swap found the row")
	r, err := k.d.Await(k.ctx, c.ID, "topic")
	k.ok(err)
	k.checkf(r.Version == 0, "Await found the row")
	for _, l := range []results.List{results.ListAll, results.ListFailed, results.ListLive} {
		k.checkf(len(k.list(l, c.Endpoint)) == 0, "list %d shows it", l)
	}
	ids, err := k.d.Expiring(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(len(ids) == 0, "it is expiring")
}

func ttlAgain(k *kit) {
	c := k.row(k.id())
	k.short(c)
	s := k.change(c, 0)
	s.Spec = []byte("new spec")
	k.swap(s)
	r := k.read(c.ID)
	k.same("spec", r.Spec, s.Spec)
	k.checkf(r.Version == 1 && r.Result == nil, "row is %+v", r)
	_, ok, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(!ok, "the first row's payload is back")
	k.checkf(len(k.attempts(c.ID)) == 0, "the first row's attempts are back")
	k.checkf(len(k.list(results.ListAll, "")) == 1 && len(k.list(results.ListFailed, "")) == 0, "lists are wrong")
}
