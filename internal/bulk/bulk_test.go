package bulk

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

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

func request(a Action, f Filter) Request { return Request{Project: "p", Action: a, Filter: f} }

func wantCounts(t *testing.T, job Job, state State, want Counts) {
	t.Helper()
	if job.State != state {
		t.Errorf("%s, want %s (%s)", job.State, state, job.Detail)
	}
	if diff := cmp.Diff(want, job.Counts); diff != "" {
		t.Error(diff)
	}
}

func TestCancelByFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s, _ := w.start(t, "a")
		gold := map[string]string{"k": "gold"}
		in := []task.ID{w.add(task.Queued, gold), w.add(task.Retrying, gold), w.add(task.Running, gold)}
		out := []task.ID{w.add(task.Queued, nil), w.add(task.Succeeded, gold), w.add(task.Failed, gold)}
		pass(time.Second)
		job := must[Job](t)(s.Start(t.Context(), request(Cancel, Filter{Labels: gold})))
		if job.State != Running || job.Rate != MaxRate || !job.StartedAt.Equal(time.Now()) || !IsID(job.ID) {
			t.Errorf("started as %+v", job)
		}
		pass(time.Millisecond)
		out = append(out, w.add(task.Queued, gold)) // after the job began
		done := w.ends(t, job.ID)
		wantCounts(t, done, Done, Counts{Matched: 3, Changed: 3})
		if done.EndedAt.IsZero() {
			t.Error("it has no end")
		}
		for _, id := range in {
			if w.stateOf(id) != task.Cancelled {
				t.Errorf("%s is %s", id, w.stateOf(id))
			}
		}
		for _, id := range out {
			if w.changed(id) != 0 {
				t.Errorf("%s was changed", id)
			}
		}
		synctest.Wait()
		if open := w.documents(); open != 1 {
			t.Errorf("%d documents are left, want the job alone", open)
		}
	})
}

func TestRetryTakesFailedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s, _ := w.start(t, "a")
		for _, state := range task.States() {
			w.add(state, nil)
		}
		job := must[Job](t)(s.Start(t.Context(), request(Retry, Filter{Endpoint: "mail"})))
		wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: 1, Changed: 1})
		job = must[Job](t)(s.Start(t.Context(), request(Retry, Filter{States: []task.State{task.Cancelled, task.Expired}})))
		wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: 2, Changed: 2})
	})
}

// A task is changed once by a job, though it matches again at once.
func TestEachTaskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.again = true
		s, _ := w.start(t, "a")
		ids := w.addMany(450, task.Failed)
		job := must[Job](t)(s.Start(t.Context(), request(Retry, Filter{Endpoint: "mail"})))
		wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: 450, Changed: 450})
		for _, id := range ids {
			if w.changed(id) != 1 {
				t.Errorf("%s was changed %d times", id, w.changed(id))
			}
		}
	})
}

func TestWhatCannotBeChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s, _ := w.start(t, "a")
		for code, n := range map[task.Code]int{
			task.CodePayloadNotKept: 3, task.CodeConflict: 2, task.CodeNotFound: 1, task.CodeInternal: 1,
		} {
			for range n {
				w.refuse[w.add(task.Failed, nil)] = task.Errorf(code, "no")
			}
		}
		w.addMany(2, task.Failed)
		job := must[Job](t)(s.Start(t.Context(), request(Retry, Filter{Endpoint: "mail"})))
		wantCounts(t, w.ends(t, job.ID), Done, Counts{
			Matched: 9, Changed: 2, Skipped: 6, Failed: 1, Reasons: map[task.Code]int{
				task.CodePayloadNotKept: 3, task.CodeConflict: 2, task.CodeNotFound: 1, task.CodeInternal: 1,
			},
		})
	})
}

// The process dies before or after each of its calls; the next one ends the
// job, changes no task twice and counts each once.
func TestDeathAtEachCall(t *testing.T) {
	for _, action := range []Action{Cancel, Retry} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				died := false
				t.Run(fmt.Sprintf("%s %d %v", action, n, after), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { died = deathAt(t, action, n, after) })
				})
				if !died {
					if n < 20 {
						t.Fatalf("a job takes %d calls", n)
					}
					break
				}
			}
		}
	}
}

