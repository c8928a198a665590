package task_test

import (
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// The table "a message (g, s) meets a record (G, S, state)", row by row.
func TestMeet(t *testing.T) {
	t.Parallel()
	due, ahead := t0, t0.Add(time.Hour)
	leaseEnd := t0.Add(5 * time.Second)
	farLease := t0.Add(25 * time.Minute)
	msg := func(gen, seq int) task.Message {
		return task.Message{Envelope: task.Envelope{Spec: spec()}, Gen: gen, Seq: seq, Version: 7<<3 + 4, ETA: due, Born: due}
	}
	rec := func(gen, seq int, s task.State) *task.Record {
		return &task.Record{Version: 7 << 3, Gen: gen, Seq: seq, State: s, ETA: due, Lease: task.Lease{Until: leaseEnd}}
	}
	keyed, callback := msg(1, 1), msg(1, 1)
	keyed.IdempotentUntil, callback.CallbackOf = t0.Add(time.Hour), spec().ID
	with := func(r *task.Record, f func(*task.Record)) *task.Record { f(r); return r }

	type row struct {
		name        string
		msg         task.Message
		rec         *task.Record
		alive       bool
		redelivered bool
		want        task.Verdict
	}
	begin := task.Verdict{Do: task.ActBegin}
	suspect := task.Verdict{Do: task.ActBegin, Suspect: true}
	drop := task.Verdict{Do: task.ActDrop}
	overtaken := task.Verdict{Do: task.ActLater, At: t0.Add(250 * time.Millisecond)}
	rows := []row{
		{"no record", msg(1, 1), nil, false, false, begin},
		{"no record, redelivered", msg(1, 1), nil, false, true, suspect},
		{"no record though it had one, as what has a key", keyed, nil, false, false, suspect},
		{"no record though it had one, as a callback", callback, nil, false, false, suspect},
		{"a callback that fits its record", callback, rec(1, 1, task.Queued), false, false, begin},
		{"older generation", msg(1, 5), rec(2, 1, task.Queued), false, false, drop},
		{"older message", msg(1, 1), rec(1, 2, task.Retrying), false, false, drop},
		{"older message, running", msg(1, 1), rec(1, 2, task.Running), true, true, drop},
		{
			"replay ahead of its record", msg(2, 1), with(rec(1, 3, task.Failed), func(r *task.Record) { r.Version = 6<<3 + 5 }),
			false, false, begin,
		},
		{
			"replay ahead of a record that lost its tail", msg(2, 1),
			with(rec(1, 1, task.Queued), func(r *task.Record) { r.Version = 1 << 3 }), false, false, begin,
		},
		{
			"run-now ahead of a live attempt", msg(2, 1),
			with(rec(1, 1, task.Running), func(r *task.Record) { r.Version = 6<<3 + 5 }), true, false, overtaken,
		},
		{
			"run-now ahead of a dead attempt", msg(2, 1),
			with(rec(1, 1, task.Running), func(r *task.Record) { r.Version = 6<<3 + 5 }), false, false, begin,
		},
		{"run-now that lost its race", msg(2, 1), rec(1, 1, task.Running), true, false, drop},
		{"run-now that lost, later", msg(2, 1), with(rec(1, 1, task.Succeeded), func(r *task.Record) { r.Version = 8 << 3 }), false, false, drop},
		{"retry overtook its settle", msg(1, 2), rec(1, 1, task.Running), true, false, overtaken},
		{"settle died after its publish", msg(1, 2), rec(1, 1, task.Running), false, false, begin},
		{"settle's lease ended", msg(1, 2), with(rec(1, 1, task.Running), func(r *task.Record) { r.Lease.Until = t0 }), true, false, begin},
		{"record lost its tail", msg(1, 4), rec(1, 2, task.Retrying), false, false, begin},
		{"record lost its tail, redelivered", msg(1, 4), rec(1, 2, task.Retrying), false, true, suspect},
		{"retry of a task that was cancelled meanwhile", msg(1, 2), rec(1, 1, task.Cancelled), false, false, drop},
		{"retry of a task that ended by a second try", msg(1, 2), rec(1, 1, task.Succeeded), false, false, drop},
		{"scheduled, due", msg(1, 1), rec(1, 1, task.Scheduled), false, false, begin},
		{"queued", msg(1, 1), rec(1, 1, task.Queued), false, false, begin},
		{"queued, redelivered: perhaps tried while the store was away", msg(1, 1), rec(1, 1, task.Queued), false, true, suspect},
		{"retrying, due", msg(1, 3), rec(1, 3, task.Retrying), false, false, begin},
		{
			"not due", msg(1, 1), with(rec(1, 1, task.Scheduled), func(r *task.Record) { r.ETA = ahead }), false, false,
			task.Verdict{Do: task.ActLater, At: ahead},
		},
		{"busy", msg(1, 1), rec(1, 1, task.Running), true, true, task.Verdict{Do: task.ActLater, At: leaseEnd}},
		{
			"busy with a long lease: asked again when a dead worker would be known", msg(1, 1),
			with(rec(1, 1, task.Running), func(r *task.Record) { r.Lease.Until = farLease }), true, true,
			task.Verdict{Do: task.ActLater, At: t0.Add(10 * time.Second)},
		},
		{"worker lost", msg(1, 1), rec(1, 1, task.Running), false, true, task.Verdict{Do: task.ActBegin, Lost: true, Suspect: true}},
		{
			"worker alive, lease over", msg(1, 1), with(rec(1, 1, task.Running), func(r *task.Record) { r.Lease.Until = t0 }),
			true, true,
			task.Verdict{Do: task.ActBegin, Lost: true, Suspect: true},
		},
		{
			"worker lost for the fifth time", msg(1, 1), with(rec(1, 1, task.Running), func(r *task.Record) { r.Suspects = 4 }),
			false, true,
			task.Verdict{Do: task.ActLost},
		},
		{
			"the copy of a reschedule that lost to one with a later time", msg(2, 1),
			with(rec(2, 1, task.Scheduled), func(r *task.Record) { r.ETA = ahead }), false, false,
			task.Verdict{Do: task.ActLater, At: ahead},
		},
		{
			"a reschedule that died before its record", msg(2, 1),
			with(rec(1, 1, task.Scheduled), func(r *task.Record) { r.Version, r.ETA = 6<<3+6, ahead }), false, false, begin,
		},
		{"the message before a reschedule", msg(1, 1), rec(2, 1, task.Scheduled), false, false, drop},
		{
			"awaiting, deadline extended", msg(1, 1), with(rec(1, 1, task.Awaiting), func(r *task.Record) { r.ETA = ahead }),
			false, false,
			task.Verdict{Do: task.ActLater, At: ahead},
		},
		{"awaiting, deadline passed", msg(1, 1), rec(1, 1, task.Awaiting), false, false, task.Verdict{Do: task.ActCompletionTimeout}},
		{"succeeded", msg(1, 1), rec(1, 1, task.Succeeded), false, true, drop},
		{"failed", msg(1, 1), rec(1, 1, task.Failed), false, true, drop},
		{"cancelled", msg(1, 1), rec(1, 1, task.Cancelled), false, false, drop},
		{"expired", msg(1, 1), rec(1, 1, task.Expired), false, false, drop},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			got := task.Meet(task.Meeting{
				Message: &r.msg, Redelivered: r.redelivered, Record: r.rec, LeaseAlive: r.alive, Now: t0,
			})
			if got != r.want {
				t.Errorf("got %+v, want %+v", got, r.want)
			}
		})
	}
}

