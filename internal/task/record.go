package task

import (
	"time"
)

// Lease is the right to run the current attempt: a random token, the process
// that holds it, and its latest end. It is valid only while that process's
// heartbeat lives.
type Lease struct {
	Token string
	Owner string
	Until time.Time
}

// Record is what the store knows of a task beside its spec. Stores compare
// Version and keep the rest as opaque bytes ([Record.EncodeHead]).
type Record struct {
	// Version grows with every state change and is compared by every swap.
	// 0 means "no record". See [nextVersion].
	Version int64
	State   State
	Reason  Reason
	// Gen is the generation: replay, run-now and reschedule begin a new one.
	Gen int
	// Seq is the number of the generation's latest message.
	Seq int
	// Starts counts attempts begun; the handler sees it as Taskgate-Attempt.
	Starts int
	// Used counts the attempts that count against max_attempts.
	Used int
	// Suspects counts how often in a row the worker was lost.
	Suspects int
	// Suspect stays set once an attempt may have reached the handler
	// unanswered.
	Suspect bool
	Lease   Lease
	// ETA is when the outstanding message is due, zero when it is at once; the
	// deadline when awaiting.
	ETA time.Time
	// LastETA is the latest ETA of any message a generation left behind.
	LastETA time.Time
	// Born is when the generation's first attempt began, its due moment
	// before: max_age counts from it. Time that a task spent in the queue of
	// a paused endpoint must not use it up.
	Born time.Time
	// StartedAt is the begin of the latest attempt.
	StartedAt time.Time
	ChangedAt time.Time
	EndedAt   time.Time
	// Status is the HTTP status of the latest answer, 0 for none.
	Status int
	// Rebuilt: the store knew nothing of the generation when a message of it
	// came. It may have ended before, and its callback may be known already.
	Rebuilt bool
}

// Snapshot is a task as the store knows it.
type Snapshot struct {
	Spec
	Record
	// Outbox is the generation that has ended and whose callback may not be
	// published yet, 0 for none. If it is not the record's own it is published:
	// nothing moves a record on before.
	Outbox int
}

// live is how long a record that is not final outlives its latest ETA, and
// tombstone how long a record outlives a message that may still arrive.
const (
	liveFor = 90 * day
	// tombstoneFor is as long as a waiting task's: its message may sit in the
	// queue of a paused endpoint for just as long.
	tombstoneFor = liveFor
	// endedFor: a twin of the message that ended a task may be on its way.
	endedFor = time.Hour
)

// how says which kind of change made a version.
type how int64

const (
	byAccept how = iota
	byStart
	byRetry
	byFinish
	byEnd
	byRestart
	byNote
	byReschedule
)

const howBits = 3

// nextVersion counts the change and says its kind. A message is published
// before its record is written, with the version that the record is going to
// have; the kind keeps a competing change of the same record (a cancellation
// that overtakes a settle, say) from having that version too.
func nextVersion(v int64, h how) int64 { return (v>>howBits+1)<<howBits | int64(h) }

// changes is the number of changes that a version counts.
func changes(v int64) int64 { return v >> howBits }

// NewRecord is the record of a task just accepted.
func NewRecord(s *Spec) Record {
	r := Record{
		Version: nextVersion(0, byAccept), State: Queued, Gen: 1, Seq: 1,
		ETA: s.notBefore(), Born: s.Due(), ChangedAt: s.CreatedAt,
	}
	if s.RunAt.After(s.CreatedAt) {
		r.State = Scheduled
	}
	return r
}

// StateAt is the state to show at now: a scheduled task whose time has come
// is queued, though nobody wrote so.
func (r *Record) StateAt(now time.Time) State {
	if r.State == Scheduled && !now.Before(r.ETA) {
		return Queued
	}
	return r.State
}

// Expected is the record that the message's hints promise. When the store
// confirms the version, its counters are exact.
func (m *Message) Expected() Record {
	r := Record{
		Version: m.Version, State: Queued, Gen: m.Gen, Seq: m.Seq, Starts: m.Starts, Used: m.Used,
		Suspect: m.Suspect, Rebuilt: m.Rebuilt, ETA: m.ETA, Born: m.Born,
	}
	if m.Seq > 1 {
		r.State = Retrying
	}
	return r
}

