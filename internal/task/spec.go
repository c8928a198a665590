package task

import (
	"time"
)

// Header is one HTTP header field as given.
type Header struct {
	Name  string `json:"n"`
	Value string `json:"v"`
}

// Spec is what the submitter asked for. It never changes after acceptance;
// the message and the record both carry it, so either can rebuild the other.
type Spec struct {
	ID          ID                `json:"id"`
	Project     string            `json:"p"`
	Endpoint    string            `json:"e"`
	CreatedAt   time.Time         `json:"c"`
	RunAt       time.Time         `json:"r,omitzero"`
	ExpiresAt   time.Time         `json:"x,omitzero"`
	Timeout     Duration          `json:"t,omitempty"` // 0: the endpoint's
	Retry       *Retry            `json:"rt,omitempty"`
	ResultTTL   Duration          `json:"rl,omitempty"` // 0: DefaultResultTTL
	ContentType string            `json:"ct,omitempty"`
	Headers     []Header          `json:"h,omitempty"`
	Labels      map[string]string `json:"l,omitempty"`
	TraceParent string            `json:"tp,omitempty"`
	ParentID    ID                `json:"pa,omitempty"`
	PayloadSize int               `json:"ps,omitempty"`
	// Callback asks to be told of the end.
	Callback *Callback `json:"cb,omitempty"`
	// CallbackOf is the task whose end this one tells; such a task is in no
	// list of its project. URL is its target unless its endpoint is a
	// registered one.
	CallbackOf ID     `json:"co,omitempty"`
	URL        string `json:"to,omitempty"`
	// IdempotentUntil is the end of the idempotency key's memory; the record
	// lives at least as long, so that a repeat always finds its task.
	IdempotentUntil time.Time `json:"iu,omitzero"`
}

// EndpointID is the identity of the task's endpoint.
func (s *Spec) EndpointID() EndpointID { return MakeEndpointID(s.Project, s.Endpoint) }

// Due is the first moment the task may run.
func (s *Spec) Due() time.Time {
	if s.RunAt.After(s.CreatedAt) {
		return s.RunAt
	}
	return s.CreatedAt
}

// notBefore is the moment before which the task must not run, zero when it may
// at once: then no clock is asked, so that a process whose clock differs from
// the one that accepted the task does not hold it back.
func (s *Spec) notBefore() time.Time {
	if s.RunAt.After(s.CreatedAt) {
		return s.RunAt
	}
	return time.Time{}
}