func TestMeetExpiry(t *testing.T) {
	t.Parallel()
	m := task.Message{Envelope: task.Envelope{Spec: spec()}, Gen: 1, Seq: 1, ETA: t0}
	m.ExpiresAt = t0
	for name, r := range map[string]*task.Record{
		"no record": nil,
		"queued":    {Version: 1, Gen: 1, Seq: 1, State: task.Queued, ETA: t0},
		"retrying":  {Version: 1, Gen: 1, Seq: 1, State: task.Retrying, ETA: t0},
		"lost":      {Version: 1, Gen: 1, Seq: 1, State: task.Running, ETA: t0},
	} {
		if v := task.Meet(task.Meeting{Message: &m, Record: r, Now: t0}); v.Do != task.ActExpire {
			t.Errorf("%s: at expires_at: %+v", name, v)
		}
		if v := task.Meet(task.Meeting{Message: &m, Record: r, Now: t0.Add(-1)}); v.Do == task.ActExpire {
			t.Errorf("%s: before expires_at: %+v", name, v)
		}
	}
	final := &task.Record{Version: 1, Gen: 1, Seq: 1, State: task.Succeeded}
	if v := task.Meet(task.Meeting{Message: &m, Record: final, Now: t0}); v.Do != task.ActDrop {
		t.Errorf("a final task expired: %+v", v)
	}
}