// Started begins an attempt for m. suspect says that the lease of an earlier
// attempt of the same message died.
func (r Record) Started(m *Message, lease Lease, lost bool, suspect bool, now time.Time) Record {
	if lost {
		r.Suspects++
	} else {
		r.Suspects = 0
	}
	r.Suspect = r.Suspect || m.Suspect || lost || suspect
	r.Version = nextVersion(r.Version, byStart)
	r.State, r.Reason = Running, ReasonNone
	// A message of a later generation finds a record that was not written, or
	// one whose latest changes were lost.
	r.Rebuilt = r.Rebuilt && r.Gen == m.Gen || r.Gen < m.Gen
	r.Gen, r.Seq = m.Gen, m.Seq
	r.Starts = max(r.Starts, m.Starts) + 1
	r.Used = max(m.Used, 0)
	r.Lease = lease
	if m.Seq == 1 && !lost {
		r.Born = now
	} else if m.Seq > 1 {
		r.Born = m.Born
	}
	r.ETA = m.ETA
	r.StartedAt, r.ChangedAt, r.EndedAt = now, now, time.Time{}
	return r
}

// Rebuild is the record of a message that the store knows nothing of: as
// [Message.Expected], with the mark.
func (m *Message) Rebuild() Record {
	r := m.Expected()
	r.Rebuilt = true
	return r
}

// Reached is r brought up to the generation of a message that is ahead of it:
// a replay whose record was not written yet. What ends the message then ends
// its generation, not the one before, which has ended.
func (r Record) Reached(m *Message) Record {
	if m.Gen > r.Gen {
		r.State, r.LastETA, r.Rebuilt = Queued, later(r.LastETA, r.ETA), true
		r.Gen, r.Seq, r.ETA, r.Born = m.Gen, m.Seq, m.ETA, m.Born
	}
	return r
}

// Settled ends the running attempt as decided.
func (r Record) Settled(d Decision, now time.Time) Record {
	kind := byRetry
	if d.State.Final() {
		// An earlier delivery of the same message may have published its
		// retry before it died; that message must not fit this record.
		kind = byFinish
	}
	r.Version = nextVersion(r.Version, kind)
	r.State, r.Reason = d.State, d.Reason
	r.Used = d.Used
	r.Status = d.Status
	r.Suspect = r.Suspect || d.Suspect
	r.Suspects = 0
	r.Lease = Lease{}
	r.ChangedAt = now
	switch {
	case d.State == Retrying:
		r.Seq++
		r.ETA = d.At
	case d.State.Final():
		r.EndedAt = now
	}
	return r
}

// Next is the message that carries a settled retry.
func (r *Record) Next(env Envelope) Message {
	return Message{
		Envelope: env, Gen: r.Gen, Seq: r.Seq, Used: r.Used, Starts: r.Starts,
		Version: r.Version, Suspect: r.Suspect, Rebuilt: r.Rebuilt, ETA: r.ETA, Born: r.Born,
	}
}

// Ended ends a task that no attempt settles: cancelled, expired, its endpoint
// deleted, its worker lost too often. ok is false when the task has ended
// already.
func (r Record) Ended(s State, why Reason, now time.Time) (Record, bool) {
	if r.State.Final() || !s.Final() {
		return r, false
	}
	r.Version = nextVersion(r.Version, byEnd)
	r.State, r.Reason = s, why
	r.Lease = Lease{}
	r.ChangedAt, r.EndedAt = now, now
	return r, true
}

