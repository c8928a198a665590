package task

import (
	"strconv"
	"time"
)

// Defaults and bounds of an endpoint's circuit breaker.
const (
	DefaultFailureRatio    = 0.8
	DefaultBreakerAttempts = 20
	DefaultBreakerWindow   = time.Minute
	DefaultCoolDown        = 30 * time.Second
	MaxBreakerAttempts     = 10_000
	MinBreakerWindow       = time.Second
	MaxBreakerWindow       = time.Hour
	MinCoolDown            = time.Second
	MaxCoolDown            = time.Hour
	// MostReceiverCoolDown is the longest pause of a callback's receiver.
	MostReceiverCoolDown = 15 * time.Minute
	// LongestThrottle bounds for how long one answer may hold a whole
	// endpoint: what it says is about one request, and the next may fare
	// better.
	LongestThrottle = time.Minute
	// ThrottleAnswers is how many answers in a row must ask for a pause before
	// the whole endpoint gets it: one may be about its task alone.
	ThrottleAnswers = 5
)

// CircuitBreaker is an endpoint's breaker as its user wrote it: absent fields
// are defaults.
type CircuitBreaker struct {
	Off          bool      `json:"off,omitempty"`
	FailureRatio *float64  `json:"failure_ratio,omitempty"`
	MinAttempts  *int      `json:"min_attempts,omitempty"`
	Window       *Duration `json:"window,omitempty"`
	CoolDown     *Duration `json:"cool_down,omitempty"`
}

// BreakerPolicy is a breaker with every field decided.
type BreakerPolicy struct {
	// Off: failures never open the circuit. A target that asks for a pause
	// gets it all the same.
	Off bool
	// The circuit opens when of at least MinAttempts that ended within the
	// Window the share FailureRatio failed, or when MinAttempts in a row
	// failed, however long they took.
	FailureRatio float64
	MinAttempts  int
	Window       time.Duration
	// CoolDown is the pause before each probe. It is doubled after each probe
	// that failed, up to MostCoolDown if that is longer.
	CoolDown, MostCoolDown time.Duration
}

// DefaultBreaker is what an endpoint has that says nothing about it.
func DefaultBreaker() BreakerPolicy {
	return BreakerPolicy{
		FailureRatio: DefaultFailureRatio, MinAttempts: DefaultBreakerAttempts,
		Window: DefaultBreakerWindow, CoolDown: DefaultCoolDown,
	}
}

// With lays c over p.
func (p BreakerPolicy) With(c *CircuitBreaker) BreakerPolicy {
	if c == nil {
		return p
	}
	p.Off = c.Off
	set(&p.FailureRatio, c.FailureRatio)
	set(&p.MinAttempts, c.MinAttempts)
	setDuration(&p.Window, c.Window)
	setDuration(&p.CoolDown, c.CoolDown)
	return p
}