func TestMeetNeverEarly(t *testing.T) {
	t.Parallel()
	eta := t0.Add(time.Second)
	m := task.Message{Envelope: task.Envelope{Spec: spec()}, Gen: 1, Seq: 1, ETA: eta}
	if v := task.Meet(task.Meeting{Message: &m, Now: t0}); v.Do != task.ActLater || !v.At.Equal(eta) {
		t.Fatalf("%+v", v)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	p := task.DefaultPolicy()
	p.Jitter = 0
	p.MaxAttempts = 3
	young := task.Record{Gen: 1, Seq: 1, Born: t0}
	used := func(n int) task.Record { r := young; r.Used = n; return r }
	old := task.Record{Gen: 1, Seq: 1, Born: t0.Add(-p.MaxAge)}
	rows := []struct {
		name string
		rec  task.Record
		out  task.Outcome
		want task.Decision
	}{
		{
			"success", young,
			task.Outcome{Kind: task.KindSuccess, Status: 204},
			task.Decision{State: task.Succeeded, Status: 204, Used: 1},
		},
		{
			"first retry", young,
			task.Outcome{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500},
			task.Decision{State: task.Retrying, Reason: task.ReasonHandler5xx, Status: 500, At: t0.Add(5 * time.Second), Used: 1},
		},
		{
			"second retry", used(1),
			task.Outcome{Kind: task.KindRetry, Reason: task.ReasonTimeout, Unanswered: true},
			task.Decision{State: task.Retrying, Reason: task.ReasonTimeout, At: t0.Add(20 * time.Second), Used: 2, Suspect: true},
		},
		{
			"last attempt", used(2),
			task.Outcome{Kind: task.KindRetry, Reason: task.ReasonDNS},
			task.Decision{State: task.Failed, Reason: task.ReasonAttemptsExhausted, Used: 3},
		},
		{
			"too old", old,
			task.Outcome{Kind: task.KindRetry, Reason: task.ReasonDNS},
			task.Decision{State: task.Failed, Reason: task.ReasonMaxAge, At: t0.Add(5 * time.Second), Used: 1},
		},
		{
			"postponed does not count", used(2),
			task.Outcome{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 429, RetryAfter: time.Minute},
			task.Decision{State: task.Retrying, Reason: task.ReasonThrottled, Status: 429, At: t0.Add(time.Minute), Used: 2},
		},
		{
			"postponed by nothing", young,
			task.Outcome{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 503},
			task.Decision{State: task.Retrying, Reason: task.ReasonThrottled, Status: 503, At: t0.Add(time.Second)},
		},
		{
			"postponed past max_age", young,
			task.Outcome{Kind: task.KindPostpone, Reason: task.ReasonThrottled, RetryAfter: 4 * 24 * time.Hour},
			task.Decision{State: task.Failed, Reason: task.ReasonMaxAge, At: t0.Add(4 * 24 * time.Hour)},
		},
		{
			"refused", young,
			task.Outcome{Kind: task.KindRefuse, Reason: task.ReasonPermanentStatus, Status: 400},
			task.Decision{State: task.Failed, Reason: task.ReasonPermanentStatus, Status: 400, Used: 1},
		},
		{
			"gone", young,
			task.Outcome{Kind: task.KindGone, Reason: task.ReasonGone, Status: 410},
			task.Decision{State: task.Failed, Reason: task.ReasonGone, Status: 410, Used: 1, DisableEndpoint: true},
		},
		{
			"interrupted by our stop", used(2),
			task.Outcome{Kind: task.KindInterrupted, Reason: task.ReasonShutdown, Unanswered: true},
			task.Decision{State: task.Retrying, Reason: task.ReasonShutdown, At: t0, Used: 2, Suspect: true},
		},
		{
			"interrupted however old", old,
			task.Outcome{Kind: task.KindInterrupted, Reason: task.ReasonShutdown},
			task.Decision{State: task.Retrying, Reason: task.ReasonShutdown, At: t0},
		},
		{
			"an outcome nobody knows", young,
			task.Outcome{Kind: "?"},
			task.Decision{State: task.Failed, Reason: task.ReasonInternal, Used: 1},
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if got := task.Decide(p, &r.rec, r.out, t0, 0.5); got != r.want {
				t.Errorf("got  %+v\nwant %+v", got, r.want)
			}
		})
	}
}

