package task_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/task"
)

func TestRateTake(t *testing.T) {
	start := time.Unix(1000, 0)
	r := task.Rate{PerSecond: 10, Burst: 5}
	full := time.Time{}
	for i, c := range []struct {
		after time.Duration
		want  int
		got   task.Taken
	}{
		{0, 3, task.Taken{N: 3, Left: 2}},
		{0, 5, task.Taken{N: 2, Wait: 100 * time.Millisecond}},
		{0, 1, task.Taken{Wait: 100 * time.Millisecond}},
		{60 * time.Millisecond, 1, task.Taken{Wait: 40 * time.Millisecond}},
		{40 * time.Millisecond, 1, task.Taken{N: 1, Wait: 100 * time.Millisecond}},
		{300 * time.Millisecond, 0, task.Taken{Left: 3}},
		{time.Hour, 9, task.Taken{N: 5, Wait: 100 * time.Millisecond}},
	} {
		start = start.Add(c.after)
		var got task.Taken
		if got, full = r.Take(full, start, c.want); got != c.got {
			t.Errorf("step %d: %+v, want %+v", i, got, c.got)
		}
	}
}

// However it is asked, in no stretch of time more is given than the burst and
// the rate; and who waits as long as told gets one.
func TestRateTakeNeverTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := task.Rate{
			PerSecond: rapid.Float64Range(task.MinPerSecond, task.MaxPerSecond).Draw(t, "per second"),
			Burst:     rapid.IntRange(1, 1000).Draw(t, "burst"),
		}
		begin := time.Unix(1_700_000_000, 0)
		now, full, total := begin, time.Time{}, 0
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*r.Window())).Draw(t, "pause")))
			var got task.Taken
			got, full = r.Take(full, now, rapid.IntRange(0, 2000).Draw(t, "want"))
			total += got.N
			if most := float64(r.Burst) + now.Sub(begin).Seconds()*r.PerSecond + 1; float64(total) > most {
				t.Fatalf("%d in %s, at most %f", total, now.Sub(begin), most)
			}
			if got.Left == 0 {
				if next, _ := r.Take(full, now.Add(got.Wait+time.Microsecond), 1); next.N != 1 {
					t.Fatalf("none after the wait: %+v then %+v", got, next)
				}
			}
		}
	})
}

func TestRateWithin(t *testing.T) {
	r := func(perSecond float64, burst int) task.Rate { return task.Rate{PerSecond: perSecond, Burst: burst} }
	for _, c := range []struct {
		r, limit task.Rate
		ok       bool
	}{
		{r(0, 0), r(0, 0), true},
		{r(1, 1), r(0, 0), true},
		{r(0, 0), r(1, 1), false},
		{r(1, 1), r(1, 1), true},
		{r(2, 1), r(1, 1), false},
		{r(1, 2), r(1, 1), false},
	} {
		if c.r.Within(c.limit) != c.ok {
			t.Errorf("%v within %v: %v", c.r, c.limit, !c.ok)
		}
	}
	if got := r(10, 0).WithBurst(); got != r(10, 20) {
		t.Errorf("default burst: %v", got)
	}
	if got := r(10, 3).Part(4); got != r(2.5, 1) {
		t.Errorf("a part: %v", got)
	}
}

func TestQuotasOr(t *testing.T) {
	d := task.Quotas{Rate: task.Rate{PerSecond: 1, Burst: 2}, WaitingTasks: 3, PayloadBytes: 4}
	if got := (task.Quotas{}).Or(d); got != d {
		t.Errorf("%+v", got)
	}
	own := task.Quotas{Rate: task.Rate{PerSecond: 9, Burst: 9}, WaitingTasks: 9, PayloadBytes: 9}
	if got := own.Or(d); got != own {
		t.Errorf("%+v", got)
	}
}
