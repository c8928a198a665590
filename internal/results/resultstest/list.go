package resultstest

import (
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func listCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"scan: newest first, no gap, no twin":              scanOrder,
		"scan: many rows of one millisecond":               scanTies,
		"scan: Before alone means strictly older":          scanBefore,
		"scan: more is exact at the end":                   scanMore,
		"scan: an empty list":                              scanEmpty,
		"scan: goes on over rows that are gone":            scanGone,
		"scan: a row that comes in between spoils nothing": scanMoving,
		"lists: rows move between them":                    listsMove,
		"lists: projects and endpoints are apart":          listsApart,
	}
}

// wanted is the order of all lists.
func wanted(rows []results.Create) []task.ID {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b results.Create) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		if a.ID > b.ID {
			return -1
		}
		return 1
	})
	ids := make([]task.ID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids
}

func (k *kit) createAt(at time.Time) results.Create {
	k.Helper()
	c := k.row(k.id())
	c.Created = at
	return k.create(c)
}

func (k *kit) lists(got, want []task.ID) {
	k.Helper()
	k.checkf(slices.Equal(got, want), "got  %v\nwant %v", got, want)
}

func scanOrder(k *kit) {
	var rows []results.Create
	for i := range 57 {
		rows = append(rows, k.createAt(k.now.Add(time.Duration(i*31%11)*time.Second)))
	}
	for _, limit := range []int{1, 10, 56, 57, 100} {
		k.lists(k.scan(results.Scan{List: results.ListAll, Project: project, Limit: limit}), wanted(rows))
	}
	k.lists(k.scan(results.Scan{
		List: results.ListLive, Project: project, Endpoint: endpoint("e"), Limit: 10,
	}), wanted(rows))
}

func scanTies(k *kit) {
	var rows []results.Create
	for range 130 {
		rows = append(rows, k.createAt(k.now))
	}
	for _, limit := range []int{3, 50} {
		k.lists(k.scan(results.Scan{List: results.ListAll, Project: project, Limit: limit}), wanted(rows))
	}
}

func scanBefore(k *kit) {
	old := k.createAt(k.now.Add(-time.Millisecond))
	k.createAt(k.now)
	k.createAt(k.now.Add(time.Millisecond))
	rows, _, more, err := k.d.Scan(k.ctx, results.Scan{List: results.ListAll, Project: project, Before: k.now, Limit: 9})
	k.ok(err)
	k.checkf(len(rows) == 1 && rows[0].ID == old.ID && !more, "got %d rows, more %v", len(rows), more)
}

func scanMore(k *kit) {
	for range 4 {
		k.create(k.row(k.id()))
	}
	for limit, want := range map[int]bool{3: true, 4: false, 5: false} {
		_, _, more, err := k.d.Scan(k.ctx, results.Scan{List: results.ListAll, Project: project, Limit: limit})
		k.ok(err)
		k.checkf(more == want, "limit %d: more %v", limit, more)
	}
}

func scanEmpty(k *kit) {
	for _, l := range []results.List{results.ListAll, results.ListFailed, results.ListLive} {
		rows, _, more, err := k.d.Scan(k.ctx, results.Scan{List: l, Project: project, Endpoint: endpoint("e"), Limit: 5})
		k.ok(err)
		k.checkf(len(rows) == 0 && !more, "list %d is not empty", l)
	}
}

func scanGone(k *kit) {
	old := k.createAt(k.now.Add(-time.Minute))
	short := time.Now().Add(2 * ttl)
	var last task.ID
	for range 40 {
		c := k.row(k.id())
		c.KeepTill = short
		k.create(c)
		last = c.ID
	}
	k.gone(last)
	k.eventually("the rows are gone", func() bool {
		ids := k.scan(results.Scan{List: results.ListAll, Project: project, Limit: 7})
		return slices.Equal(ids, []task.ID{old.ID})
	})
	k.lists(k.list(results.ListLive, endpoint("e")), []task.ID{old.ID})
}

func scanMoving(k *kit) {
	var rows []results.Create
	for i := range 20 {
		rows = append(rows, k.createAt(k.now.Add(time.Duration(i)*time.Second)))
	}
	want := wanted(rows)
	page, last, more, err := k.d.Scan(k.ctx, results.Scan{List: results.ListAll, Project: project, Limit: 10})
	k.ok(err)
	k.checkf(len(page) == 10 && more, "page of %d, more %v", len(page), more)
	k.createAt(k.now.Add(time.Minute))
	rest := k.scan(results.Scan{
		List: results.ListAll, Project: project, Limit: 10, Before: last.Created, BeforeID: last.ID,
	})
	k.lists(rest, want[10:])
}

func listsMove(k *kit) {
	c := k.create(k.row(k.id()))
	in := func(all, failed, live bool) {
		k.Helper()
		for l, want := range map[results.List]bool{
			results.ListAll: all, results.ListFailed: failed, results.ListLive: live,
		} {
			got := slices.Contains(k.list(l, c.Endpoint), c.ID)
			k.checkf(got == want, "list %d: %v, want %v", l, got, want)
		}
		k.checkf(k.live(c.Endpoint) == map[bool]int{true: 1}[live], "%d counted", k.live(c.Endpoint))
	}
	in(true, false, true)
	failed := k.change(c, 1)
	failed.Lane, failed.Failed = 0, true
	k.swap(failed)
	in(true, true, false)
	k.swap(k.change(c, 2))
	in(true, false, true)
	done := k.change(c, 3)
	done.Lane = 0
	k.swap(done)
	in(true, false, false)
}

func listsApart(k *kit) {
	type place struct{ project, endpoint string }
	places := []place{{project, "e"}, {project, "f"}, {"q", "e"}, {"q", "f"}}
	rows := make(map[place][]results.Create)
	for i := range 24 {
		at := places[i%len(places)]
		c := k.row(k.id())
		c.Project, c.Endpoint = at.project, task.MakeEndpointID(at.project, at.endpoint)
		c.Failed = true
		rows[at] = append(rows[at], k.create(c))
	}
	for _, at := range places {
		id := task.MakeEndpointID(at.project, at.endpoint)
		k.lists(k.scan(results.Scan{List: results.ListLive, Project: at.project, Endpoint: id, Limit: 9}), wanted(rows[at]))
	}
	for _, name := range []string{project, "q"} {
		want := wanted(slices.Concat(rows[place{name, "e"}], rows[place{name, "f"}]))
		k.lists(k.scan(results.Scan{List: results.ListAll, Project: name, Limit: 9}), want)
		k.lists(k.scan(results.Scan{List: results.ListFailed, Project: name, Limit: 9}), want)
	}
}