func TestTransitionsStayOnTheChart(t *testing.T) {
	t.Parallel()
	chart := map[task.Edge]bool{}
	for _, e := range task.Edges() {
		chart[e] = true
	}
	seen := map[task.Edge]bool{}
	step := func(from, to task.Record) {
		t.Helper()
		e := task.Edge{From: from.State, To: to.State}
		if !chart[e] {
			t.Errorf("%s → %s is not on the chart", e.From, e.To)
		}
		if to.Version>>3 != from.Version>>3+1 {
			t.Errorf("%s → %s: version %d → %d", e.From, e.To, from.Version, to.Version)
		}
		seen[e] = true
	}
	m := task.First(task.Envelope{Spec: spec()}, 1)
	for _, s := range task.States() {
		r := task.Record{Version: 1, Gen: 1, Seq: 1, State: s, ETA: t0, Born: t0}
		if v := task.Meet(task.Meeting{Message: &m, Record: &r, Now: t0}); v.Do == task.ActBegin {
			step(r, r.Started(&m, task.Lease{}, v.Lost, v.Suspect, t0))
		}
		if s == task.Running || s == task.Awaiting {
			for _, to := range []task.State{task.Retrying, task.Succeeded, task.Failed} {
				step(r, r.Settled(task.Decision{State: to}, t0))
			}
		}
		if s == task.Running {
			step(r, r.Settled(task.Decision{State: task.Awaiting}, t0))
		}
		for _, to := range []task.State{task.Cancelled, task.Failed, task.Expired} {
			if s == task.Awaiting && to == task.Expired {
				continue // an attempt has begun; the completion deadline ends it
			}
			next, ok := r.Ended(to, task.ReasonCancelled, t0)
			if ok != !s.Final() {
				t.Errorf("%s → %s: %v", s, to, ok)
			}
			if ok {
				step(r, next)
			}
		}
		if next, ok := r.Restarted(t0); ok {
			if next.Gen != 2 || next.Seq != 1 || next.State != task.Queued || s == task.Running {
				t.Errorf("%s restarted as %+v", s, next)
			}
		} else if s != task.Running && s != task.Awaiting {
			t.Errorf("%s cannot be restarted", s)
		}
		if next, ok := r.Rescheduled(t0, t0); ok != s.Waiting() || ok && next.State != task.Queued {
			t.Errorf("%s rescheduled: %v, %+v", s, ok, next)
		}
	}
	for e := range chart {
		if !seen[e] {
			t.Errorf("%s → %s is on the chart, but nothing makes it", e.From, e.To)
		}
	}
}

