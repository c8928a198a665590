package resultstest

import (
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func indexCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"count lanes: by endpoint":                  countLive,
		"count lanes: a swap moves a row":           countMoves,
		"count lanes: the oldest row of each":       countOldest,
		"scan: the lanes of a live list are one":    scanLanes,
		"expiring: only rows whose time passed":     expiringPassed,
		"expiring: a swap moves or ends the time":   expiringMoves,
		"expiring: keeps to its limit":              expiringLimit,
		"expiring: rows that are gone do not clog":  expiringGone,
		"forget: cleans up after TTLs step by step": forgetSteps,
		"forget: touches no row that is there":      forgetSpares,
		"forget: a project that nobody knows":       forgetUnknown,
	}
}

func (k *kit) expiring(limit int) []task.ID {
	k.Helper()
	ids, err := k.d.Expiring(k.ctx, k.now, limit)
	k.ok(err)
	k.checkf(len(ids) <= limit, "%d ids, limit %d", len(ids), limit)
	slices.Sort(ids)
	return ids
}

// expires is a row that expires at the given distance from now.
func (k *kit) expires(in time.Duration) results.Create {
	k.Helper()
	c := k.row(k.id())
	c.ExpiresAt = k.now.Add(in)
	c.Expires = true
	return k.create(c)
}

func countLive(k *kit) {
	for range 20 {
		k.create(k.row(k.id()))
	}
	other := k.row(k.id())
	other.Endpoint = endpoint("other")
	k.create(other)
	k.checkf(k.live(endpoint("e")) == 20, "%d live", k.live(endpoint("e")))
	k.checkf(k.live(endpoint("other")) == 1, "%d live", k.live(endpoint("other")))
	k.checkf(k.live(endpoint("none")) == 0, "%d live", k.live(endpoint("none")))
}

func countMoves(k *kit) {
	c := k.create(k.row(k.id()))
	for i, lane := range []results.Lane{1, 5, 3, 3, 4, 2, 0, 2} {
		s := k.change(c, int64(i+1))
		s.Lane = lane
		k.swap(s)
		var want results.Lanes
		if lane > 0 {
			want[lane] = results.LaneCount{Rows: 1, Oldest: k.now}
		}
		got := k.lanes(c.Endpoint)
		k.checkf(got == want, "in lane %d: got %v, want %v", lane, got, want)
	}
}

// spread makes rows of every lane whose times are mixed.
func spread(k *kit) (rows []results.Create) {
	for i := range 60 {
		c := k.row(k.id())
		c.Created = k.now.Add(time.Duration(i*31%17) * time.Second)
		c.Lane = results.Lane(i*7%int(results.MaxLane)) + 1
		rows = append(rows, k.create(c))
	}
	return rows
}

func countOldest(k *kit) {
	var want results.Lanes
	for _, c := range spread(k) {
		at := &want[c.Lane]
		if at.Rows == 0 || c.Created.Before(at.Oldest) {
			at.Oldest = c.Created
		}
		at.Rows++
	}
	got := k.lanes(endpoint("e"))
	k.checkf(got == want, "got  %v\nwant %v", got, want)
}

func scanLanes(k *kit) {
	rows := spread(k)
	for _, limit := range []int{1, 7, 60} {
		k.lists(k.scan(results.Scan{
			List: results.ListLive, Project: project, Endpoint: endpoint("e"), Limit: limit,
		}), wanted(rows))
	}
}

func expiringPassed(k *kit) {
	a, b := k.expires(-time.Second), k.expires(-time.Hour)
	k.expires(time.Minute)
	k.create(k.row(k.id()))
	want := []task.ID{a.ID, b.ID}
	slices.Sort(want)
	k.lists(k.expiring(10), want)
}

func expiringMoves(k *kit) {
	ended, moved, kept := k.expires(-time.Second), k.expires(-time.Second), k.expires(time.Minute)
	s := k.change(ended, 1)
	s.ExpiresAt = time.Time{}
	k.swap(s)
	s = k.change(moved, 1)
	s.ExpiresAt = k.now.Add(time.Minute)
	k.swap(s)
	s = k.change(kept, 1)
	s.ExpiresAt = k.now.Add(-time.Second)
	k.swap(s)
	k.lists(k.expiring(10), []task.ID{kept.ID})
}

func expiringLimit(k *kit) {
	for range 40 {
		k.expires(-time.Second)
	}
	k.checkf(len(k.expiring(15)) == 15, "%d ids", len(k.expiring(15)))
	k.checkf(len(k.expiring(100)) == 40, "%d ids", len(k.expiring(100)))
}

func expiringGone(k *kit) {
	var last task.ID
	short := time.Now().Add(2 * ttl)
	for range 40 {
		c := k.row(k.id())
		c.ExpiresAt, c.KeepTill = k.now.Add(-time.Hour), short
		k.create(c)
		last = c.ID
	}
	here := k.expires(-time.Second)
	k.gone(last)
	k.eventually("the one that is there is found", func() bool {
		return slices.Equal(k.expiring(3), []task.ID{here.ID})
	})
}

func forgetSteps(k *kit) {
	kept := k.create(k.row(k.id()))
	short := time.Now().Add(2 * ttl)
	var last task.ID
	for range 60 {
		c := k.row(k.id())
		c.Failed = true
		c.KeepTill = short
		k.create(c)
		last = c.ID
	}
	k.gone(last)
	k.eventually("only the living row is counted", func() bool {
		k.ok(k.d.Forget(k.ctx, project, time.Now()))
		return k.live(endpoint("e")) == 1
	})
	k.lists(k.list(results.ListAll, ""), []task.ID{kept.ID})
}

func forgetSpares(k *kit) {
	var rows []results.Create
	for range 30 {
		c := k.row(k.id())
		c.Failed = true
		rows = append(rows, k.create(c))
	}
	for range 5 {
		k.ok(k.d.Forget(k.ctx, project, time.Now()))
	}
	k.lists(k.list(results.ListAll, ""), wanted(rows))
	k.lists(k.list(results.ListFailed, ""), wanted(rows))
	k.lists(k.list(results.ListLive, endpoint("e")), wanted(rows))
}

func forgetUnknown(k *kit) { k.ok(k.d.Forget(k.ctx, "nobody", time.Now())) }
