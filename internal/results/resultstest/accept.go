package resultstest

import (
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func acceptCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"accepted: again and for an unknown id is harmless": acceptedTwice,
		"renew: moves AcceptBy once":                        renewOnce,
		"renew: one winner of many":                         renewRace,
		"renew: not after the note, a swap, or the end":     renewLate,
		"abandon: removes the row whole":                    abandonWhole,
		"abandon: spares who was noted, swapped or is due":  abandonSpares,
		"abandon: keeps to its limit":                       abandonLimit,
		"abandon: forgets rows that are gone":               abandonGone,
	}
}

// late is a row whose acceptance is overdue.
func (k *kit) late(id task.ID) results.Create {
	c := k.row(id)
	c.AcceptBy = k.now.Add(-time.Second)
	return c
}

func (k *kit) abandon(limit int) int {
	k.Helper()
	n, err := k.d.Abandon(k.ctx, k.now, limit)
	k.ok(err)
	return n
}

func acceptedTwice(k *kit) {
	c := k.create(k.row(k.id()))
	k.ok(k.d.Accepted(k.ctx, c.ID))
	k.ok(k.peer.Accepted(k.ctx, c.ID))
	unknown := k.id()
	k.ok(k.d.Accepted(k.ctx, unknown))
	k.checkf(k.read(unknown).Version == 0, "a note made a row")
	k.checkf(k.read(c.ID).Version == 1, "a note changed the version")
}

func renewOnce(k *kit) {
	first := k.create(k.keyed("key", "f"))
	next := first.AcceptBy.Add(time.Minute)
	ok, err := k.d.Renew(k.ctx, first.ID, first.AcceptBy, next)
	k.ok(err)
	k.checkf(ok, "not renewed")
	ok, err = k.d.Renew(k.ctx, first.ID, first.AcceptBy, next.Add(time.Minute))
	k.ok(err)
	k.checkf(!ok, "renewed from an AcceptBy that is over")
	got := k.taken(k.keyed("key", "f"))
	k.checkf(got.AcceptBy.Equal(next), "AcceptBy %v, want %v", got.AcceptBy, next)
}

func renewRace(k *kit) {
	c := k.create(k.row(k.id()))
	var won atomic.Int64
	together(racers, func(i int) {
		ok, err := k.d.Renew(k.ctx, c.ID, c.AcceptBy, c.AcceptBy.Add(time.Duration(i+1)*time.Second))
		if err != nil {
			k.Error(err)
		}
		if ok {
			won.Add(1)
		}
	})
	k.checkf(won.Load() == 1, "%d winners", won.Load())
}

func renewLate(k *kit) {
	noted, swapped := k.create(k.row(k.id())), k.create(k.row(k.id()))
	k.ok(k.d.Accepted(k.ctx, noted.ID))
	k.swap(k.change(swapped, 1))
	for _, id := range []task.ID{noted.ID, swapped.ID, k.id()} {
		ok, err := k.d.Renew(k.ctx, id, noted.AcceptBy, k.now)
		k.ok(err)
		k.checkf(!ok, "renewed %s", id)
	}
	k.checkf(k.abandon(10) == 0, "a refused renewal registered an AcceptBy")
}

func abandonWhole(k *kit) {
	c := k.keyed("key", "f")
	c.AcceptBy = k.now.Add(-time.Second)
	c.Payload = []byte("payload")
	c.ExpiresAt = k.now.Add(-time.Second)
	k.create(c)
	k.checkf(k.abandon(10) == 1, "not abandoned")
	k.checkf(k.read(c.ID).Version == 0, "the row is there")
	_, ok, err := k.d.Payload(k.ctx, c.ID)
	k.ok(err)
	k.checkf(!ok, "its payload is there")
	k.checkf(len(k.list(results.ListAll, "")) == 0, "it is listed")
	k.checkf(len(k.list(results.ListLive, c.Endpoint)) == 0, "it is listed as live")
	k.checkf(k.live(c.Endpoint) == 0, "it is counted")
	ids, err := k.d.Expiring(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(len(ids) == 0, "it is expiring")
	k.create(k.keyed("key", "other"))
}

func abandonSpares(k *kit) {
	noted, swapped, due := k.create(k.late(k.id())), k.create(k.late(k.id())), k.create(k.row(k.id()))
	renewed := k.create(k.late(k.id()))
	k.ok(k.d.Accepted(k.ctx, noted.ID))
	k.swap(k.change(swapped, 1))
	ok, err := k.d.Renew(k.ctx, renewed.ID, renewed.AcceptBy, k.now.Add(hour))
	k.ok(err)
	k.checkf(ok, "not renewed")
	fresh := k.change(k.row(k.id()), 0)
	fresh.Spec = []byte("spec")
	k.swap(fresh)
	k.checkf(k.abandon(10) == 0, "something was abandoned")
	for _, id := range []task.ID{noted.ID, swapped.ID, due.ID, renewed.ID, fresh.ID} {
		k.checkf(k.read(id).Version > 0, "%s is gone", id)
	}
}

func abandonLimit(k *kit) {
	const rows, limit = 25, 10
	for range rows {
		k.create(k.late(k.id()))
	}
	total := 0
	for range rows {
		n := k.abandon(limit)
		k.checkf(n <= limit, "abandoned %d, limit %d", n, limit)
		if total += n; n == 0 {
			break
		}
	}
	k.checkf(total == rows, "abandoned %d of %d", total, rows)
}

func abandonGone(k *kit) {
	c := k.late(k.id())
	c.KeepTill = time.Now().Add(ttl)
	k.create(c)
	k.gone(c.ID)
	k.checkf(k.abandon(10) == 0, "abandoned a row that was gone")
	// A task of the same id that its message made again is not for Abandon.
	again := k.change(c, 0)
	again.Spec = c.Spec
	k.swap(again)
	k.checkf(k.abandon(10) == 0 && k.read(c.ID).Version == 1, "abandoned a row that was swapped")
}
