package task

import "time"

// The values that cross between the lifecycle and a store. They live here
// because the two rooms do not import each other.

// NewTask is a task to be stored for the first time.
type NewTask struct {
	Record  Record
	Spec    Spec
	Payload []byte // nil: do not keep it
	// IdemKey and Fingerprint are digests of the idempotency key (with its
	// project) and of the request; empty without a key. The key's memory
	// ends at Spec.IdempotentUntil.
	IdemKey     string
	Fingerprint string
	// AcceptBy is when the submitter must have been told; see Claim. Zero:
	// there is no submitter to tell, the task counts as accepted.
	AcceptBy time.Time
	// Ask stores nothing: it is only to be known whose the key is.
	Ask bool
}

// Claim is the answer to a NewTask.
type Claim struct {
	// New: stored, or not known when that was asked. Otherwise the idempotency key belongs to Present.
	New         bool
	Present     *Snapshot
	SameRequest bool
	// AcceptBy is not zero while Present was not noted as accepted.
	AcceptBy time.Time
}

// Change is a compare-and-swap of a task's record.
type Change struct {
	// Expect is the version that must be there; 0: no record.
	Expect int64
	// Next is the record to write; Spec is written too when Expect is 0 and
	// always says where the record is listed.
	Next Record
	Spec *Spec
	// Result replaces the result; ClearResult removes it.
	Result      *Result
	ClearResult bool
	// Payload is kept beside the record when not nil; DropPayload removes it.
	Payload     []byte
	DropPayload bool
	Attempts    []Attempt
	// Outbox: Next ends a generation whose callback is due. The task is then
	// in the outbox until the callback is published. A change without it
	// leaves the outbox alone.
	Outbox bool
}

// ChangeReply is the answer to a Change.
type ChangeReply struct {
	OK bool
	// Present is the record that was there instead; nil: none.
	Present *Snapshot
}

// Query asks for a page of tasks, newest first.
type Query struct {
	Project  string
	Endpoint string            // "" any
	Within   EndpointSet       // that, too
	States   []State           // empty any
	Labels   map[string]string // all must match
	// CreatedAfter and CreatedBefore bound the time of acceptance; zero: open.
	CreatedAfter  time.Time
	CreatedBefore time.Time
	Cursor        string
	Limit         int
	// Callbacks: callback tasks are listed, too, if they are of the endpoint
	// and not final. They are in no other list.
	Callbacks bool
	Now       time.Time // scheduled tasks that are due count as queued
}

// Page is the answer to a Query. It may be short, even empty, with a cursor:
// a page's work is bounded, and the cursor says how far it got.
type Page struct {
	Items []Snapshot
	Next  string
}

// Depth is how many tasks of an endpoint are in one state, and when the oldest
// of them was accepted.
type Depth struct {
	Tasks  int
	Oldest time.Time
}

// Depths is an endpoint's depth by state, without the final ones.
type Depths map[State]Depth

// Total is how many tasks have not ended.
func (d Depths) Total() int {
	n := 0
	for _, s := range d {
		n += s.Tasks
	}
	return n
}

// QuotaAsk is what one process asks of a limit that all share.
type QuotaAsk struct {
	Name  string // of the quota
	Limit int    // how much all together may use; more than 0
	Want  int    // how much this process could use; 0: it is leaving
	Held  int    // the most it may use before it has the answer
}

// Parked is a settlement whose store was away: everything needed to apply it
// later by the same fences.
type Parked struct {
	Message Message
	// Lease is the token of the attempt's lease, "" when the attempt began
	// without a record.
	Lease     string
	Owner     string
	StartedAt time.Time
	// Attempt is the attempt's number as the handler saw it.
	Attempt  Attempt
	Decision Decision
	Result   *Result
	EndedAt  time.Time
}