func deathAt(t *testing.T, action Action, n int, after bool) (died bool) {
	t.Helper()
	w := newWorld()
	w.again = true
	state := map[Action]task.State{Cancel: task.Queued, Retry: task.Failed}[action]
	ids := w.addMany(25, state)
	ask := &process{w: w}
	job := must[Job](t)(New(ask, ask, Options{}).Start(t.Context(), Request{
		Project: "p", Action: action, Filter: Filter{Endpoint: "mail"}, Rate: 10,
	}))
	_, first := w.startDoomed(t, "first", n, after)
	pass(100 * time.Millisecond)
	w.start(t, "second")
	done := w.ends(t, job.ID)
	wantCounts(t, done, Done, Counts{Matched: len(ids), Changed: len(ids)})
	for _, id := range ids {
		if w.changed(id) != 1 {
			t.Errorf("%s was changed %d times", id, w.changed(id))
		}
	}
	if took := done.EndedAt.Sub(job.StartedAt); took > leaseTTL+20*time.Second {
		t.Errorf("it took %s", took)
	}
	return first.dead()
}

// The rate holds over hands and pages, and a slow start is not made up for.
func TestRate(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 40, 400} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			s, _ := w.start(t, "a")
			n := max(int(rate*3), 4)
			w.addMany(n, task.Queued)
			r := request(Cancel, Filter{Endpoint: "mail"})
			r.Rate = rate
			job := must[Job](t)(s.Start(t.Context(), r))
			pass(1200 * time.Millisecond)
			w.setAway(true)
			pass(5 * time.Second)
			w.setAway(false)
			wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: n, Changed: n})
			changes := w.all()
			for i := range changes {
				from := changes[i].at
				in := 0
				for _, c := range changes[i:] {
					if c.at.Sub(from) < time.Second {
						in++
					}
				}
				// A chunk at the begin and one at the end of the second.
				if allowed := rate + 2*max(rate*sideTime.Seconds(), 1); float64(in) > allowed {
					t.Fatalf("rate %v: %d in a second", rate, in)
				}
			}
			if took := time.Since(job.StartedAt); took > time.Duration(float64(n)/rate*float64(time.Second))+12*time.Second {
				t.Errorf("rate %v: %d tasks took %s", rate, n, took)
			}
		})
	}
}

func TestStopAJob(t *testing.T) {
	for _, rate := range []float64{0.2, 5, 1000} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.delay = 10 * time.Millisecond
			s, _ := w.start(t, "a")
			w.addMany(3000, task.Queued)
			r := request(Cancel, Filter{Endpoint: "mail"})
			r.Rate = rate
			job := must[Job](t)(s.Start(t.Context(), r))
			pass(2 * time.Second)
			ask := &process{w: w}
			other := New(ask, ask, Options{})
			stopped := must[Job](t)(other.Stop(t.Context(), "p", job.ID))
			if stopped.State != Cancelled || stopped.EndedAt.IsZero() {
				t.Errorf("stopped as %+v", stopped)
			}
			pass(2 * time.Second)
			n := w.count()
			if n == 0 || n == 3000 {
				t.Fatalf("%d changed", n)
			}
			pass(time.Minute)
			if w.count() != n {
				t.Errorf("%d changed after the stop", w.count()-n)
			}
			got := must[Job](t)(s.Get(t.Context(), "p", job.ID))
			if got.State != Cancelled || got.Changed != n || got.Matched < n {
				t.Errorf("%d changed, but it says %+v", n, got)
			}
			if again := must[Job](t)(s.Stop(t.Context(), "p", job.ID)); again.State != Cancelled {
				t.Errorf("again: %+v", again)
			}
			if w.documents() != 1 {
				t.Errorf("%d documents are left", w.documents())
			}
		})
	}
}

