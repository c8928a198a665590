package task

// State is where a task stands, in the words of the public API.
type State string

// The states. Succeeded, Failed, Cancelled and Expired are final.
const (
	// Scheduled: accepted, its first attempt is due in the future.
	Scheduled State = "scheduled"
	// Queued: accepted and due, no attempt has begun.
	Queued State = "queued"
	// Running: an attempt holds the lease.
	Running State = "running"
	// Retrying: an attempt ended without success; the next one has a time.
	Retrying State = "retrying"
	// Awaiting: the handler answered "later"; its completion is outstanding.
	Awaiting State = "awaiting"
	// Succeeded: the handler answered 2xx; its answer is the result.
	Succeeded State = "succeeded"
	// Failed: attempts exhausted, too old, or refused for good: a dead letter.
	Failed State = "failed"
	// Cancelled: ended by its user.
	Cancelled State = "cancelled"
	// Expired: expires_at passed before an attempt began.
	Expired State = "expired"
)

// States lists every state in the order a task may pass them.
func States() []State {
	return []State{Scheduled, Queued, Running, Retrying, Awaiting, Succeeded, Failed, Cancelled, Expired}
}

// Final reports whether a task in this state has ended. A final state never
// changes within a generation.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Cancelled, Expired:
		return true
	case Scheduled, Queued, Running, Retrying, Awaiting:
		return false
	}
	return false
}

// Waiting reports whether the task waits for an attempt to begin.
func (s State) Waiting() bool {
	return s == Scheduled || s == Queued || s == Retrying
}

// Valid reports whether s is one of [States].
func (s State) Valid() bool {
	return s.Final() || s.Waiting() || s == Running || s == Awaiting
}

// Edge is one allowed change of state within a generation.
type Edge struct{ From, To State }

// Edges is the state chart: every change that a transition of this package
// can make within one generation. docs/states.md is checked against it.
// A replay (final → queued) starts a new generation and is not an edge.
func Edges() []Edge {
	return []Edge{
		{Scheduled, Running},
		{Scheduled, Cancelled},
		{Scheduled, Expired},
		{Queued, Running},
		{Queued, Cancelled},
		{Queued, Expired},
		{Running, Running}, // its worker was lost: begun again
		{Running, Retrying},
		{Running, Awaiting},
		{Running, Succeeded},
		{Running, Failed},
		{Running, Cancelled},
		{Running, Expired},
		{Retrying, Running},
		{Retrying, Failed},
		{Retrying, Cancelled},
		{Retrying, Expired},
		{Scheduled, Failed}, // its endpoint was deleted
		{Queued, Failed},
		{Awaiting, Succeeded},
		{Awaiting, Retrying},
		{Awaiting, Failed},
		{Awaiting, Cancelled},
	}
}

// Reason says why a task is in its state, or why an attempt ended as it did.
// The list is closed and documented in openapi.yaml.
type Reason string

// The reasons.
const (
	ReasonNone Reason = ""

	// These say what the handler answered.

	ReasonHandler4xx      Reason = "handler_4xx"      // 408, 425, or a status the policy retries
	ReasonHandler5xx      Reason = "handler_5xx"      // 5xx but 501
	ReasonThrottled       Reason = "throttled"        // 429, or 503 with Retry-After
	ReasonPermanentStatus Reason = "permanent_status" // a status that is never retried
	ReasonGone            Reason = "endpoint_gone"    // 410: the endpoint is disabled
	ReasonRedirect        Reason = "redirect"         // 3xx: redirects are not followed
	ReasonRetryNever      Reason = "retry_never"      // the handler said Taskgate-Retry: never
	ReasonResultTooLarge  Reason = "result_too_large" // the answer's body is over the endpoint's cap

	// These say why there was no usable answer.

	ReasonTimeout        Reason = "timeout"
	ReasonConnect        Reason = "connect_error"
	ReasonDNS            Reason = "dns_error"
	ReasonTLS            Reason = "tls_error"
	ReasonTargetAuth     Reason = "target_auth"    // no access token was to be had for the endpoint
	ReasonProtocol       Reason = "protocol_error" // garbage, or closed before the answer was whole
	ReasonBlockedAddress Reason = "blocked_address"

	// These are ends that no single answer decides.

	ReasonAttemptsExhausted Reason = "attempts_exhausted"
	ReasonMaxAge            Reason = "max_age"
	ReasonLostWorker        Reason = "lost_worker"
	ReasonCancelled         Reason = "cancelled"
	ReasonExpired           Reason = "expired"
	ReasonEndpointDeleted   Reason = "endpoint_deleted"
	ReasonEndpointUnlisted  Reason = "endpoint_unlisted" // the endpoints file has it no more: it is disabled
	ReasonShutdown          Reason = "shutdown"          // an attempt given up because its dispatcher stopped
	ReasonReplayed          Reason = "replayed"
	ReasonRunNow            Reason = "run_now"
	ReasonRescheduled       Reason = "rescheduled"
	ReasonCompletionTimeout Reason = "completion_timeout"
	ReasonInternal          Reason = "internal" // a fault of ours, e.g. a secret that cannot be opened
)

// Reasons lists the closed list, without the empty one.
func Reasons() []Reason {
	return []Reason{
		ReasonHandler4xx, ReasonHandler5xx, ReasonThrottled, ReasonPermanentStatus, ReasonGone, ReasonRedirect,
		ReasonRetryNever, ReasonResultTooLarge, ReasonTimeout, ReasonConnect, ReasonDNS, ReasonTLS, ReasonTargetAuth, ReasonProtocol,
		ReasonBlockedAddress, ReasonAttemptsExhausted, ReasonMaxAge, ReasonLostWorker, ReasonCancelled, ReasonExpired,
		ReasonEndpointDeleted, ReasonEndpointUnlisted, ReasonShutdown, ReasonReplayed, ReasonRunNow, ReasonRescheduled,
		ReasonCompletionTimeout, ReasonInternal,
	}
}
