package task

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Defaults and bounds of an endpoint's policy.
const (
	DefaultTimeout     = 30 * time.Second
	MaxTimeout         = 25 * time.Minute // RabbitMQ's default consumer timeout is 30
	MinTimeout         = 100 * time.Millisecond
	DefaultMaxAttempts = 10
	MaxMaxAttempts     = 1000
	DefaultMinBackoff  = 5 * time.Second
	DefaultMaxBackoff  = 6 * time.Hour
	DefaultMultiplier  = 4.0
	DefaultJitter      = 1.0
	DefaultMaxAge      = 3 * day
	LongestBackoff     = 30 * day
	LongestMaxAge      = 365 * day
	MaxScheduleLen     = 100
	DefaultResultTTL   = 24 * time.Hour
	MaxResultTTL       = 30 * day
	MinResultTTL       = time.Second
	MaxDelay           = 365 * day
	DefaultResultBytes = 1 << 20
	// MaxSuspects is how many times in a row a task may lose its worker
	// before it is taken for the cause.
	MaxSuspects = 5
	// LeaseSlack is how long past its timeout an attempt's lease may live.
	LeaseSlack = 15 * time.Second
)

// Retry is the retry policy as its user wrote it: absent fields fall back to
// the endpoint's policy, then to the defaults.
type Retry struct {
	MaxAttempts *int       `json:"max_attempts,omitempty"`
	MinBackoff  *Duration  `json:"min_backoff,omitempty"`
	MaxBackoff  *Duration  `json:"max_backoff,omitempty"`
	Multiplier  *float64   `json:"multiplier,omitempty"`
	Jitter      *float64   `json:"jitter,omitempty"` // 0 none … 1 full
	MaxAge      *Duration  `json:"max_age,omitempty"`
	Schedule    []Duration `json:"schedule,omitempty"`
	RetryOn     StatusSet  `json:"retry_on,omitempty"`
	FailOn      StatusSet  `json:"fail_on,omitempty"`
}

// Policy is a retry policy with every field decided.
type Policy struct {
	MaxAttempts int
	MinBackoff  time.Duration
	MaxBackoff  time.Duration
	Multiplier  float64
	Jitter      float64
	// MaxAge bounds the time between the begins of a generation's first and
	// last attempts.
	MaxAge   time.Duration
	Schedule []time.Duration
	RetryOn  StatusSet
	FailOn   StatusSet
}

// DefaultPolicy is ten attempts over about a day.
func DefaultPolicy() Policy {
	return Policy{
		MaxAttempts: DefaultMaxAttempts,
		MinBackoff:  DefaultMinBackoff,
		MaxBackoff:  DefaultMaxBackoff,
		Multiplier:  DefaultMultiplier,
		Jitter:      DefaultJitter,
		MaxAge:      DefaultMaxAge,
	}
}

