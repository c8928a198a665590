package task

import (
	"math"
	"time"
)

// Rate is a limit of how often something may happen: so many a second in the
// long run, and a burst of them after a pause.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
}

// Bounds of a [Rate]. A microsecond, in which stores count, is short beside
// the time between two at the highest.
const (
	MinPerSecond = 0.01
	MaxPerSecond = 100_000
	MaxBurst     = 100_000
)

// burstSeconds: without a burst of its own, a rate allows this many seconds'
// worth at once.
const burstSeconds = 2

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r.PerSecond <= 0 }

// WithBurst fills in the burst that was not given.
func (r Rate) WithBurst() Rate {
	if r.Burst <= 0 {
		r.Burst = min(MaxBurst, max(1, int(math.Ceil(burstSeconds*r.PerSecond))))
	}
	return r
}

// Within reports whether r allows no more than limit does, at any time. No
// limit is within none.
func (r Rate) Within(limit Rate) bool {
	switch {
	case limit.IsZero():
		return true
	case r.IsZero():
		return false
	}
	return r.PerSecond <= limit.PerSecond && r.Burst <= limit.Burst
}

// Part is r's part for one of n.
func (r Rate) Part(n int) Rate {
	n = max(1, n)
	return Rate{PerSecond: r.PerSecond / float64(n), Burst: max(1, r.Burst/n)}
}

// Interval is the time in which one more is allowed.
func (r Rate) Interval() time.Duration {
	return time.Duration(float64(time.Second) / r.PerSecond)
}

// Window is the time in which the whole burst is allowed again.
func (r Rate) Window() time.Duration {
	return time.Duration(float64(r.Burst) / r.PerSecond * float64(time.Second))
}

// Taken is what was got of a rate.
type Taken struct {
	N    int // how many of those asked for
	Left int // that could be taken now
	// Wait is the time until the next one; 0 when some are left.
	Wait time.Duration
}

// Take takes up to want at now, by the generic cell rate algorithm: full is
// when the whole burst is there again, all that is kept of a rate; with another
// rate than before, what is missing is at most its whole burst. It returns the
// next full.
func (r Rate) Take(full, now time.Time, want int) (Taken, time.Time) {
	if full.Before(now) {
		full = now
	}
	if emptied := now.Add(r.Window()); full.After(emptied) {
		full = emptied
	}
	free := r.Window() - full.Sub(now)
	here := max(0, int(float64(free)/float64(time.Second)*r.PerSecond+slackOfOne))
	n := max(0, min(want, here))
	full = full.Add(time.Duration(float64(n) / r.PerSecond * float64(time.Second)))
	out := Taken{N: n, Left: here - n}
	if out.Left == 0 {
		out.Wait = max(0, full.Sub(now)-r.Window()+r.Interval())
	}
	return out, full
}

// slackOfOne keeps the rounding of times from costing one of the burst.
const slackOfOne = 1e-3

// Quotas are what a project may use. The zero value of each is "the
// installation's".
type Quotas struct {
	// Rate is how many tasks may come in.
	Rate Rate `json:"rate,omitzero"`
	// WaitingTasks bounds the tasks that have not ended.
	WaitingTasks int64 `json:"waiting_tasks,omitempty"`
	// PayloadBytes bounds the bytes of their payloads, and of those that are
	// kept for failed tasks: see [Quotas.KeptBytes].
	PayloadBytes int64 `json:"payload_bytes,omitempty"`
}

// Or takes from d what q does not say.
func (q Quotas) Or(d Quotas) Quotas {
	if q.Rate.IsZero() {
		q.Rate = d.Rate
	}
	if q.WaitingTasks == 0 {
		q.WaitingTasks = d.WaitingTasks
	}
	if q.PayloadBytes == 0 {
		q.PayloadBytes = d.PayloadBytes
	}
	return q
}

// KeptBytes is how much of PayloadBytes the payloads of failed tasks may
// take: they stay for days, and must not keep the project from submitting.
func (q Quotas) KeptBytes() int64 { return q.PayloadBytes / 2 }

// Usage is what a project uses of its quotas.
type Usage struct {
	WaitingTasks int64 // that have not ended
	WaitingBytes int64 // of their payloads
	KeptBytes    int64 // of payloads kept for failed tasks
}

// Bytes is what counts against [Quotas.PayloadBytes].
func (u Usage) Bytes() int64 { return u.WaitingBytes + u.KeptBytes }

// Add is the sum of both.
func (u Usage) Add(v Usage) Usage {
	return Usage{u.WaitingTasks + v.WaitingTasks, u.WaitingBytes + v.WaitingBytes, u.KeptBytes + v.KeptBytes}
}

// RateAsk is what one process asks of a rate that all share.
type RateAsk struct {
	Name string
	Rate Rate
	Want int
}