// Restored is r, which the store has confirmed and may have forgotten, as it is
// to be written over what is there now, nil for nothing. ok is false when that
// is not behind r. What waits for its message is never made out of nothing,
// and never put ahead of one: the message says more.
func (r Record) Restored(there *Record) (Record, bool) {
	switch {
	case there == nil:
		return r, r.State.Final()
	case there.Gen > r.Gen, there.Gen == r.Gen && there.State.Final():
		return r, false
	case !r.State.Final() && (there.Gen < r.Gen || there.Seq >= r.Seq):
		return r, false
	}
	if there.Version >= r.Version {
		r.Version = nextVersion(there.Version, how(r.Version&(1<<howBits-1)))
	}
	r.Starts = max(r.Starts, there.Starts)
	return r, true
}

// JustEnded reports whether the change that made this version ended the task.
// A note on a task that has ended does not end it again.
func (r *Record) JustEnded() bool {
	kind := how(r.Version & (1<<howBits - 1))
	return r.State.Final() && (kind == byFinish || kind == byEnd)
}

// Restarted begins the next generation, due now. Attempt numbers go on; the
// attempts that count begin again. A running task cannot be restarted.
func (r Record) Restarted(now time.Time) (Record, bool) {
	if r.State == Running || r.State == Awaiting {
		return r, false
	}
	why := ReasonRunNow
	if r.State.Final() {
		why = ReasonReplayed
	}
	r = r.renewed(byRestart, now, now)
	r.State, r.Reason, r.Used = Queued, why, 0
	return r, true
}

// Rescheduled begins the next generation of a task that waits, due at at, or
// now when that has passed. The attempts that count so far still do: only the
// time is another one.
func (r Record) Rescheduled(at, now time.Time) (Record, bool) {
	if !r.State.Waiting() {
		return r, false
	}
	r = r.renewed(byReschedule, later(at, now), now)
	r.State, r.Reason = Queued, ReasonRescheduled
	if at.After(now) {
		r.State = Scheduled
	}
	return r, true
}

// renewed is the next generation's record but for its state.
func (r Record) renewed(h how, due, now time.Time) Record {
	if r.Starts == 0 && !now.Before(r.ETA) {
		// Its message is out: an attempt that the store never heard of may
		// be under way. Later attempts are announced by their number.
		r.Suspect = true
	}
	r.Version = nextVersion(r.Version, h)
	r.Gen++
	r.Seq, r.Suspects, r.Rebuilt = 1, 0, false
	r.Lease = Lease{}
	r.LastETA = later(r.LastETA, r.ETA)
	r.ETA, r.Born = due, due
	r.ChangedAt, r.EndedAt = now, time.Time{}
	return r
}

// Outliving notes that a message of r may still arrive at eta, so that the
// tombstone outlives it.
func (r Record) Outliving(eta time.Time) Record {
	r.Version = nextVersion(r.Version, byNote)
	r.LastETA = later(r.LastETA, eta)
	return r
}

// Doubted notes that another copy of the first message may be on its way, so
// that whichever comes second is announced.
func (r Record) Doubted() Record {
	r.Version = nextVersion(r.Version, byNote)
	r.Suspect = true
	return r
}

// KeepUntil is when the store may forget the record: never while a message
// of it may still arrive (a forgotten tombstone would let it run again).
func (s *Snapshot) KeepUntil() time.Time {
	if !s.State.Final() {
		return later(later(s.ETA, s.LastETA), s.ChangedAt).Add(liveFor)
	}
	ttl := s.ResultTTL.Std()
	if ttl <= 0 {
		ttl = DefaultResultTTL
	}
	keep := later(s.EndedAt.Add(max(ttl, endedFor)), s.IdempotentUntil)
	if s.Outbox != 0 {
		keep = later(keep, s.EndedAt.Add(liveFor)) // its callback is still to come
	}
	if s.outstanding() {
		keep = later(keep, later(later(s.ETA, s.LastETA), s.EndedAt).Add(tombstoneFor))
	}
	return keep
}

// outstanding reports whether a message may still arrive at a final record:
// always when something other than the message's own attempt ended the task,
// or when copies were left behind, by an earlier generation or by a change
// that lost.
func (s *Snapshot) outstanding() bool {
	return s.State == Cancelled || s.State == Expired || s.Gen > 1 || !s.LastETA.IsZero()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
