package task

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Total() != 0 {
		t.Error("an empty histogram has quantiles")
	}
	for ms := range 1000 {
		h.Add(time.Duration(ms+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{
		0.001: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second,
	} {
		got := h.Quantile(q)
		if got < want-want/8 || got > want+want/8 {
			t.Errorf("quantile %g: %s, want %s to an eighth", q, got, want)
		}
	}
	h.Add(-time.Second)
	h.Add(time.Hour * 1000)
	if h.Total() != 1002 {
		t.Errorf("%d counted", h.Total())
	}
}

// Every duration falls into the bucket that reaches around it, and no bucket
// is wider than an eighth of it.
func TestHistogramBuckets(t *testing.T) {
	end := time.Duration(0)
	for i := range HistogramBuckets {
		from, to := bucket(i)
		if from != end || to <= from || bucketOf(from) != i || bucketOf(to-1) != i {
			t.Fatalf("bucket %d reaches from %s to %s, the one before to %s", i, from, to, end)
		}
		end = to
	}
	if end < MaxTimeout {
		t.Errorf("the last bucket ends at %s", end)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(MaxTimeout)).Draw(t, "d"))
		from, to := bucket(bucketOf(d))
		if d < from || d >= to || to-from > max(histogramUnit, d/perOctave+histogramUnit) {
			t.Fatalf("%s in %s to %s", d, from, to)
		}
	})
}

func TestHistogramAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Add(time.Second); _ = h.Quantile(0.99) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
