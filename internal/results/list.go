package results

import (
	"context"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

const (
	// maxScanned bounds the rows that one List looks at.
	maxScanned = 2000
	// A scan takes somewhat more rows than are missing when a filter drops
	// some, never more than scanStep.
	scanStep     = 250
	minScan      = 50
	defaultLimit = 50
)

// List returns a page of tasks, newest first. A page looks at no more than
// 2000 tasks, so it may be short, even empty, and still have a cursor. A
// cursor that is not of a list with this filter is task.CodeInvalid.
func (s *Store) List(ctx context.Context, q task.Query) (task.Page, error) {
	l, err := newLister(q)
	if err != nil {
		return task.Page{}, err
	}
	for scanned := 0; scanned < maxScanned && !l.done; {
		l.scan.Limit = min(l.ask(), maxScanned-scanned)
		rows, last, more, err := s.d.Scan(ctx, l.scan)
		if err != nil {
			return task.Page{}, fail(err)
		}
		if err := l.take(rows); err != nil {
			return task.Page{}, fail(err)
		}
		if l.done {
			l.more = l.more || more
			break
		}
		l.done = !more
		l.scan.Before, l.scan.BeforeID = last.Created, last.ID
		scanned += l.scan.Limit
	}
	if l.full() || !l.done {
		l.page.Next = makeCursor(l.q, Cursor{Created: l.scan.Before, ID: l.scan.BeforeID})
	}
	return l.page, nil
}

// lister gathers one page.
type lister struct {
	q    task.Query
	scan Scan
	page task.Page
	more bool // rows follow the last one taken
	done bool
}

func newLister(q task.Query) (*lister, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	l := &lister{q: q, scan: Scan{List: whichList(q), Project: q.Project}}
	if l.scan.List == ListLive {
		l.scan.Endpoint = task.MakeEndpointID(q.Project, q.Endpoint)
	}
	if !q.CreatedBefore.IsZero() {
		// Lists count in milliseconds; rows of the last one are filtered.
		l.scan.Before = q.CreatedBefore.Add(time.Millisecond)
	}
	if q.Cursor == "" {
		return l, nil
	}
	at, err := parseCursor(q)
	if err != nil {
		return nil, err
	}
	l.scan.Before, l.scan.BeforeID = at.Created, at.ID
	return l, nil
}

func whichList(q task.Query) List {
	if len(q.States) == 0 {
		return ListAll
	}
	if !slices.ContainsFunc(q.States, func(s task.State) bool { return s != task.Failed }) {
		return ListFailed
	}
	if q.Endpoint != "" && !slices.ContainsFunc(q.States, task.State.Final) {
		return ListLive
	}
	return ListAll
}

// ask is how many rows the next scan takes.
func (l *lister) ask() int {
	missing := l.q.Limit - len(l.page.Items)
	if len(l.q.States) == 0 && len(l.q.Labels) == 0 && l.q.Endpoint == "" && !l.q.Within.Bound() {
		return min(missing, scanStep)
	}
	return min(max(missing, minScan), scanStep)
}

func (l *lister) full() bool { return len(l.page.Items) == l.q.Limit && l.more }

// take keeps the rows that match until the page is full or the rows are older
// than asked for.
func (l *lister) take(rows []Row) error {
	for i, r := range rows {
		snap, err := snapshot(r)
		if err != nil {
			return err
		}
		if !l.q.CreatedAfter.IsZero() && snap.CreatedAt.Before(l.q.CreatedAfter) {
			l.done, l.more = true, false
			return nil
		}
		if l.matches(snap) {
			l.page.Items = append(l.page.Items, *snap)
		}
		if len(l.page.Items) == l.q.Limit {
			l.done, l.more = true, i < len(rows)-1
			l.scan.Before, l.scan.BeforeID = snap.CreatedAt, snap.ID
			return nil
		}
	}
	return nil
}

func (l *lister) matches(s *task.Snapshot) bool {
	q := l.q
	if s.CallbackOf != "" && !q.Callbacks {
		return false
	}
	if q.Endpoint != "" && s.Endpoint != q.Endpoint || !q.Within.Has(s.Endpoint) {
		return false
	}
	if !q.CreatedBefore.IsZero() && !s.CreatedAt.Before(q.CreatedBefore) {
		return false
	}
	if len(q.States) > 0 && !slices.Contains(q.States, s.StateAt(q.Now)) {
		return false
	}
	for k, v := range q.Labels {
		if got, ok := s.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