// A retry's message promises the version that its settle will write. A
// cancellation that wins against the settle must not be taken for it.
func TestCompetingChangesNeverShareAVersion(t *testing.T) {
	t.Parallel()
	m := task.First(task.Envelope{Spec: spec()}, 8)
	for _, s := range []task.State{task.Queued, task.Running, task.Retrying, task.Failed} {
		r := task.Record{Version: 8, Gen: 1, Seq: 1, State: s}
		ended, _ := r.Ended(task.Cancelled, task.ReasonCancelled, t0)
		restarted, _ := r.Restarted(t0)
		rescheduled, _ := r.Rescheduled(t0, t0)
		seen := map[int64]bool{}
		for _, v := range []int64{
			r.Started(&m, task.Lease{}, false, false, t0).Version, r.Settled(task.Decision{State: task.Retrying}, t0).Version,
			r.Settled(task.Decision{State: task.Succeeded}, t0).Version,
			ended.Version, restarted.Version, rescheduled.Version, r.Outliving(t0).Version,
		} {
			if v != r.Version && seen[v] {
				t.Errorf("%s: two changes lead to version %d", s, v)
			}
			seen[v] = true
		}
	}
}

func TestRescheduledKeepsWhatCounts(t *testing.T) {
	t.Parallel()
	m := task.First(task.Envelope{Spec: spec()}, 1)
	r := task.NewRecord(new(spec())).Started(&m, task.Lease{}, false, false, t0)
	r = r.Settled(task.Decision{State: task.Retrying, At: t0.Add(time.Minute), Used: 2}, t0)
	later := t0.Add(time.Hour)
	got, ok := r.Rescheduled(later, t0)
	if !ok || got.State != task.Scheduled || got.Gen != 2 || got.Seq != 1 || got.Used != 2 || got.Starts != 1 ||
		!got.ETA.Equal(later) || !got.Born.Equal(later) || !got.LastETA.Equal(r.ETA) || got.Reason != task.ReasonRescheduled {
		t.Errorf("%+v", got)
	}
	next := got.Next(task.Envelope{Spec: spec()})
	if next.Used != 2 || next.Gen != 2 || !next.ETA.Equal(later) {
		t.Errorf("its message: %+v", next)
	}
	if restarted, _ := r.Restarted(t0); restarted.Used != 0 {
		t.Errorf("a replay counts anew: %+v", restarted)
	}
	if past, _ := r.Rescheduled(t0.Add(-time.Hour), t0); past.State != task.Queued || !past.ETA.Equal(t0) {
		t.Errorf("a time that has passed is now: %+v", past)
	}
}

func TestStartedCounts(t *testing.T) {
	t.Parallel()
	m := task.First(task.Envelope{Spec: spec()}, 3)
	m.Starts, m.Used, m.Seq = 4, 2, 3
	r := task.Record{Version: 9 << 3, Gen: 1, Seq: 2, State: task.Retrying, Starts: 6, Suspects: 2}
	got := r.Started(&m, task.Lease{Token: "x"}, true, true, t0)
	if got.Starts != 7 || got.Used != 2 || got.Seq != 3 || got.Suspects != 3 || !got.Suspect || got.Version>>3 != 10 {
		t.Fatalf("%+v", got)
	}
	if again := got.Started(&m, task.Lease{}, false, false, t0); again.Suspects != 0 || !again.Suspect {
		t.Fatalf("suspects in a row and the sticky flag: %+v", again)
	}
}

