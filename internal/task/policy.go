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
	// MaxAge bounds the time between a generation's first due moment and the
	// begin of its last attempt.
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
	bad := func(field, detail string) { fs = append(fs, Fault{at + "/" + field, detail}) }
	if r.MaxAttempts != nil && (*r.MaxAttempts < 1 || *r.MaxAttempts > MaxMaxAttempts) {
		bad("max_attempts", "must be from 1 to "+strconv.Itoa(MaxMaxAttempts))
	}
	for name, d := range map[string]*Duration{"min_backoff": r.MinBackoff, "max_backoff": r.MaxBackoff} {
		if d != nil && (d.Std() < 0 || d.Std() > LongestBackoff) {
			bad(name, "must be at most "+Duration(LongestBackoff).String())
		}
	}
	if r.MinBackoff != nil && r.MaxBackoff != nil && *r.MinBackoff > *r.MaxBackoff {
		bad("min_backoff", "must not exceed max_backoff")
	}
	if r.Multiplier != nil && (*r.Multiplier < 1 || *r.Multiplier > 100 || math.IsNaN(*r.Multiplier)) {
		bad("multiplier", "must be from 1 to 100")
	}
	if r.Jitter != nil && (*r.Jitter < 0 || *r.Jitter > 1 || math.IsNaN(*r.Jitter)) {
		bad("jitter", "must be from 0 to 1")
	}
	if r.MaxAge != nil && (*r.MaxAge <= 0 || r.MaxAge.Std() > LongestMaxAge) {
		bad("max_age", "must be more than 0 and at most "+Duration(LongestMaxAge).String())
	}
	if len(r.Schedule) > MaxScheduleLen {
		bad("schedule", "must have at most "+strconv.Itoa(MaxScheduleLen)+" delays")
	}
	for i, d := range r.Schedule {
		if d.Std() > LongestBackoff {
			bad("schedule/"+strconv.Itoa(i), "must be at most "+Duration(LongestBackoff).String())
		}
	}
	for name, set := range map[string]StatusSet{"retry_on": r.RetryOn, "fail_on": r.FailOn} {
		for i, expr := range set {
			if _, _, err := parseStatusRange(expr); err != nil {
				bad(name+"/"+strconv.Itoa(i), err.Error())
			}
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
