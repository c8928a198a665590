package task

import "time"

// Kind says what an attempt's outcome means for its task.
type Kind string

// The kinds of outcome.
const (
	// KindSuccess: the handler answered 2xx.
	KindSuccess Kind = "success"
	// KindRetry: try again by the policy; counts against max_attempts.
	KindRetry Kind = "retry"
	// KindPostpone: the handler named the time (Retry-After); does not count.
	KindPostpone Kind = "postpone"
	// KindRefuse: never try again.
	KindRefuse Kind = "refuse"
	// KindGone: refused, and the endpoint is to be disabled.
	KindGone Kind = "gone"
	// KindInterrupted: our own shutdown ended the attempt; does not count, and
	// never fails the task.
	KindInterrupted Kind = "interrupted"
)

// Kinds lists every kind of outcome.
func Kinds() []Kind {
	return []Kind{KindSuccess, KindRetry, KindPostpone, KindRefuse, KindGone, KindInterrupted}
}

// Outcome is what one attempt came to.
type Outcome struct {
	Kind   Kind
	Reason Reason
	Status int // of the answer, 0 without one
	// RetryAfter is what the handler asked for, with KindPostpone.
	RetryAfter time.Duration
	// Unanswered: the request may have reached the handler, and its answer
	// is not known.
	Unanswered bool
	Result     *Result // with KindSuccess
	Answer     []byte  // the answer's first bytes, at most MaxAnswerKept
	Took       time.Duration
}

// Decision is what becomes of a task after an attempt.
type Decision struct {
	State  State
	Reason Reason
	Status int
	// At is the next attempt's time, with Retrying.
	At   time.Time
	Used int
	// Suspect: this attempt may have reached the handler unanswered.
	Suspect bool
	// DisableEndpoint: the handler said 410.
	DisableEndpoint bool
}

// minPostpone keeps a handler that says "Retry-After: 0" from being hammered.
const minPostpone = time.Second

// Decide says what becomes of a task whose attempt came to o. r is the
// running record; rnd in [0,1) draws the jitter.
func Decide(p Policy, r *Record, o Outcome, now time.Time, rnd float64) Decision {
	d := Decision{Status: o.Status, Used: r.Used + 1, Suspect: o.Unanswered}
	fail := func(why Reason) Decision {
		d.State, d.Reason = Failed, why
		return d
	}
	var wait time.Duration
	switch o.Kind {
	case KindSuccess:
		d.State = Succeeded
		return d
	case KindRefuse:
		return fail(o.Reason)
	case KindGone:
		d.DisableEndpoint = true
		return fail(o.Reason)
	case KindPostpone:
		d.Used = r.Used
		wait = max(o.RetryAfter, minPostpone)
	case KindInterrupted:
		d.Used = r.Used
	case KindRetry:
		if d.Used >= p.MaxAttempts {
			return fail(ReasonAttemptsExhausted)
		}
		wait = p.Backoff(d.Used, rnd)
	default:
		return fail(ReasonInternal)
	}
	d.At = now.Add(wait)
	if o.Kind != KindInterrupted && p.MaxAge > 0 && d.At.After(r.Born.Add(p.MaxAge)) {
		return fail(ReasonMaxAge)
	}
	d.State, d.Reason = Retrying, o.Reason
	return d
}
