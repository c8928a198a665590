package resultstest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

const racers = 50

func createCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"create stores row, payload and index entries":       createWhole,
		"create keeps no payload unless asked":               createPayload,
		"create keeps any bytes":                             createBytes,
		"create that comes late touches nothing":             createLate,
		"key: same request finds the first task":             keySame,
		"key: other request is told so":                      keyOther,
		"key: the losing create stores nothing":              keyLoser,
		"key: one winner of many":                            keyRace,
		"key: points to a row that is gone":                  keyGone,
		"key: ends at its time":                              keyEnds,
		"key: asked for, it is not claimed":                  keyAsked,
		"key: AcceptBy until the acceptance is noted":        keyAcceptBy,
		"key: AcceptBy until the row is swapped":             keyAcceptBySwap,
		"key: keys do not touch each other":                  keysApart,
		"create without key: AcceptBy counts without a note": createPending,
	}
}

// keyed is a row that claims key.
func (k *kit) keyed(key, fingerprint string) results.Create {
	c := k.row(k.idFor(key))
	c.Idem = &results.IdemKey{Key: key, Fingerprint: fingerprint, Until: k.now.Add(hour)}
	return c
}

func (k *kit) taken(c results.Create) results.Created {
	k.Helper()
	got, err := k.peer.Create(k.ctx, c)
	k.ok(err)
	k.checkf(!got.New, "create won a key that is taken")
	return got
}

// keyAsked: to ask whose a key is changes nothing, and tells the same.
func keyAsked(k *kit) {
	asking, first := k.keyed("asked", "same"), k.keyed("asked", "same")
	asking.Ask, asking.Payload = true, []byte("payload")
	got, err := k.d.Create(k.ctx, asking)
	k.ok(err)
	k.checkf(got.New, "nobody's key is somebody's")
	r, err := k.peer.Read(k.ctx, asking.ID, false)
	k.ok(err)
	k.checkf(r.Version == 0, "asking stored a row")
	k.checkf(!slices.Contains(k.list(results.ListAll, ""), asking.ID), "asking listed a row")
	k.create(first)
	got = k.taken(asking)
	k.checkf(got.Row.ID == first.ID && got.SameRequest, "the key is of %s, same %v", got.Row.ID, got.SameRequest)
	asking.Idem.Fingerprint = "other"
	got = k.taken(asking)
	k.checkf(got.Row.ID == first.ID && !got.SameRequest, "another request passes for the same")
}

func createWhole(k *kit) {
	c := k.row(k.id())
	c.Payload = []byte("payload")
	k.create(c)
	r, err := k.peer.Read(k.ctx, c.ID, true)
	k.ok(err)
	k.checkf(r.ID == c.ID && r.Version == 1, "read %s version %d", r.ID, r.Version)
	k.same("head", r.Head, c.Head)
	k.same("spec", r.Spec, c.Spec)
	k.checkf(r.Result == nil, "a result out of nothing")
	p, ok, err := k.peer.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(ok, "payload not kept")
	k.same("payload", p, c.Payload)
	k.checkf(slices.Equal(k.list(results.ListAll, ""), []task.ID{c.ID}), "not listed")
	k.checkf(slices.Equal(k.list(results.ListLive, c.Endpoint), []task.ID{c.ID}), "not listed as live")
	k.checkf(len(k.list(results.ListFailed, "")) == 0, "listed as failed")
}

func createPayload(k *kit) {
	none, empty := k.row(k.id()), k.row(k.id())
	empty.Payload = []byte{}
	k.create(none)
	k.create(empty)
	_, ok, err := k.d.Payload(k.ctx, none.ID)
	k.ok(err)
	k.checkf(!ok, "a payload out of nothing")
	p, ok, err := k.d.Payload(k.ctx, empty.ID)
	k.ok(err)
	k.checkf(ok && len(p) == 0, "an empty payload is a payload: kept %v, %d bytes", ok, len(p))
	_, ok, err = k.d.Payload(k.ctx, k.id())
	k.ok(err)
	k.checkf(!ok, "payload of an unknown id")
}

func createBytes(k *kit) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	c := k.row(k.id())
	c.Head, c.Spec, c.Payload = all, bytes.Repeat(all, 8), bytes.Repeat(all, 4096)
	k.create(c)
	r := k.read(c.ID)
	k.same("head", r.Head, c.Head)
	k.same("spec", r.Spec, c.Spec)
	p, _, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(bytes.Equal(p, c.Payload), "payload of 1 MiB changed")
}

