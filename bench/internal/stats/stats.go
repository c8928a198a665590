// Package stats holds the arithmetic of the bench: percentiles, the spread of repeated runs, and
// the schedule of an open-loop load.
package stats

import (
	"math"
	"slices"
	"time"
)

// Summary describes latencies, in milliseconds.
type Summary struct {
	N    int     `json:"n"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Summarize sorts samples and describes them. No sample gives the zero Summary.
func Summarize(samples []time.Duration) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	slices.Sort(samples)
	var sum time.Duration
	for _, s := range samples {
		sum += s
	}
	return Summary{
		N: len(samples), Mean: Millis(sum) / float64(len(samples)),
		P50: Millis(Percentile(samples, 50)), P90: Millis(Percentile(samples, 90)),
		P99: Millis(Percentile(samples, 99)), Max: Millis(samples[len(samples)-1]),
	}
}

// Percentile is the nearest-rank percentile: the smallest sample that at least p percent of all
// samples do not exceed. It is always a sample that occurred, never one in between. sorted must
// be sorted and not empty; p is from 0 to 100.
func Percentile[T any](sorted []T, p float64) T {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Millis is d in milliseconds.
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Spread is a figure of repeated runs.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// SpreadOf describes the runs' values; the median of an even number is the mean of the middle
// two. No value gives the zero Spread.
func SpreadOf(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1], N: n}
}

// Schedule says when each request of an open-loop load is due. Latency counts from then, whenever
// it was really sent: a load generator that waits for a slow answer, or that comes late itself,
// must not hide the wait from the figures (coordinated omission).
type Schedule struct {
	Start time.Time
	Rate  float64 // per second
}

// At is when request i, from 0, is due.
func (s Schedule) At(i int) time.Time {
	return s.Start.Add(time.Duration(float64(i) / s.Rate * float64(time.Second)))
}

// Count is how many requests are due before d has passed.
func (s Schedule) Count(d time.Duration) int { return int(math.Ceil(d.Seconds() * s.Rate)) }
