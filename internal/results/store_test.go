package results_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/results/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

// embedded is a store on the embedded driver.
func embedded(t *testing.T) (*results.Store, results.Driver) {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := sqlite.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return results.NewStore(d), d
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestStoreLife(t *testing.T) {
	s, _ := embedded(t)
	ctx := t.Context()
	nt := newTask(1)
	now := time.Now().UTC().Truncate(time.Millisecond)
	nt.Spec.CreatedAt, nt.Spec.IdempotentUntil = now, now.Add(time.Hour)
	nt.Record = task.NewRecord(&nt.Spec)
	nt.IdemKey, nt.Fingerprint, nt.Payload = "key", "f", []byte("payload")
	nt.AcceptBy = now.Add(time.Minute)
	if c := must[task.Claim](t)(s.Create(ctx, nt)); !c.New {
		t.Fatal("not new")
	}
	again := nt
	again.Spec.ID = task.MakeID("00000000000000000000000099", nt.Spec.ID.Shard())
	c := must[task.Claim](t)(s.Create(ctx, again))
	if c.New || c.Present.ID != nt.Spec.ID || !c.SameRequest || !c.AcceptBy.Equal(nt.AcceptBy) {
		t.Fatalf("repeat: %+v", c)
	}

	change := end(c.Present, task.Cancelled)
	change.Result = &task.Result{Status: 200, ContentType: "text/plain", Body: []byte("body")}
	change.Attempts = []task.Attempt{{Number: 1, Gen: 1, StartedAt: now, Status: 200}}
	if r := must[task.ChangeReply](t)(s.Swap(ctx, change)); !r.OK {
		t.Fatalf("swap: present %+v", r.Present)
	}
	r := must[task.ChangeReply](t)(s.Swap(ctx, change))
	if r.OK || r.Present == nil || r.Present.State != task.Cancelled {
		t.Fatalf("second swap: %+v", r)
	}
	snap, result, err := s.GetResult(ctx, nt.Spec.ID)
	if err != nil || snap.Version != change.Next.Version || string(result.Body) != "body" || result.Status != 200 {
		t.Fatalf("result: %+v %+v %v", snap, result, err)
	}
	if a := must[[]task.Attempt](t)(s.Attempts(ctx, nt.Spec.ID)); len(a) != 1 || a[0].Status != 200 {
		t.Fatalf("attempts: %+v", a)
	}
	if p, ok, err := s.Payload(ctx, nt.Spec.ID); err != nil || !ok || string(p) != "payload" {
		t.Fatalf("payload: %q %v %v", p, ok, err)
	}
	if d := must[task.Depths](t)(s.Depths(ctx, "p", nt.Spec.EndpointID())); len(d) != 0 {
		t.Fatalf("depths %v", d)
	}
}

func TestStoreUnknown(t *testing.T) {
	s, _ := embedded(t)
	id := newTask(1).Spec.ID
	if got := must[*task.Snapshot](t)(s.Get(t.Context(), id)); got != nil {
		t.Fatalf("got %+v", got)
	}
	snap, result, err := s.GetResult(t.Context(), id)
	if snap != nil || result != nil || err != nil {
		t.Fatalf("got %+v, %+v, %v", snap, result, err)
	}
	change := end(&task.Snapshot{Spec: newTask(1).Spec, Record: newTask(1).Record}, task.Cancelled)
	if r := must[task.ChangeReply](t)(s.Swap(t.Context(), change)); r.OK || r.Present != nil {
		t.Fatalf("got %+v", r)
	}
}

func TestStoreCancelHint(t *testing.T) {
	s, _ := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	id := newTask(1).Spec.ID
	heard, done := make(chan task.ID, 1), make(chan error, 1)
	go func() {
		done <- s.OnCancel(ctx, func(id task.ID) {
			select {
			case heard <- id:
			default:
			}
		})
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for got := task.ID(""); got == ""; {
		if err := s.HintCancel(ctx, id); err != nil { // hints of before the subscription are lost
			t.Fatal(err)
		}
		select {
		case got = <-heard:
			if got != id {
				t.Fatalf("heard %s", got)
			}
		case <-tick.C:
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestStoreErrors(t *testing.T) {
	s, d := embedded(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), newTask(1).Spec.ID)
	if task.CodeOf(err) != task.CodeUnavailable || !errors.Is(err, results.ErrUnavailable) {
		t.Errorf("closed store: %v", err)
	}
	f := newFake()
	f.rows["x"] = results.Row{ID: "x", Version: 1, Head: []byte("garbage")}
	if _, err := results.NewStore(f).Get(t.Context(), "x"); task.CodeOf(err) != task.CodeInternal {
		t.Errorf("garbage: %v", err)
	}
	if _, err := s.Swap(t.Context(), task.Change{}); task.CodeOf(err) != task.CodeInternal {
		t.Errorf("no spec: %v", err)
	}
}

// TestStoreDepths: every state that is not final counts by itself.
func TestStoreDepths(t *testing.T) {
	s, _ := embedded(t)
	want := task.Depths{}
	for i, state := range task.States() {
		nt := newTask(i + 1)
		nt.Record.State = state
		must[task.Claim](t)(s.Create(t.Context(), nt))
		if !state.Final() {
			want[state] = task.Depth{Tasks: 1, Oldest: nt.Spec.CreatedAt}
		}
	}
	got := must[task.Depths](t)(s.Depths(t.Context(), "p", task.MakeEndpointID("p", "e")))
	if !maps.Equal(got, want) || got.Total() != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStoreIndex(t *testing.T) {
	f := newFake()
	s := results.NewStore(f)
	nt := newTask(1)
	nt.Spec.ExpiresAt = epoch.Add(time.Hour)
	must[task.Claim](t)(s.Create(t.Context(), nt))
	ix := f.index(nt.Spec.ID)
	if ix.Lane == 0 || ix.Failed || !ix.ExpiresAt.Equal(nt.Spec.ExpiresAt) || !ix.Created.Equal(nt.Spec.CreatedAt) {
		t.Errorf("waiting: %+v", ix)
	}
	run := nt.Record.Started(&task.Message{Gen: 1, Seq: 1}, task.Lease{Token: "t"}, false, false, epoch)
	must[task.ChangeReply](t)(s.Swap(t.Context(), task.Change{Expect: nt.Record.Version, Next: run, Spec: &nt.Spec}))
	if ix = f.index(nt.Spec.ID); ix.Lane == 0 || !ix.ExpiresAt.IsZero() {
		t.Errorf("a running attempt began in time, yet: %+v", ix)
	}
	must[task.ChangeReply](t)(s.Swap(t.Context(), end(&task.Snapshot{Spec: nt.Spec, Record: run}, task.Failed)))
	if ix = f.index(nt.Spec.ID); ix.Lane != 0 || !ix.Failed {
		t.Errorf("failed: %+v", ix)
	}
}

// filled is a store with n tasks, every third one cancelled, every fifth failed.
func filled(t *testing.T, n int) (*results.Store, *fake) {
	t.Helper()
	f := newFake()
	s := results.NewStore(f)
	for i := 1; i <= n; i++ {
		nt := newTask(i)
		if i%2 == 0 {
			nt.Spec.Endpoint = "even"
		}
		must[task.Claim](t)(s.Create(t.Context(), nt))
		snap := &task.Snapshot{Spec: nt.Spec, Record: nt.Record}
		switch {
		case i%3 == 0:
			must[task.ChangeReply](t)(s.Swap(t.Context(), end(snap, task.Cancelled)))
		case i%5 == 0:
			must[task.ChangeReply](t)(s.Swap(t.Context(), end(snap, task.Failed)))
		}
	}
	return s, f
}

// pages follows the cursor to the end.
func pages(t *testing.T, s *results.Store, q task.Query) (ids []task.ID, n int) {
	t.Helper()
	q.Project, q.Now = "p", epoch
	for {
		p := must[task.Page](t)(s.List(t.Context(), q))
		if n++; n > 1000 {
			t.Fatal("the list never ends")
		}
		if q.Limit > 0 && len(p.Items) > q.Limit {
			t.Fatalf("%d items, limit %d", len(p.Items), q.Limit)
		}
		for _, i := range p.Items {
			ids = append(ids, i.ID)
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			return ids, n
		}
	}
}

// expected lists the tasks of filled that match, newest first.
func expected(n int, match func(i int) bool) (ids []task.ID) {
	for i := n; i > 0; i-- {
		if match(i) {
			ids = append(ids, newTask(i).Spec.ID)
		}
	}
	return ids
}

func TestListFilters(t *testing.T) {
	const n = 100
	s, _ := filled(t, n)
	cancelled := func(i int) bool { return i%3 == 0 }
	failed := func(i int) bool { return i%3 != 0 && i%5 == 0 }
	at := func(i int) time.Time { return newTask(i).Spec.CreatedAt }
	for name, c := range map[string]struct {
		q     task.Query
		match func(i int) bool
	}{
		"all":      {task.Query{}, func(int) bool { return true }},
		"endpoint": {task.Query{Endpoint: "even"}, func(i int) bool { return i%2 == 0 }},
		"nobody":   {task.Query{Endpoint: "none"}, func(int) bool { return false }},
		"within":   {task.Query{Within: task.EndpointSet{"ev*", "none"}}, func(i int) bool { return i%2 == 0 }},
		"outside":  {task.Query{Endpoint: "even", Within: task.EndpointSet{"odd"}}, func(int) bool { return false }},
		"state":    {task.Query{States: []task.State{task.Cancelled}}, cancelled},
		"failed":   {task.Query{States: []task.State{task.Failed}}, failed},
		"states": {
			task.Query{States: []task.State{task.Failed, task.Cancelled}},
			func(i int) bool { return cancelled(i) || failed(i) },
		},
		"live of endpoint": {
			task.Query{Endpoint: "even", States: []task.State{task.Queued, task.Running}},
			func(i int) bool { return i%2 == 0 && !cancelled(i) && !failed(i) },
		},
		"label":              {task.Query{Labels: map[string]string{"n": "7"}}, func(i int) bool { return i%10 == 7 }},
		"no label":           {task.Query{Labels: map[string]string{"n": "7", "x": ""}}, func(int) bool { return false }},
		"after":              {task.Query{CreatedAfter: at(40)}, func(i int) bool { return i >= 40 }},
		"before":             {task.Query{CreatedBefore: at(40)}, func(i int) bool { return i < 40 }},
		"in between":         {task.Query{CreatedAfter: at(40), CreatedBefore: at(60)}, func(i int) bool { return i >= 40 && i < 60 }},
		"nothing in between": {task.Query{CreatedAfter: at(40), CreatedBefore: at(40)}, func(int) bool { return false }},
		"finer than a millisecond": {
			task.Query{CreatedAfter: at(40).Add(time.Microsecond), CreatedBefore: at(60).Add(time.Microsecond)},
			func(i int) bool { return i > 40 && i <= 60 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int{0, 1, 7, 100} {
				c.q.Limit = limit
				if got, _ := pages(t, s, c.q); !slices.Equal(got, expected(n, c.match)) {
					t.Errorf("limit %d: got %v", limit, got)
				}
			}
		})
	}
}

func TestListExactEnd(t *testing.T) {
	s, _ := filled(t, 10)
	if _, n := pages(t, s, task.Query{Limit: 10}); n != 1 {
		t.Errorf("%d pages for 10 of 10", n)
	}
	if _, n := pages(t, s, task.Query{Limit: 5, Endpoint: "even"}); n > 2 {
		t.Errorf("%d pages for 5 of 5", n)
	}
}

func TestListPicksTheShortList(t *testing.T) {
	s, f := filled(t, 3)
	for _, c := range []struct {
		q    task.Query
		want results.List
	}{
		{task.Query{}, results.ListAll},
		{task.Query{Endpoint: "e"}, results.ListAll},
		{task.Query{States: []task.State{task.Failed}}, results.ListFailed},
		{task.Query{Endpoint: "e", States: []task.State{task.Failed}}, results.ListFailed},
		{task.Query{Endpoint: "e", States: []task.State{task.Queued, task.Running}}, results.ListLive},
		{task.Query{Endpoint: "e", States: []task.State{task.Queued, task.Succeeded}}, results.ListAll},
		{task.Query{States: []task.State{task.Queued}}, results.ListAll},
	} {
		f.lists = nil
		must[task.Page](t)(s.List(t.Context(), c.q))
		if f.lists[0] != c.want {
			t.Errorf("%+v: list %d, want %d", c.q, f.lists[0], c.want)
		}
	}
}

// TestListIsBounded: a filter that nothing matches does not scan everything
// in one call, and still gets to the end.
func TestListIsBounded(t *testing.T) {
	const n, most = 4500, 2000
	s, f := filled(t, n)
	got, calls := pages(t, s, task.Query{Labels: map[string]string{"no": "such"}, Limit: 10})
	if len(got) != 0 || calls != 3 {
		t.Errorf("%d items in %d pages", len(got), calls)
	}
	f.limits = nil
	must[task.Page](t)(s.List(t.Context(), task.Query{Labels: map[string]string{"no": "such"}}))
	sum := 0
	for _, l := range f.limits {
		sum += l
	}
	if sum > most {
		t.Errorf("%d rows scanned in one call", sum)
	}
}

func TestListScheduled(t *testing.T) {
	s := results.NewStore(newFake())
	nt := newTask(1)
	nt.Spec.RunAt = nt.Spec.CreatedAt.Add(time.Hour)
	nt.Record = task.NewRecord(&nt.Spec)
	must[task.Claim](t)(s.Create(t.Context(), nt))
	for at, want := range map[time.Time]task.State{
		nt.Spec.CreatedAt: task.Scheduled, nt.Spec.RunAt: task.Queued,
	} {
		for _, state := range []task.State{task.Scheduled, task.Queued} {
			p := must[task.Page](t)(s.List(t.Context(), task.Query{States: []task.State{state}, Now: at}))
			if found := len(p.Items) == 1; found != (state == want) {
				t.Errorf("at %v as %s: %v", at, state, found)
			}
		}
	}
}

func TestListCursorOfSomebodyElse(t *testing.T) {
	s, _ := filled(t, 3)
	encode := base64.RawURLEncoding.EncodeToString
	id := string(newTask(1).Spec.ID)
	for _, bad := range []string{
		"x", "====", encode([]byte("2.2")), encode([]byte("1.1700000000000." + id + ".x")), encode([]byte("2.x." + id + ".x")),
		encode([]byte("2.-5." + id + ".x")), encode([]byte("2.1700000000000.nobody.x")), encode(make([]byte, 1000)),
		encode([]byte("2.1700000000000." + id)), encode([]byte("2.1700000000000." + id + ".0123456789abcdef")),
	} {
		_, err := s.List(t.Context(), task.Query{Cursor: bad})
		var te *task.Error
		if !errors.As(err, &te) || te.Code != task.CodeInvalid || len(te.Faults) != 1 || te.Faults[0].Pointer != "cursor" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A cursor goes on with its own filter only, however that is written.
func TestListCursorOfAnotherFilter(t *testing.T) {
	s, _ := filled(t, 50)
	base := task.Query{
		Project: "p", Endpoint: "even", States: []task.State{task.Queued, task.Cancelled},
		CreatedAfter: epoch.Add(-time.Hour), CreatedBefore: epoch.Add(time.Hour), Limit: 2,
	}
	first := must[task.Page](t)(s.List(t.Context(), base))
	base.Cursor = first.Next
	for name, change := range map[string]func(q *task.Query){
		"project":  func(q *task.Query) { q.Project = "q" },
		"endpoint": func(q *task.Query) { q.Endpoint = "e" },
		"within":   func(q *task.Query) { q.Within = task.EndpointSet{"even"} },
		"states":   func(q *task.Query) { q.States = q.States[:1] },
		"labels":   func(q *task.Query) { q.Labels = map[string]string{"a": "b"} },
		"after":    func(q *task.Query) { q.CreatedAfter = epoch },
		"before":   func(q *task.Query) { q.CreatedBefore = time.Time{} },
	} {
		q := base
		change(&q)
		if _, err := s.List(t.Context(), q); task.CodeOf(err) != task.CodeInvalid {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	base.States = []task.State{task.Cancelled, task.Queued, task.Cancelled}
	base.CreatedAfter = base.CreatedAfter.In(time.FixedZone("", 3600))
	base.Limit = 5
	must[task.Page](t)(s.List(t.Context(), base))
}

func FuzzCursor(f *testing.F) {
	f.Add("Mi4xNzAwMDAwMDAwMDAwLjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMS54")
	f.Add("")
	s := results.NewStore(newFake())
	f.Fuzz(func(t *testing.T, cursor string) {
		if _, err := s.List(t.Context(), task.Query{Cursor: cursor}); err != nil && task.CodeOf(err) != task.CodeInvalid {
			t.Fatal(err)
		}
	})
}

// TestStoreOutbox: a task in the outbox is found and outlives its TTL until
// its callback is published.
func TestStoreOutbox(t *testing.T) {
	s, _ := embedded(t)
	ctx := t.Context()
	nt := newTask(1)
	nt.Spec.ResultTTL = task.Duration(time.Second)
	nt.Spec.Callback = &task.Callback{URL: "https://example.com/", On: []task.State{task.Failed}}
	must[task.Claim](t)(s.Create(ctx, nt))
	change := end(&task.Snapshot{Spec: nt.Spec, Record: nt.Record}, task.Failed)
	change.Outbox = true
	must[task.ChangeReply](t)(s.Swap(ctx, change))
	ended := change.Next.EndedAt
	if ids := must[[]task.ID](t)(s.Outbox(ctx, ended, 9)); len(ids) != 0 {
		t.Errorf("before it ended: %v", ids)
	}
	if ids := must[[]task.ID](t)(s.Outbox(ctx, ended.Add(time.Second), 9)); !slices.Equal(ids, []task.ID{nt.Spec.ID}) {
		t.Fatalf("outbox: %v", ids)
	}
	snap := must[*task.Snapshot](t)(s.Get(ctx, nt.Spec.ID))
	if snap.Outbox != 1 || snap.Callback.URL != nt.Spec.Callback.URL || !slices.Equal(snap.Callback.On, nt.Spec.Callback.On) {
		t.Fatalf("task in the outbox: %+v", snap)
	}
	if keep := snap.KeepUntil(); keep.Before(ended.Add(30 * 24 * time.Hour)) {
		t.Errorf("kept until %v only", keep)
	}
	// Its own time is over; whoever is at it still finds it.
	if err := s.LeaveOutbox(ctx, snap, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if snap = must[*task.Snapshot](t)(s.Get(ctx, nt.Spec.ID)); snap == nil || snap.Outbox != 0 {
		t.Fatalf("after it left: %+v", snap)
	}
	if ids := must[[]task.ID](t)(s.Outbox(ctx, ended.Add(time.Second), 9)); len(ids) != 0 {
		t.Errorf("after it left: %v", ids)
	}
}

// TestStoreHidesCallbacks: a callback task is read by its id, and listed only
// with what waits for its endpoint, to whoever asks.
func TestStoreHidesCallbacks(t *testing.T) {
	s, _ := embedded(t)
	nt := newTask(1)
	nt.Spec.CallbackOf = newTask(2).Spec.ID
	must[task.Claim](t)(s.Create(t.Context(), nt))
	q := task.Query{Project: "p", Endpoint: "e", States: []task.State{task.Queued, task.Running}, Now: epoch}
	for _, q := range []task.Query{q, {Project: "p"}, {Project: "p", States: []task.State{task.Failed}}} {
		if p := must[task.Page](t)(s.List(t.Context(), q)); len(p.Items) != 0 {
			t.Errorf("%+v lists it", q)
		}
	}
	q.Callbacks = true
	if p := must[task.Page](t)(s.List(t.Context(), q)); len(p.Items) != 1 {
		t.Error("not listed with what its endpoint has to deliver")
	}
	many := must[[]task.Snapshot](t)(s.GetMany(t.Context(), []task.ID{newTask(3).Spec.ID, nt.Spec.ID}))
	if len(many) != 1 || many[0].ID != nt.Spec.ID {
		t.Errorf("read: %+v", many)
	}
}