// A job whose worker has died can be stopped too.
func TestStopWithoutAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.addMany(3, task.Queued)
		ask := &process{w: w}
		s := New(ask, ask, Options{})
		job := must[Job](t)(s.Start(t.Context(), request(Cancel, Filter{Endpoint: "mail"})))
		must[Job](t)(s.Stop(t.Context(), "p", job.ID))
		w.start(t, "a")
		pass(3 * time.Second)
		if w.count() != 0 || w.documents() != 1 {
			t.Errorf("%d changed, %d documents", w.count(), w.documents())
		}
		ended := must[Job](t)(s.Start(t.Context(), request(Cancel, Filter{Endpoint: "nobody"})))
		w.ends(t, ended.ID)
		if _, err := s.Stop(t.Context(), "p", ended.ID); task.CodeOf(err) != task.CodeConflict {
			t.Error(err)
		}
		if _, err := s.Stop(t.Context(), "q", ended.ID); task.CodeOf(err) != task.CodeNotFound {
			t.Error(err)
		}
	})
}

// A process that stops lays its job down; another goes on at once, with
// nothing in doubt.
func TestGracefulStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, p := w.start(t, "a")
		w.addMany(100, task.Failed)
		r := request(Retry, Filter{Endpoint: "mail"})
		r.Rate = 10
		job := must[Job](t)(a.Start(t.Context(), r))
		pass(3 * time.Second)
		p.stop()
		synctest.Wait()
		n := w.count()
		if seen := must[Job](t)(a.Get(t.Context(), "p", job.ID)); seen.Changed != n {
			t.Errorf("%d changed, %d written", n, seen.Changed)
		}
		w.start(t, "b")
		pass(pollEvery + 200*time.Millisecond)
		if w.count() <= n {
			t.Error("nobody went on")
		}
		wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: 100, Changed: 100})
	})
}

// A worker that stalls longer than its lease finds that it was replaced, and
// changes nothing that the other has.
func TestStalledWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.again = true
		a, _ := w.start(t, "a")
		ids := w.addMany(60, task.Failed)
		r := request(Retry, Filter{Endpoint: "mail"})
		r.Rate = 10
		job := must[Job](t)(a.Start(t.Context(), r))
		pass(2 * time.Second)
		w.mu.Lock() // the process was not scheduled for a long time
		w.leases[leaseOf(job.ID)] = lease{"b", time.Now().Add(leaseTTL)}
		w.mu.Unlock()
		w.start(t, "b")
		wantCounts(t, w.ends(t, job.ID), Done, Counts{Matched: 60, Changed: 60})
		for _, id := range ids {
			if w.changed(id) != 1 {
				t.Errorf("%s was changed %d times", id, w.changed(id))
			}
		}
	})
}

func TestTooManyJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ask := &process{w: w}
		s := New(ask, ask, Options{})
		for range maxOpen {
			must[Job](t)(s.Start(t.Context(), request(Cancel, Filter{Endpoint: "mail"})))
		}
		if _, err := s.Start(t.Context(), request(Cancel, Filter{Endpoint: "mail"})); task.CodeOf(err) != task.CodeConflict {
			t.Error(err)
		}
		other := request(Cancel, Filter{Endpoint: "mail"})
		other.Project = "q"
		must[Job](t)(s.Start(t.Context(), other))
		w.start(t, "a")
		pass(5 * time.Second)
		must[Job](t)(s.Start(t.Context(), request(Cancel, Filter{Endpoint: "mail"})))
	})
}

// A request that dies after its pointer leaves nothing for long.
func TestOrphanedPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		doomed := &process{w: w, dieAt: 3, stop: func() {}}
		if _, err := New(doomed, doomed, Options{}).Start(t.Context(), request(Cancel, Filter{})); err == nil {
			t.Fatal("it did not die")
		}
		w.start(t, "a")
		pass(5 * time.Second)
		if w.documents() != 1 {
			t.Errorf("%d documents: the pointer of a request under way must stay", w.documents())
		}
		pass(2 * orphanAfter)
		if w.documents() != 0 {
			t.Errorf("%d documents", w.documents())
		}
	})
}