func TestExpectedIsWhatASettleWrites(t *testing.T) {
	t.Parallel()
	run := task.NewRecord(new(spec())).Started(new(task.First(task.Envelope{Spec: spec()}, 1)), task.Lease{}, false, false, t0)
	settled := run.Settled(task.Decision{State: task.Retrying, Reason: task.ReasonTimeout, At: t0.Add(time.Minute), Used: 1, Suspect: true}, t0)
	m := settled.Next(task.Envelope{Spec: spec()})
	want := settled
	want.Reason, want.StartedAt, want.ChangedAt = task.ReasonNone, time.Time{}, time.Time{} // not needed to begin
	if got := m.Expected(); got != want {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestKeepUntil(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	end := t0.Add(time.Hour)
	base := task.Snapshot{Spec: spec(), Record: task.Record{Gen: 1, EndedAt: end, ETA: t0.Add(40 * day), ChangedAt: end}}
	rows := []struct {
		name string
		edit func(*task.Snapshot)
		want time.Time
	}{
		{"succeeded: the default", func(s *task.Snapshot) { s.State, s.ETA = task.Succeeded, t0 }, end.Add(day)},
		{"own ttl", func(s *task.Snapshot) { s.State, s.ResultTTL = task.Failed, task.Duration(2*time.Hour) }, end.Add(2 * time.Hour)},
		{"not shorter than a twin may take", func(s *task.Snapshot) {
			s.State, s.ResultTTL = task.Succeeded, task.Duration(time.Second)
		}, end.Add(time.Hour)},
		{"not shorter than its key's memory", func(s *task.Snapshot) {
			s.State, s.ResultTTL, s.IdempotentUntil = task.Succeeded, task.Duration(time.Minute), t0.Add(day)
		}, t0.Add(day)},
		{"a tombstone outlives its message", func(s *task.Snapshot) { s.State = task.Cancelled }, t0.Add(130 * day)},
		{"a replayed one outlives old copies", func(s *task.Snapshot) { s.State, s.Gen, s.ETA = task.Succeeded, 2, t0 }, end.Add(90 * day)},
		{"even copies due in a month", func(s *task.Snapshot) {
			s.State, s.Gen, s.ETA, s.LastETA = task.Succeeded, 2, t0, t0.Add(30*day)
		}, t0.Add(120 * day)},
		{"waiting", func(s *task.Snapshot) { s.State = task.Scheduled }, t0.Add(130 * day)},
		{"waiting, moved from a later time", func(s *task.Snapshot) {
			s.State, s.Gen, s.LastETA = task.Scheduled, 2, t0.Add(300*day)
		}, t0.Add(390 * day)},
		{"a copy that lost may come in a month", func(s *task.Snapshot) {
			s.State, s.ETA, s.LastETA = task.Succeeded, t0, t0.Add(30*day)
		}, t0.Add(120 * day)},
	}
	for _, r := range rows {
		s := base
		r.edit(&s)
		if got := s.KeepUntil(); !got.Equal(r.want) {
			t.Errorf("%s: %v, want %v", r.name, got, r.want)
		}
	}
}

// TestMaxAgeCountsFromTheFirstAttempt: what a task waited before does not use
// it up, and a lost worker does not renew it.
func TestMaxAgeCountsFromTheFirstAttempt(t *testing.T) {
	env := task.Envelope{Spec: task.Spec{ID: "t", Project: "p", Endpoint: "e", CreatedAt: t0}}
	m := task.First(env, 0)
	late := t0.Add(5 * 24 * time.Hour)
	first := m.Expected().Started(&m, task.Lease{}, false, false, late)
	again := first.Started(&m, task.Lease{}, true, true, late.Add(time.Hour))
	failed := again.Settled(task.Decision{State: task.Retrying, At: late.Add(2 * time.Hour), Used: 1}, late.Add(time.Hour))
	next := failed.Next(env)
	second := failed.Started(&next, task.Lease{}, false, false, late.Add(2*time.Hour))
	for name, r := range map[string]task.Record{"first": first, "again": again, "second": second} {
		if !r.Born.Equal(late) {
			t.Errorf("%s: max_age counts from %s, want %s", name, r.Born, late)
		}
	}
}

// What may run at once is held back by nobody's clock: it begins where the
// time is an hour before its acceptance, too. What has a time waits for it.
func TestAtOnceAsksNoClock(t *testing.T) {
	t.Parallel()
	behind := t0.Add(-time.Hour)
	for _, c := range []struct {
		name  string
		runAt time.Time
		want  task.Action
	}{
		{"at once", time.Time{}, task.ActBegin},
		{"at a time that has passed", t0.Add(-time.Minute), task.ActBegin},
		{"later", t0.Add(time.Minute), task.ActLater},
	} {
		s := spec()
		s.CreatedAt, s.RunAt = t0, c.runAt
		r := task.NewRecord(&s)
		m := task.First(task.Envelope{Spec: s}, r.Version)
		for name, record := range map[string]*task.Record{"its record": &r, "no record": nil} {
			if got := task.Meet(task.Meeting{Message: &m, Record: record, Now: behind}); got.Do != c.want {
				t.Errorf("%s, %s: %v, want %v", c.name, name, got.Do, c.want)
			}
		}
	}
}
