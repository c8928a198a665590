package resultstest

import (
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func flagCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"flag: set by a swap, kept by the next, removed":   flagLife,
		"flag: every read shows it":                        flagRead,
		"flag: only its number removes it":                 flagNumber,
		"flag: removing it changes no version":             flagVersion,
		"flag: a swap that loses sets none":                flagLost,
		"flag: its removal says when the row ends":         flagEnd,
		"flagged: those of before, the longest first":      flaggedOrder,
		"flagged: keeps to its limit":                      flaggedLimit,
		"flagged: rows that are gone do not clog":          flaggedGone,
		"flagged: a row made by a swap":                    flaggedMade,
		"hidden: in no list of its project, but live":      hiddenRow,
		"create: without AcceptBy it counts as noted":      createNoted,
		"create: a row without AcceptBy, again and by key": createNotedAgain,
	}
}

// flagged is a swap to the next version that sets a flag.
func (k *kit) flagged(c results.Create, from int64, flag int) results.Swap {
	s := k.change(c, from)
	s.Flag, s.FlagAt = flag, k.now
	return s
}

func (k *kit) flags(before time.Time, limit int) []task.ID {
	k.Helper()
	ids, err := k.peer.Flagged(k.ctx, before, limit)
	k.ok(err)
	return ids
}

// later is after every flag of the cases.
func (k *kit) later() time.Time { return k.now.Add(hour) }

func (k *kit) unflag(id task.ID, flag int) {
	k.Helper()
	k.ok(k.d.Unflag(k.ctx, results.Unflag{ID: id, Flag: flag, Version: 2, KeepTill: k.later()}))
}

func flagLife(k *kit) {
	c := k.create(k.row(k.id()))
	k.checkf(k.read(c.ID).Flag == 0, "a new row has a flag")
	k.swap(k.flagged(c, 1, 7))
	k.checkf(k.read(c.ID).Flag == 7, "flag %d", k.read(c.ID).Flag)
	k.swap(k.change(c, 2))
	k.checkf(k.read(c.ID).Flag == 7, "a swap without a flag left %d", k.read(c.ID).Flag)
	k.swap(k.flagged(c, 3, 8))
	k.checkf(k.read(c.ID).Flag == 8, "flag %d", k.read(c.ID).Flag)
	k.lists(k.flags(k.later(), 9), []task.ID{c.ID})
	k.unflag(c.ID, 8)
	k.checkf(k.read(c.ID).Flag == 0, "flag %d is left", k.read(c.ID).Flag)
	k.lists(k.flags(k.later(), 9), nil)
	k.unflag(c.ID, 8)
	k.unflag(k.id(), 1)
}

func flagRead(k *kit) {
	c := k.create(k.keyed("key", "f"))
	k.swap(k.flagged(c, 1, 3))
	plain, err := k.d.Read(k.ctx, c.ID, false)
	k.ok(err)
	many, err := k.d.ReadMany(k.ctx, []task.ID{c.ID})
	k.ok(err)
	await, err := k.d.Await(k.ctx, c.ID, "t")
	k.ok(err)
	rows, _, _, err := k.d.Scan(k.ctx, results.Scan{List: results.ListAll, Project: project, Limit: 1})
	k.ok(err)
	for name, r := range map[string]results.Row{
		"read": plain, "read many": many[0], "await": await, "scan": rows[0], "mismatch": k.mismatch(k.change(c, 1)),
		"key": k.taken(k.keyed("key", "f")).Row,
	} {
		k.checkf(r.Flag == 3, "%s: flag %d", name, r.Flag)
	}
}

func flagNumber(k *kit) {
	c := k.create(k.row(k.id()))
	k.swap(k.flagged(c, 1, 2))
	for _, other := range []int{0, 1, 3, 22} {
		k.unflag(c.ID, other)
	}
	k.checkf(k.read(c.ID).Flag == 2, "another number removed it")
	k.lists(k.flags(k.later(), 9), []task.ID{c.ID})
}

func flagVersion(k *kit) {
	c := k.create(k.row(k.id()))
	k.swap(k.flagged(c, 1, 1))
	before := k.read(c.ID)
	k.unflag(c.ID, 1)
	after := k.read(c.ID)
	k.checkf(after.Version == before.Version, "version %d became %d", before.Version, after.Version)
	k.same("head", after.Head, before.Head)
	k.swap(k.change(c, 2))
}

func flagLost(k *kit) {
	c := k.create(k.row(k.id()))
	k.mismatch(k.flagged(c, 5, 1))
	k.checkf(k.read(c.ID).Flag == 0, "a swap that lost set its flag")
	k.lists(k.flags(k.later(), 9), nil)
	var won, flag atomic.Int64
	together(racers, func(i int) {
		got, err := k.d.Swap(k.ctx, k.flagged(c, 1, i+1))
		if err != nil {
			k.Error(err)
		}
		if got.OK {
			won.Add(1)
			flag.Store(int64(i + 1))
		}
	})
	k.checkf(won.Load() == 1 && int64(k.read(c.ID).Flag) == flag.Load(), "%d winners, flag %d", won.Load(), k.read(c.ID).Flag)
}