// A job that nobody can read is given up instead of tried for ever.
func TestTornJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ask := &process{w: w}
		job := must[Job](t)(New(ask, ask, Options{}).Start(t.Context(), request(Cancel, Filter{})))
		key := [3]string{kindJob, "p", job.ID}
		doc := w.docs[key]
		doc.Data = []byte("{")
		w.docs[key] = doc
		w.start(t, "a")
		pass(5 * time.Second)
		if w.documents() != 1 {
			t.Errorf("%d documents", w.documents())
		}
	})
}

func TestPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s, _ := w.start(t, "a")
		ids := w.addMany(30, task.Failed)
		w.addMany(5, task.Queued)
		p := must[Preview](t)(s.Preview(t.Context(), request(Retry, Filter{Endpoint: "mail"})))
		slices.Reverse(ids)
		if p.Matched != 30 || !p.Complete || !slices.Equal(p.Sample, ids[:maxSample]) || w.count() != 0 || w.documents() != 0 {
			t.Errorf("got %+v", p)
		}
		for range maxPreviewPages * previewPage {
			w.add(task.Failed, nil)
		}
		p = must[Preview](t)(s.Preview(t.Context(), request(Retry, Filter{Endpoint: "mail"})))
		if p.Matched != maxPreviewPages*previewPage || p.Complete {
			t.Errorf("got %+v", p)
		}
	})
}

func TestListAndGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ask := &process{w: w}
		s := New(ask, ask, Options{})
		var want []string
		for range 5 {
			want = append(want, must[Job](t)(s.Start(t.Context(), request(Retry, Filter{Endpoint: "mail"}))).ID)
			pass(time.Millisecond)
		}
		slices.Reverse(want)
		var got []string
		before := ""
		for more := true; more; {
			var jobs []Job
			var err error
			if jobs, more, err = s.List(t.Context(), "p", before, 2); err != nil {
				t.Fatal(err)
			}
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			before = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if jobs, _, err := s.List(t.Context(), "q", "", 9); len(jobs) != 0 || err != nil {
			t.Error(jobs, err)
		}
		for _, id := range []string{"", "x", want[0] + "x", "01KAD2T5M6F0Q9V3ZJ8Y4W7XHC"} {
			if _, err := s.Get(t.Context(), "p", id); task.CodeOf(err) != task.CodeNotFound {
				t.Errorf("%q: %v", id, err)
			}
		}
		if _, err := s.Get(t.Context(), "q", want[0]); task.CodeOf(err) != task.CodeNotFound {
			t.Error(err)
		}
		begin := time.Now()
		job := must[Job](t)(s.Wait(t.Context(), "p", want[0], time.Now().Add(10*time.Second)))
		if took := time.Since(begin); job.State != Running || took != 10*time.Second {
			t.Errorf("waited %s: %+v", took, job)
		}
	})
}

func TestFilter(t *testing.T) {
	if !(&Filter{}).Empty() || (&Filter{States: []task.State{task.Failed}}).Empty() || (&Filter{CreatedAfter: time.Now()}).Empty() {
		t.Error("empty")
	}
	for _, s := range task.States() {
		if Cancel.Takes(s) == s.Final() {
			t.Errorf("cancel of %s: %v", s, Cancel.Takes(s))
		}
		if want := s != task.Running && s != task.Awaiting && s != task.Queued; Retry.Takes(s) != want {
			t.Errorf("retry of %s: %v", s, Retry.Takes(s))
		}
	}
	end := time.Now()
	r := Request{Filter: Filter{CreatedBefore: end.Add(time.Hour)}}
	if q := r.query(end); !q.CreatedBefore.Equal(end) {
		t.Errorf("a bound after the job's begin holds: %v", q.CreatedBefore)
	}
	r.Filter.CreatedBefore = end.Add(-time.Hour)
	if q := r.query(end); !q.CreatedBefore.Equal(end.Add(-time.Hour)) {
		t.Errorf("the filter's own bound: %v", q.CreatedBefore)
	}
}