// With lays r over p. A schedule without a number of attempts allows one
// attempt more than it has delays.
func (p Policy) With(r *Retry) Policy {
	if r == nil {
		return p
	}
	set(&p.MaxAttempts, r.MaxAttempts)
	setDuration(&p.MinBackoff, r.MinBackoff)
	setDuration(&p.MaxBackoff, r.MaxBackoff)
	set(&p.Multiplier, r.Multiplier)
	set(&p.Jitter, r.Jitter)
	setDuration(&p.MaxAge, r.MaxAge)
	if r.Schedule != nil {
		p.Schedule = make([]time.Duration, len(r.Schedule))
		for i, d := range r.Schedule {
			p.Schedule[i] = d.Std()
		}
		if r.MaxAttempts == nil && len(p.Schedule) > 0 {
			p.MaxAttempts = len(p.Schedule) + 1
		}
	}
	if r.RetryOn != nil {
		p.RetryOn = r.RetryOn
	}
	if r.FailOn != nil {
		p.FailOn = r.FailOn
	}
	return p
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

func setDuration(dst *time.Duration, src *Duration) {
	if src != nil {
		*dst = src.Std()
	}
}

// Backoff is the delay after the used-th counted attempt (from 1). rnd in
// [0,1) draws the jitter: a delay d becomes a value in (d·(1-jitter), d]. A
// fixed schedule has no jitter; its last delay repeats.
func (p Policy) Backoff(used int, rnd float64) time.Duration {
	used = max(used, 1)
	if n := len(p.Schedule); n > 0 {
		return p.Schedule[min(used, n)-1]
	}
	d := float64(p.MinBackoff) * math.Pow(math.Max(p.Multiplier, 1), float64(used-1))
	d = math.Min(d, float64(p.MaxBackoff))
	return time.Duration(d * (1 - p.Jitter*rnd))
}

// Validate returns what is wrong with r; pointers are below at.
func (r *Retry) Validate(at string) []Fault {
	if r == nil {
		return nil
	}
	var fs []Fault
	check := func(ok bool, field, detail string) {
		if !ok {
			fs = append(fs, Fault{at + "/" + field, detail})
		}
	}
	within := func(p *float64, low, high float64) bool { return p == nil || *p >= low && *p <= high } // NaN is not
	check(r.MaxAttempts == nil || *r.MaxAttempts >= 1 && *r.MaxAttempts <= MaxMaxAttempts,
		"max_attempts", "must be from 1 to "+strconv.Itoa(MaxMaxAttempts))
	check(r.MinBackoff.within(LongestBackoff), "min_backoff", atMost(LongestBackoff))
	check(r.MaxBackoff.within(LongestBackoff), "max_backoff", atMost(LongestBackoff))
	check(r.MinBackoff == nil || r.MaxBackoff == nil || *r.MinBackoff <= *r.MaxBackoff,
		"min_backoff", "must not exceed max_backoff")
	check(within(r.Multiplier, 1, maxMultiplier), "multiplier", "must be from 1 to "+strconv.Itoa(maxMultiplier))
	check(within(r.Jitter, 0, 1), "jitter", "must be from 0 to 1")
	check(r.MaxAge.within(LongestMaxAge) && (r.MaxAge == nil || *r.MaxAge > 0),
		"max_age", "must be more than 0 and at most "+Duration(LongestMaxAge).String())
	check(len(r.Schedule) <= MaxScheduleLen, "schedule", "must have at most "+strconv.Itoa(MaxScheduleLen)+" delays")
	for i, d := range r.Schedule {
		check(d.within(LongestBackoff), "schedule/"+strconv.Itoa(i), atMost(LongestBackoff))
	}
	fs = append(fs, r.RetryOn.validate(at+"/retry_on")...)
	return append(fs, r.FailOn.validate(at+"/fail_on")...)
}

const maxMultiplier = 100

func atMost(d time.Duration) string { return "must be at most " + Duration(d).String() }

// within reports whether d is absent, or from 0 to limit.
func (d *Duration) within(limit time.Duration) bool { return d == nil || *d >= 0 && d.Std() <= limit }

func (s StatusSet) validate(at string) []Fault {
	var fs []Fault
	for i, expr := range s {
		if _, _, err := parseStatusRange(expr); err != nil {
			fs = append(fs, Fault{at + "/" + strconv.Itoa(i), err.Error()})
		}
	}
	return fs
}

// StatusSet is a list of status expressions: "409", "500-599".
type StatusSet []string

var errStatus = errors.New(`must be an HTTP status or a range such as "409" or "500-599"`)

// Contains reports whether the set names the status. Malformed expressions
// name nothing: they were refused when the policy was given.
func (s StatusSet) Contains(status int) bool {
	for _, expr := range s {
		lo, hi, err := parseStatusRange(expr)
		if err == nil && lo <= status && status <= hi {
			return true
		}
	}
	return false
}

func parseStatusRange(expr string) (lo, hi int, err error) {
	a, b, ranged := strings.Cut(expr, "-")
	if !ranged {
		b = a
	}
	if lo, err = parseStatus(a); err != nil {
		return 0, 0, err
	}
	if hi, err = parseStatus(b); err != nil {
		return 0, 0, err
	}
	if lo > hi {
		return 0, 0, errStatus
	}
	return lo, hi, nil
}

func parseStatus(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < 100 || n > 599 {
		return 0, errStatus
	}
	return n, nil
}
