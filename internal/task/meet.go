package task

import "time"

// Action is what a worker does with a message.
type Action string

// The actions.
const (
	// ActBegin: swap the record to running and make the attempt.
	ActBegin Action = "begin"
	// ActDrop: acknowledge, nothing else.
	ActDrop Action = "drop"
	// ActLater: deliver the same message again at Verdict.At.
	ActLater Action = "later"
	// ActExpire: end the task as expired.
	ActExpire Action = "expire"
	// ActLost: end the task as failed, lost_worker.
	ActLost Action = "lost"
	// ActCompletionTimeout: an awaited completion never came.
	ActCompletionTimeout Action = "completion_timeout"
)

// Verdict is the answer of [Meet].
type Verdict struct {
	Do Action
	At time.Time // for ActLater
	// Lost: the attempt begun by an earlier worker was never settled.
	Lost bool
	// Suspect: an earlier attempt may have reached the handler.
	Suspect bool
}

// Waits of a message that came too early for its record.
const (
	// overtakeWait: a retry overtook the settle that published it.
	overtakeWait = 250 * time.Millisecond
	// busyWait bounds how long a busy message stays away: a dead process is
	// known as dead after its heartbeat (10 s).
	busyWait = 10 * time.Second
)

// Meeting is what [Meet] looks at.
type Meeting struct {
	Message *Message
	// Redelivered: the broker may have delivered this copy before.
	Redelivered bool
	// Record is nil when the store has none.
	Record *Record
	// LeaseAlive: the record's lease owner has a live heartbeat.
	LeaseAlive bool
	Now        time.Time
}

// Meet decides whether a message may begin an attempt. It is the table
// "a message (g, s) meets a record (G, S, state)" of the design.
func Meet(in Meeting) Verdict {
	v := meet(in)
	switch {
	case v.Do != ActBegin:
		return v
	case in.Message.ExpiredAt(in.Now):
		return Verdict{Do: ActExpire}
	case in.Now.Before(in.Message.ETA): // clocks differ: never early
		return Verdict{Do: ActLater, At: in.Message.ETA}
	}
	return v
}

func meet(in Meeting) Verdict {
	m, r := in.Message, in.Record
	// The message wins over a record that is missing or behind. Whether an
	// earlier delivery of it got through is then unknown.
	wins := Verdict{Do: ActBegin, Suspect: in.Redelivered}
	switch {
	case r == nil:
		// What had a record has been forgotten, and a twin may have run.
		wins.Suspect = wins.Suspect || m.Twinned()
		return wins
	case m.Gen < r.Gen, m.Gen == r.Gen && m.Seq < r.Seq:
		return Verdict{Do: ActDrop}
	case m.Gen > r.Gen:
		return restarted(in, wins)
	case m.Seq > r.Seq:
		return ahead(in, wins)
	}
	return same(in)
}

// restarted: a replay or run-now published this message. Its record was not
// written (a crash), was lost, or was refused because the task changed at the
// same moment. In the last case someone else took the version that the
// message was to have; its caller was told so, and it must not run.
func restarted(in Meeting, wins Verdict) Verdict {
	m, r := in.Message, in.Record
	switch {
	case changes(r.Version) >= changes(m.Version):
		return Verdict{Do: ActDrop}
	case r.State == Running && in.running():
		return Verdict{Do: ActLater, At: in.Now.Add(overtakeWait)}
	}
	return wins
}

// ahead: the message was published by a settle that has not reached the
// record, or whose record was lost.
func ahead(in Meeting, wins Verdict) Verdict {
	r := in.Record
	if r.State == Running && in.running() {
		return Verdict{Do: ActLater, At: in.Now.Add(overtakeWait)}
	}
	if r.State.Final() {
		// An attempt of an earlier message of this generation ended the task
		// after a settle that never reached the record: final is final.
		return Verdict{Do: ActDrop}
	}
	if r.State == Running {
		// The settle published this message, so its attempt has an outcome;
		// nothing is lost but the record of it.
		wins.Suspect = wins.Suspect || in.Message.Suspect
	}
	return wins
}

func same(in Meeting) Verdict {
	r := in.Record
	switch r.State {
	case Succeeded, Failed, Cancelled, Expired:
		return Verdict{Do: ActDrop}
	case Scheduled, Queued, Retrying:
		if in.Now.Before(r.ETA) {
			return Verdict{Do: ActLater, At: r.ETA}
		}
		// A worker may have tried this copy while the store was away, which
		// leaves no trace but the redelivery.
		return Verdict{Do: ActBegin, Suspect: in.Redelivered}
	case Awaiting:
		if in.Now.Before(r.ETA) {
			return Verdict{Do: ActLater, At: r.ETA}
		}
		return Verdict{Do: ActCompletionTimeout}
	case Running:
		if in.running() {
			return Verdict{Do: ActLater, At: earlier(r.Lease.Until, in.Now.Add(busyWait))}
		}
		if r.Suspects+1 >= MaxSuspects {
			return Verdict{Do: ActLost}
		}
		return Verdict{Do: ActBegin, Lost: true, Suspect: true}
	}
	return Verdict{Do: ActDrop}
}

// running reports whether the record's lease is still good.
func (in *Meeting) running() bool {
	return in.LeaseAlive && in.Now.Before(in.Record.Lease.Until)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