func flagEnd(k *kit) {
	short, other, moved := k.create(k.row(k.id())), k.create(k.row(k.id())), k.create(k.row(k.id()))
	for c, u := range map[task.ID]results.Unflag{
		other.ID: {Flag: 2, Version: 2}, moved.ID: {Flag: 1, Version: 1}, short.ID: {Flag: 1, Version: 2},
	} {
		k.swap(k.flagged(results.Create{Row: results.Row{ID: c}, Index: short.Index}, 1, 1))
		u.ID, u.KeepTill = c, time.Now().Add(ttl)
		k.ok(k.d.Unflag(k.ctx, u))
	}
	k.gone(short.ID)
	k.checkf(k.read(other.ID).Version == 2, "a flag that was not the row's own ended it")
	k.checkf(k.read(moved.ID).Version == 2, "a version that was not the row's own ended it")
	k.checkf(k.read(moved.ID).Flag == 0, "the version kept the flag")
}

func flaggedOrder(k *kit) {
	var ids []task.ID
	for i := range 20 {
		c := k.create(k.row(k.id()))
		s := k.flagged(c, 1, 1)
		s.FlagAt = k.now.Add(time.Duration(i-20) * time.Second)
		k.swap(s)
		ids = append(ids, c.ID)
	}
	k.lists(k.flags(k.now, 100), ids)
	k.lists(k.flags(k.now.Add(-10*time.Second), 100), ids[:10]) // that of ten seconds ago is not before it
	k.lists(k.flags(k.now, 3), ids[:3])
}

func flaggedLimit(k *kit) {
	for range 40 {
		k.swap(k.flagged(k.create(k.row(k.id())), 1, 1))
	}
	k.checkf(len(k.flags(k.later(), 15)) == 15, "%d ids, limit 15", len(k.flags(k.later(), 15)))
	k.checkf(len(k.flags(k.later(), 100)) == 40, "%d ids", len(k.flags(k.later(), 100)))
}

func flaggedGone(k *kit) {
	short := time.Now().Add(2 * ttl)
	var last task.ID
	for range 20 {
		c := k.create(k.row(k.id()))
		s := k.flagged(c, 1, 1)
		s.FlagAt, s.KeepTill = k.now.Add(-hour), short
		k.swap(s)
		last = c.ID
	}
	here := k.create(k.row(k.id()))
	k.swap(k.flagged(here, 1, 1))
	k.gone(last)
	k.eventually("the one that is there is found", func() bool {
		ids := k.flags(k.later(), 3)
		return len(ids) == 1 && ids[0] == here.ID
	})
}

func flaggedMade(k *kit) {
	c := k.row(k.id())
	s := k.flagged(c, 0, 1)
	s.Spec = c.Spec
	k.swap(s)
	k.checkf(k.read(c.ID).Flag == 1, "flag %d", k.read(c.ID).Flag)
	k.lists(k.flags(k.later(), 9), []task.ID{c.ID})
}

func hiddenRow(k *kit) {
	c := k.row(k.id())
	c.Hidden, c.Failed = true, true
	k.create(c)
	shown := k.create(k.row(k.id()))
	check := func(failed []task.ID) {
		k.Helper()
		k.lists(k.list(results.ListAll, ""), []task.ID{shown.ID})
		k.lists(k.list(results.ListFailed, ""), failed)
		k.lists(k.list(results.ListLive, c.Endpoint), wanted([]results.Create{c, shown}))
		k.checkf(k.live(c.Endpoint) == 2, "%d counted", k.live(c.Endpoint))
	}
	check(nil)
	k.swap(k.change(c, 1))
	s := k.change(shown, 1)
	s.Failed = true
	k.swap(s)
	check([]task.ID{shown.ID})
	k.checkf(k.read(c.ID).Version == 2, "a hidden row cannot be read")
	k.ok(k.d.Forget(k.ctx, project, time.Now()))
	check([]task.ID{shown.ID})
}

func createNoted(k *kit) {
	c := k.row(k.id())
	c.AcceptBy = time.Time{}
	k.create(c)
	k.checkf(k.abandon(10) == 0 && k.read(c.ID).Version == 1, "abandoned")
	ok, err := k.d.Renew(k.ctx, c.ID, time.Time{}, k.later())
	k.ok(err)
	k.checkf(!ok, "renewed")
	k.ok(k.d.Accepted(k.ctx, c.ID))
	k.swap(k.change(c, 1))
	k.checkf(k.abandon(10) == 0, "abandoned")
}

func createNotedAgain(k *kit) {
	c := k.keyed("key", "f")
	c.AcceptBy = time.Time{}
	k.create(c)
	for _, again := range []results.Create{c, k.keyed("key", "f")} {
		got := k.taken(again)
		k.checkf(got.Row.ID == c.ID && got.AcceptBy.IsZero(), "answer %+v", got)
	}
}