func createLate(k *kit) {
	c := k.row(k.id())
	made := k.change(c, 0)
	made.Spec, made.Version, made.Lane = c.Spec, 3, 0
	k.swap(made)
	c.Payload, c.AcceptBy = []byte("payload"), k.now.Add(-hour)
	got := k.taken(c)
	k.checkf(got.Row.ID == c.ID && got.Row.Version == 3 && got.SameRequest, "answer %+v", got)
	k.checkf(got.AcceptBy.IsZero(), "AcceptBy %v", got.AcceptBy)
	k.same("head", k.read(c.ID).Head, made.Head)
	_, ok, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(!ok && k.live(c.Endpoint) == 0, "payload or lists were touched")
	n, err := k.d.Abandon(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(n == 0, "its AcceptBy was registered")
}

func keySame(k *kit) {
	first := k.create(k.keyed("key", "f"))
	got := k.taken(k.keyed("key", "f"))
	k.checkf(got.SameRequest, "the same fingerprint is another request")
	k.checkf(got.Row.ID == first.ID && got.Row.Version == 1, "key belongs to %s", got.Row.ID)
	k.same("head", got.Row.Head, first.Head)
	k.same("spec", got.Row.Spec, first.Spec)
}

func keyOther(k *kit) {
	first := k.create(k.keyed("key", "f"))
	got := k.taken(k.keyed("key", "g"))
	k.checkf(!got.SameRequest, "another fingerprint is the same request")
	k.checkf(got.Row.ID == first.ID, "key belongs to %s", got.Row.ID)
}

func keyLoser(k *kit) {
	first := k.create(k.keyed("key", "f"))
	loser := k.keyed("key", "f")
	loser.Payload = []byte("x")
	loser.AcceptBy = k.now.Add(-hour)
	k.taken(loser)
	k.checkf(k.read(loser.ID).Version == 0, "the loser's row is stored")
	_, ok, err := k.d.Payload(k.ctx, loser.ID)
	k.ok(err)
	k.checkf(!ok, "the loser's payload is stored")
	k.checkf(slices.Equal(k.list(results.ListAll, ""), []task.ID{first.ID}), "the loser is listed")
	k.checkf(k.live(loser.Endpoint) == 1, "the loser is counted")
	n, err := k.d.Abandon(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(n == 0, "the loser's AcceptBy is registered")
}

func keyRace(k *kit) {
	rows := make([]results.Create, racers)
	for i := range rows {
		rows[i] = k.keyed("key", "f")
	}
	var mu sync.Mutex
	var won, found []task.ID
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		got, err := d.Create(k.ctx, rows[i])
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			k.Error(err)
		case got.New:
			won = append(won, rows[i].ID)
		default:
			found = append(found, got.Row.ID)
		}
	})
	k.checkf(len(won) == 1, "%d winners", len(won))
	for _, id := range found {
		k.checkf(id == won[0], "a loser found %s, the winner is %s", id, won[0])
	}
	k.checkf(len(k.list(results.ListAll, "")) == 1, "more than one row is stored")
}

func keyGone(k *kit) {
	first := k.keyed("key", "f")
	first.KeepTill = time.Now().Add(ttl)
	k.create(first)
	k.gone(first.ID)
	second := k.create(k.keyed("key", "g"))
	got := k.taken(k.keyed("key", "g"))
	k.checkf(got.Row.ID == second.ID && got.SameRequest, "the key still points to the row that is gone")
}

func keyEnds(k *kit) {
	first := k.keyed("key", "f")
	first.Idem.Until = time.Now().Add(ttl)
	k.create(first)
	var second results.Create
	k.eventually("the key is free", func() bool {
		second = k.keyed("key", "f")
		got, err := k.d.Create(k.ctx, second)
		k.ok(err)
		return got.New
	})
	k.checkf(!time.Now().Before(first.Idem.Until), "the key ended early")
	k.checkf(k.read(first.ID).Version == 1, "the first row went with its key")
	k.checkf(k.taken(k.keyed("key", "f")).Row.ID == second.ID, "the key points elsewhere")
}

func keyAcceptBy(k *kit) {
	first := k.create(k.keyed("key", "f"))
	got := k.taken(k.keyed("key", "f"))
	k.checkf(got.AcceptBy.Equal(first.AcceptBy), "AcceptBy %v, want %v", got.AcceptBy, first.AcceptBy)
	k.ok(k.d.Accepted(k.ctx, first.ID))
	got = k.taken(k.keyed("key", "f"))
	k.checkf(got.AcceptBy.IsZero(), "AcceptBy %v after the note", got.AcceptBy)
}

func keyAcceptBySwap(k *kit) {
	first := k.create(k.keyed("key", "f"))
	k.swap(k.change(first, 1))
	got := k.taken(k.keyed("key", "f"))
	k.checkf(got.AcceptBy.IsZero(), "AcceptBy %v after a swap", got.AcceptBy)
	k.checkf(got.Row.Version == 2, "the key's row has version %d", got.Row.Version)
}

func keysApart(k *kit) {
	for i := range 20 {
		k.create(k.keyed(fmt.Sprint("key", i), "f"))
	}
	k.create(k.row(k.id()))
	k.checkf(len(k.list(results.ListAll, "")) == 21, "rows are missing")
}

func createPending(k *kit) {
	c := k.row(k.id())
	c.AcceptBy = k.now.Add(-time.Second)
	k.create(c)
	n, err := k.d.Abandon(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(n == 1, "abandoned %d", n)
}
