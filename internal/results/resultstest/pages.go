package resultstest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func pageCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"pages: together they are the whole list": pagesAreTheList,
	}
}

// pagesAreTheList draws tasks and a filter, reads the list in pages of
// changing length while others submit, and compares with a plain filter over
// the tasks that were there when the first page was read.
func pagesAreTheList(k *kit) {
	round := 0
	rapid.Check(k.T, func(t *rapid.T) {
		round++
		b := book{kit: k, t: t, store: results.NewStore(k.d), project: fmt.Sprint("project", round)}
		for range rapid.IntRange(0, 60).Draw(t, "tasks") {
			b.add(k.now.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "created")) * time.Millisecond))
		}
		q := b.query()
		want := b.expected(q)
		if got := b.read(q); !slices.Equal(got, want) {
			t.Fatalf("%+v:\ngot  %v\nwant %v", q, got, want)
		}
	})
}

// book is one project of the property test and what is known to be in it.
type book struct {
	*kit
	t       *rapid.T
	store   *results.Store
	project string
	tasks   []task.Snapshot
}

var (
	bookEndpoints = []string{"a", "b"}
	bookStates    = []task.State{task.Queued, task.Scheduled, task.Succeeded, task.Failed, task.Cancelled}
	bookValues    = []string{"", "1", "2"} // of the label "k"; "" is no label
)

func (b *book) pick(from []string, what string) string {
	return rapid.SampledFrom(from).Draw(b.t, what)
}

// add stores a task in a drawn state.
func (b *book) add(at time.Time) {
	s := task.Snapshot{Spec: task.Spec{
		ID: b.id(), Project: b.project, Endpoint: b.pick(bookEndpoints, "endpoint"), CreatedAt: at,
	}}
	if v := b.pick(bookValues, "label"); v != "" {
		s.Labels = map[string]string{"k": v}
	}
	state := rapid.SampledFrom(bookStates).Draw(b.t, "state")
	if state == task.Scheduled {
		s.RunAt = at.Add(hour)
	}
	s.Record = task.NewRecord(&s.Spec)
	claim, err := b.store.Create(b.ctx, task.NewTask{Record: s.Record, Spec: s.Spec, AcceptBy: b.now.Add(hour)})
	b.ok(err)
	b.checkf(claim.New, "not new")
	if state.Final() {
		b.end(&s, state)
	}
	b.tasks = append(b.tasks, s)
}

func (b *book) end(s *task.Snapshot, state task.State) {
	next, _ := s.Ended(state, task.ReasonNone, b.now)
	reply, err := b.store.Swap(b.ctx, task.Change{Expect: s.Version, Next: next, Spec: &s.Spec})
	b.ok(err)
	b.checkf(reply.OK, "not swapped")
	s.Record = next
}

func (b *book) query() task.Query {
	q := task.Query{Project: b.project, Now: b.now}
	q.Endpoint = b.pick(append([]string{""}, bookEndpoints...), "only endpoint")
	q.States = rapid.SliceOfN(rapid.SampledFrom(bookStates), 0, 3).Draw(b.t, "only states")
	if v := b.pick(bookValues, "only label"); v != "" {
		q.Labels = map[string]string{"k": v}
	}
	if n := rapid.IntRange(-1, 9).Draw(b.t, "after"); n >= 0 {
		q.CreatedAfter = b.now.Add(time.Duration(n) * time.Millisecond)
	}
	if n := rapid.IntRange(-1, 9).Draw(b.t, "before"); n >= 0 {
		q.CreatedBefore = b.now.Add(time.Duration(n) * time.Millisecond)
	}
	return q
}

// expected is the list by a plain filter.
func (b *book) expected(q task.Query) (ids []task.ID) {
	for i := range b.tasks {
		s := &b.tasks[i]
		switch {
		case q.Endpoint != "" && s.Endpoint != q.Endpoint,
			len(q.States) > 0 && !slices.Contains(q.States, s.State),
			q.Labels != nil && s.Labels["k"] != q.Labels["k"],
			!q.CreatedAfter.IsZero() && s.CreatedAt.Before(q.CreatedAfter),
			!q.CreatedBefore.IsZero() && !s.CreatedAt.Before(q.CreatedBefore):
			continue
		}
		ids = append(ids, s.ID)
	}
	created := make(map[task.ID]time.Time, len(b.tasks))
	for i := range b.tasks {
		created[b.tasks[i].ID] = b.tasks[i].CreatedAt
	}
	slices.SortFunc(ids, func(x, y task.ID) int {
		if c := created[y].Compare(created[x]); c != 0 {
			return c
		}
		if x > y {
			return -1
		}
		return 1
	})
	return ids
}

// read follows the cursors; between pages newer tasks come in.
func (b *book) read(q task.Query) (ids []task.ID) {
	for range 1000 {
		q.Limit = rapid.IntRange(1, 20).Draw(b.t, "limit")
		page, err := b.store.List(b.ctx, q)
		b.ok(err)
		b.checkf(len(page.Items) <= q.Limit, "%d items, limit %d", len(page.Items), q.Limit)
		for i := range page.Items {
			ids = append(ids, page.Items[i].ID)
		}
		if page.Next == "" {
			return ids
		}
		q.Cursor = page.Next
		b.add(b.now.Add(time.Second))
	}
	b.Fatal("the list never ends")
	return nil
}
