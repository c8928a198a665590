package task

import (
	"math"
	"math/bits"
	"time"
)

// HistogramBuckets is how many buckets a [Histogram] has: enough for the
// longest attempt there can be.
const HistogramBuckets = 176

const (
	histogramUnit = 100 * time.Microsecond
	// Each power of two has so many buckets: a duration is known to an eighth.
	perOctave     = 8
	perOctaveBits = 4 // of the values from perOctave to 2·perOctave-1
)

// Histogram counts durations in buckets that grow with them. The zero value
// is empty.
type Histogram [HistogramBuckets]int64

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) { h[bucketOf(d)]++ }

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0) / histogramUnit)
	if v < perOctave {
		return int(v)
	}
	e := bits.Len64(v) - perOctaveBits
	return min(e*perOctave+int(v>>e), HistogramBuckets-1)
}

// bucket returns from where to where a bucket reaches.
func bucket(i int) (from, to time.Duration) {
	if i < perOctave {
		return time.Duration(i) * histogramUnit, time.Duration(i+1) * histogramUnit
	}
	e, m := i/perOctave-1, i%perOctave+perOctave
	return time.Duration(m) << e * histogramUnit, time.Duration(m+1) << e * histogramUnit
}

// Total is how many durations were counted.
func (h *Histogram) Total() int64 {
	var n int64
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile is the duration that the share q of all do not exceed, to an
// eighth; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(int64(math.Ceil(q*float64(h.Total()))), 1)
	for i, c := range h {
		if rank > c {
			rank -= c
			continue
		}
		from, to := bucket(i)
		return from + time.Duration(float64(to-from)*float64(rank)/float64(c))
	}
	return 0
}

// Tally is what attempts came to.
type Tally struct {
	// Succeeded were answered 2xx.
	Succeeded int64
	// Took counts how long each took, whatever came of it. Attempts that we
	// interrupted ourselves are not in it.
	Took Histogram
	// InFlight is how many run now.
	InFlight int
}

// EndpointTally is what one process counted of an endpoint since it last told.
type EndpointTally struct {
	Endpoint EndpointID
	Tally
}

// Figures are an endpoint's figures over the last minutes, of all processes.
type Figures struct {
	Tally
	Over time.Duration
}