// ExpiredAt reports whether no attempt may begin any more at now.
func (s *Spec) ExpiredAt(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// Envelope is what travels and what replay needs: the spec and the payload's
// bytes, which nobody re-encodes.
type Envelope struct {
	Spec
	Payload []byte
}

// Message is an envelope on its way to an attempt, with the fence that says
// which attempt (transitions.md: "What is counted").
type Message struct {
	Envelope
	// Gen and Seq fence the message against its record.
	Gen, Seq int
	// Used counts the attempts that count against max_attempts so far.
	Used int
	// Starts and Version are hints: the record's values when the message was
	// published. They spare a read on the normal path; nothing relies on them.
	Starts  int
	Version int64
	// Suspect is set when an earlier attempt may have reached the handler
	// without its answer being known.
	Suspect bool
	// Rebuilt is the record's, see [Record].
	Rebuilt bool
	// ETA is the earliest moment of delivery; zero: at once.
	ETA time.Time
	// Born is the record's: max_age counts from it.
	Born time.Time
}

// Twinned reports whether another copy of the task's first message may exist:
// its submission or the end that it tells was perhaps published twice. Both
// have a record before the first copy.
func (s *Spec) Twinned() bool { return !s.IdempotentUntil.IsZero() || s.CallbackOf != "" }

// First makes the first message of a new task.
func First(env Envelope, version int64) Message {
	return Message{Envelope: env, Gen: 1, Seq: 1, Version: version, ETA: env.notBefore(), Born: env.Due()}
}

// Endpoint is a registered HTTP target with its policy.
type Endpoint struct {
	Project string            `json:"project"`
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers,omitempty"`
	Timeout Duration          `json:"timeout"`
	Retry   *Retry            `json:"retry,omitempty"`
	// MaxConcurrency is how many attempts may run at once, over all
	// dispatchers; 0: as many as they can.
	MaxConcurrency int `json:"max_concurrency,omitempty"`
	// Breaker says when it is called no more for a while; nil: by the defaults.
	Breaker *CircuitBreaker   `json:"circuit_breaker,omitempty"`
	Result  ResultPolicy      `json:"result"`
	Labels  map[string]string `json:"labels,omitempty"`
	// SealedSecret signs what is delivered. It is sealed for the owner
	// (Project, Name).
	SealedSecret SealedSecret `json:"sealed_secret"`
	// Auth is how deliveries show who they are; nil: not at all.
	Auth   *TargetAuth `json:"auth,omitempty"`
	Paused bool        `json:"paused,omitempty"`
	// Disabled says why the endpoint takes no deliveries (e.g. it answered
	// 410), "" when it does. Its tasks are held.
	Disabled Reason `json:"disabled,omitempty"`
	// Source says who configures the endpoint. A file may or may not have a
	// say about its secret and its pause, too.
	Source      Source    `json:"source,omitempty"`
	FixedSecret bool      `json:"fixed_secret,omitempty"`
	FixedPaused bool      `json:"fixed_paused,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	// Builtin marks an endpoint that no user registered: it is made of its
	// project, never stored, and cannot be changed or disabled.
	Builtin bool `json:"-"`
}

// Source says who configures an endpoint or a project.
type Source string

// The sources.
const (
	SourceAPI  Source = ""     // whoever may, over the API
	SourceFile Source = "file" // the endpoints file: over the API it is read only
	// SourceUnlisted: the file had it and has it no more. It waits, disabled,
	// for an operator to delete it or to take it over.
	SourceUnlisted Source = "unlisted"
)

// ID is the identity of the endpoint's queue.
func (e *Endpoint) ID() EndpointID { return MakeEndpointID(e.Project, e.Name) }

// Deliverable reports whether attempts may begin.
func (e *Endpoint) Deliverable() bool { return !e.Paused && e.Disabled == ReasonNone }

// Policy is the retry policy for a task of this endpoint.
func (e *Endpoint) Policy(s *Spec) Policy { return DefaultPolicy().With(e.Retry).With(s.Retry) }

// BreakerPolicy is the policy of its circuit breaker. Each receiver of a
// built-in endpoint has one of its own, with longer and longer pauses: what
// waits for it meanwhile is in everybody's queue.
func (e *Endpoint) BreakerPolicy() BreakerPolicy {
	p := DefaultBreaker().With(e.Breaker)
	if e.Builtin {
		p.MostCoolDown = MostReceiverCoolDown
	}
	return p
}

// TimeoutFor is the time limit of one attempt: the endpoint's value is both
// the default and the maximum.
func (e *Endpoint) TimeoutFor(s *Spec) time.Duration {
	limit := e.Timeout.Std()
	if limit <= 0 {
		limit = DefaultTimeout
	}
	if t := s.Timeout.Std(); t > 0 && t < limit {
		return t
	}
	return limit
}

// ResultPolicy says what is kept of a handler's answer.
type ResultPolicy struct {
	MaxBytes    int      `json:"max_bytes"`
	KeepHeaders []string `json:"keep_headers,omitempty"`
	// Discard keeps an oversize answer's status and headers and drops its
	// body, instead of failing.
	Discard bool `json:"discard,omitempty"`
}

// Result is the handler's answer in the attempt that succeeded.
type Result struct {
	Status      int      `json:"s"`
	ContentType string   `json:"t,omitempty"`
	Headers     []Header `json:"h,omitempty"`
	// Discarded: the body was over the endpoint's cap and dropped on request.
	Discarded bool   `json:"d,omitempty"`
	Body      []byte `json:"-"`
}

// Attempt is the record of one HTTP request.
type Attempt struct {
	Number    int       `json:"n"`
	Gen       int       `json:"g"`
	StartedAt time.Time `json:"a"`
	Took      Duration  `json:"d,omitempty"`
	Status    int       `json:"s,omitempty"`
	Reason    Reason    `json:"r,omitempty"`
	// Suspect: an earlier attempt may have reached the handler unanswered.
	Suspect bool      `json:"u,omitempty"`
	Answer  []byte    `json:"b,omitempty"` // at most MaxAnswerKept bytes
	NextAt  time.Time `json:"x,omitzero"`
}

// MaxAnswerKept is how much of each answer its attempt shows.
const MaxAnswerKept = 1024
