package stats_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
)

func TestPercentileIsNearestRank(t *testing.T) {
	t.Parallel()
	ten := []int{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}
	for _, c := range []struct {
		sorted []int
		p      float64
		want   int
	}{
		{ten, 0, 10},
		{ten, 1, 10},
		{ten, 10, 10},
		{ten, 10.1, 20},
		{ten, 50, 50},
		{ten, 90, 90},
		{ten, 99, 100},
		{ten, 100, 100},
		{[]int{7}, 0, 7},
		{[]int{7}, 50, 7},
		{[]int{7}, 100, 7},
		{[]int{1, 2}, 50, 1},
		{[]int{1, 2}, 51, 2},
	} {
		if got := stats.Percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %v of %v: got %d, want %d", c.p, c.sorted, got, c.want)
		}
	}
}

// The definition itself, on random samples.
func TestPercentileKeepsItsDefinition(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		samples := make([]int, 1+rng.IntN(300))
		for i := range samples {
			samples[i] = rng.IntN(100)
		}
		slices.Sort(samples)
		p := rng.Float64() * 100
		got := stats.Percentile(samples, p)
		if share(samples, func(v int) bool { return v <= got }) < p-1e-9 {
			t.Fatalf("less than %v %% of %v are at most %d", p, samples, got)
		}
		if share(samples, func(v int) bool { return v < got }) >= p && got != samples[0] {
			t.Fatalf("%d is not the smallest for %v %% of %v", got, p, samples)
		}
	}
}

func share(v []int, ok func(int) bool) float64 {
	n := 0
	for _, x := range v {
		if ok(x) {
			n++
		}
	}
	return 100 * float64(n) / float64(len(v))
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	var samples []time.Duration
	for i := 100; i > 0; i-- {
		samples = append(samples, time.Duration(i)*time.Millisecond)
	}
	want := stats.Summary{N: 100, Mean: 50.5, P50: 50, P90: 90, P99: 99, Max: 100}
	if got := stats.Summarize(samples); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := stats.Summarize(nil); got != (stats.Summary{}) {
		t.Errorf("no samples: got %+v", got)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []float64
		want stats.Spread
	}{
		{nil, stats.Spread{}},
		{[]float64{3}, stats.Spread{Median: 3, Min: 3, Max: 3, N: 1}},
		{[]float64{3, 1}, stats.Spread{Median: 2, Min: 1, Max: 3, N: 2}},
		{[]float64{9, 1, 5}, stats.Spread{Median: 5, Min: 1, Max: 9, N: 3}},
	} {
		in := slices.Clone(c.in)
		if got := stats.SpreadOf(c.in); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.in, got, c.want)
		}
		if !slices.Equal(in, c.in) {
			t.Errorf("%v was reordered", in)
		}
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	s := stats.Schedule{Start: time.Unix(100, 0), Rate: 1000}
	for i, want := range map[int]time.Duration{0: 0, 1: time.Millisecond, 1500: 1500 * time.Millisecond} {
		if got := s.At(i).Sub(s.Start); got != want {
			t.Errorf("request %d is due after %v, want %v", i, got, want)
		}
	}
	for d, want := range map[time.Duration]int{0: 0, time.Second: 1000, 1500 * time.Microsecond: 2} {
		if got := s.Count(d); got != want {
			t.Errorf("%d requests in %v, want %d", got, d, want)
		}
	}
}

// A server that stalls for a second: a client that waits for each answer sees one slow request,
// the schedule shows the second to everyone who came in it.
func TestScheduleShowsAStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := stats.Schedule{Start: time.Now(), Rate: 100}
		stall := s.Start.Add(time.Second)
		serve := func() { // each answer takes 1 ms, but none leaves within the stall
			if now := time.Now(); !now.Before(stall) && now.Before(stall.Add(time.Second)) {
				time.Sleep(stall.Add(time.Second).Sub(now)) //nolint:forbidigo // virtual time
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // virtual time
		}
		var sinceDue, sinceSent []time.Duration
		for i := range s.Count(3 * time.Second) {
			time.Sleep(time.Until(s.At(i))) //nolint:forbidigo // virtual time
			sent := time.Now()
			serve() // one at a time: the worst that a generator can do
			sinceSent = append(sinceSent, time.Since(sent))
			sinceDue = append(sinceDue, time.Since(s.At(i)))
		}
		if got := stats.Summarize(sinceSent); got.P99 > 1 {
			t.Errorf("the naive p99 is %v ms: this test does not show what it should", got.P99)
		}
		got := stats.Summarize(sinceDue)
		if got.P99 < 900 || got.Max < 1000 || got.P50 > 100 {
			t.Errorf("latencies from the schedule hide the stall: %+v", got)
		}
	})
}