// Clone shares nothing with c.
func (c *CircuitBreaker) Clone() *CircuitBreaker {
	if c == nil {
		return nil
	}
	out := *c
	out.FailureRatio, out.MinAttempts = clonePointer(c.FailureRatio), clonePointer(c.MinAttempts)
	out.Window, out.CoolDown = clonePointer(c.Window), clonePointer(c.CoolDown)
	return &out
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// Validate returns what is wrong with c; pointers are below at.
func (c *CircuitBreaker) Validate(at string) []Fault {
	if c == nil {
		return nil
	}
	var fs []Fault
	check := func(ok bool, field, detail string) {
		if !ok {
			fs = append(fs, Fault{at + "/" + field, detail})
		}
	}
	between := func(d *Duration, low, high time.Duration) bool { return d == nil || d.Std() >= low && d.Std() <= high }
	check(c.FailureRatio == nil || *c.FailureRatio > 0 && *c.FailureRatio <= 1, "failure_ratio", "must be more than 0 and at most 1")
	check(c.MinAttempts == nil || *c.MinAttempts >= 1 && *c.MinAttempts <= MaxBreakerAttempts,
		"min_attempts", "must be from 1 to "+strconv.Itoa(MaxBreakerAttempts))
	check(between(c.Window, MinBreakerWindow, MaxBreakerWindow), "window", fromTo(MinBreakerWindow, MaxBreakerWindow))
	check(between(c.CoolDown, MinCoolDown, MaxCoolDown), "cool_down", fromTo(MinCoolDown, MaxCoolDown))
	return fs
}

func fromTo(low, high time.Duration) string {
	return "must be from " + Duration(low).String() + " to " + Duration(high).String()
}

// Health is what an attempt says of its target.
type Health int

// The healths.
const (
	// HealthUnknown: nothing. It was interrupted by us, never sent, or the
	// target made a decision about this one task.
	HealthUnknown Health = iota
	// HealthWell: it answers.
	HealthWell
	// HealthIll: it cannot be reached, does not answer, or answers 5xx.
	HealthIll
	// HealthThrottled: it asks for a pause.
	HealthThrottled
)

// Health says what the attempt says of its target. A refusal (4xx) is a sign
// of life. What is refused by us (a blocked address) or by a policy
// (fail_on, Taskgate-Retry: never) says nothing.
func (o *Outcome) Health() Health {
	switch o.Kind {
	case KindSuccess, KindGone:
		return HealthWell
	case KindPostpone:
		return HealthThrottled
	case KindRefuse:
		if o.Status != 0 && o.Status < firstServerError {
			return HealthWell
		}
	case KindRetry:
		return retryHealth(o)
	case KindInterrupted:
	}
	return HealthUnknown
}

const firstServerError = 500

func retryHealth(o *Outcome) Health {
	switch o.Reason {
	case ReasonTimeout, ReasonConnect, ReasonDNS, ReasonTLS, ReasonProtocol, ReasonTargetAuth, ReasonHandler5xx:
		return HealthIll
	case ReasonHandler4xx, ReasonRedirect:
		return HealthWell
	default:
		return HealthUnknown // 429 without a time; a fault of ours
	}
}

// CircuitState says whether a target is called.
type CircuitState string

// The states of a circuit.
const (
	CircuitClosed   CircuitState = "closed"    // it is
	CircuitOpen     CircuitState = "open"      // it is not
	CircuitHalfOpen CircuitState = "half_open" // with one task, to see
)

// Circuit is where a breaker stands, as dispatchers tell each other. The zero
// value is closed.
type Circuit struct {
	State CircuitState `json:"state"`
	// Reason is why it opened last.
	Reason Reason `json:"reason,omitempty"`
	// Since is when it left Closed, At when it changed last.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Next is when a probe may begin, while open.
	Next time.Time `json:"next"`
	// Probes counts those that failed since it left Closed.
	Probes int `json:"probes,omitempty"`
	// Prober is the dispatcher that may probe, until Until, while half open.
	Prober string    `json:"prober,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// StoredCircuit is a circuit with the version of what is stored; 0: nothing
// is, and it is closed.
type StoredCircuit struct {
	Circuit
	Version int64
}

// Closed reports whether the target is called.
func (c *Circuit) Closed() bool { return c.State == CircuitClosed || c.State == "" }

// ProbedBy reports whether the owner may probe.
func (c *Circuit) ProbedBy(owner string) bool { return c.State == CircuitHalfOpen && c.Prober == owner }

// Due reports whether somebody may begin to probe.
func (c *Circuit) Due(now time.Time) bool {
	switch c.State {
	case CircuitOpen:
		return !now.Before(c.Next)
	case CircuitHalfOpen:
		return !now.Before(c.Until) // its prober is gone
	case CircuitClosed:
	}
	return false
}

// Claimed is the circuit with the owner as its prober.
func (c Circuit) Claimed(owner string, now, until time.Time) Circuit {
	if c.State != CircuitHalfOpen {
		c.At = now
	}
	c.State, c.Prober, c.Until = CircuitHalfOpen, owner, until
	return c
}

// Returned is the circuit whose prober gave up without a probe.
func (c Circuit) Returned(now time.Time) Circuit {
	c.State, c.Prober, c.Until, c.At, c.Next = CircuitOpen, "", time.Time{}, now, now
	return c
}

// opened is the circuit after a failure.
func (c Circuit) opened(why Reason, now, next time.Time) Circuit {
	if c.Closed() {
		c.Since, c.Probes = now, 0
	} else {
		c.Probes++
	}
	c.State, c.Reason, c.At, c.Next, c.Prober, c.Until = CircuitOpen, why, now, next, "", time.Time{}
	return c
}

// Breaker watches the attempts at one target. It is a value without a clock
// or a lock: its owner has both. The zero value is closed.
type Breaker struct {
	Circuit

	recent attemptWindow
	// In a row: attempts that failed, answers that asked for a pause.
	failing, throttled int
}

// Ended notes an attempt and reports whether the circuit changed. probe says
// that it was the one allowed while half open; what began before the circuit
// opened changes nothing any more.
func (b *Breaker) Ended(p BreakerPolicy, o *Outcome, probe bool, now time.Time) (changed bool) {
	switch {
	case b.Closed():
		return b.watch(p, o, now)
	case b.State == CircuitHalfOpen && probe:
		b.judge(p, o, now)
		return true
	}
	return false
}

// watch notes an attempt while closed.
func (b *Breaker) watch(p BreakerPolicy, o *Outcome, now time.Time) (opened bool) {
	switch o.Health() {
	case HealthThrottled:
		if b.throttled++; b.throttled >= ThrottleAnswers {
			b.open(o.Reason, now, now.Add(throttle(o)))
			return true
		}
	case HealthWell:
		b.failing, b.throttled = 0, 0
		b.recent.add(p.Window, now, false)
	case HealthIll:
		b.throttled = 0
		b.failing++
		b.recent.add(p.Window, now, true)
		all, ill := b.recent.sum(p.Window, now)
		often := all >= p.MinAttempts && float64(ill) >= p.FailureRatio*float64(all)
		if !p.Off && (often || b.failing >= p.MinAttempts) {
			b.open(o.Reason, now, now.Add(p.CoolDown))
			return true
		}
	case HealthUnknown:
	}
	return false
}

// judge ends a probe. One that says nothing is followed by another. A pause
// that was asked for is over with any other answer, and what that is counts as
// ever.
func (b *Breaker) judge(p BreakerPolicy, o *Outcome, now time.Time) {
	h := o.Health()
	if b.Reason == ReasonThrottled && h != HealthThrottled {
		b.Close()
		b.watch(p, o, now)
		return
	}
	switch h {
	case HealthWell:
		b.Close()
	case HealthThrottled:
		b.open(o.Reason, now, now.Add(throttle(o)))
	case HealthIll:
		b.open(o.Reason, now, now.Add(p.after(b.Probes+1)))
	case HealthUnknown:
		b.open(b.Reason, now, now.Add(p.after(b.Probes)))
	}
}

// after is the pause after so many failed probes.
func (p BreakerPolicy) after(probes int) time.Duration {
	const doublings = 12
	if d := p.CoolDown << min(probes, doublings); p.MostCoolDown > p.CoolDown {
		return min(d, p.MostCoolDown)
	}
	return p.CoolDown
}

// throttle is the pause that an answer asks for, within reason.
func throttle(o *Outcome) time.Duration { return min(max(o.RetryAfter, minPostpone), LongestThrottle) }

func (b *Breaker) open(why Reason, now, next time.Time) {
	*b = Breaker{Circuit: b.opened(why, now, next)}
}

// Close forgets everything.
func (b *Breaker) Close() { *b = Breaker{} }

// Idle reports whether forgetting the breaker makes no difference.
func (b *Breaker) Idle(p BreakerPolicy, now time.Time) bool {
	return b.Closed() && b.failing == 0 && b.throttled == 0 && !b.Busy(p, now)
}

// Busy reports whether attempts ended within the window.
func (b *Breaker) Busy(p BreakerPolicy, now time.Time) bool {
	all, _ := b.recent.sum(p.Window, now)
	return all > 0
}

const windowParts = 10

// attemptWindow counts attempts of the last while, to a tenth of it.
type attemptWindow [windowParts]struct {
	part     int64 // which tenth since the epoch
	all, ill int
}

func partOf(window time.Duration, now time.Time) int64 {
	return now.UnixMilli() / max((window/windowParts).Milliseconds(), 1)
}

func (w *attemptWindow) add(window time.Duration, now time.Time, ill bool) {
	n := partOf(window, now)
	p := &w[n%windowParts]
	if p.part != n {
		p.part, p.all, p.ill = n, 0, 0
	}
	p.all++
	if ill {
		p.ill++
	}
}

func (w *attemptWindow) sum(window time.Duration, now time.Time) (all, ill int) {
	n := partOf(window, now)
	for i := range w {
		if w[i].part > n-windowParts && w[i].part <= n {
			all += w[i].all
			ill += w[i].ill
		}
	}
	return all, ill
}
