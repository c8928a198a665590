package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Running is an attempt that has begun.
type Running struct {
	Message *task.Message
	// Record is the record as this attempt wrote it.
	Record task.Record
	// Recorded is false when the store was away at the begin.
	Recorded  bool
	StartedAt time.Time
}

// Start is the answer of [Engine.Begin].
type Start struct {
	// Run is the attempt to make; nil when none may begin.
	Run *Running
	// Later is when to deliver the message again; zero with a nil Run means
	// that the message is done with: acknowledge it.
	Later time.Time
	// Ended is set when meeting the record ended the task.
	Ended task.State
}

// maxRaces bounds how often a step is tried against concurrent changes.
const maxRaces = 10

// Begin decides what to do with a delivered message and begins its attempt
// if one may begin. timeout is the attempt's; it bounds the lease. The caller
// makes sure that no attempt of the same task is under way in this process.
func (e *Engine) Begin(ctx context.Context, m *task.Message, redelivered bool, timeout time.Duration) (Start, error) {
	now := e.now()
	lease := task.Lease{Token: token(), Owner: e.opt.Owner, Until: now.Add(timeout + task.LeaseSlack)}
	b := beginning{e: e, m: m, redelivered: redelivered, lease: lease}
	start, err := b.fast(ctx, now)
	if err != nil && unavailable(err) {
		return b.unrecorded(now), nil
	}
	return start, err
}

// beginning is one call of Begin.
type beginning struct {
	e           *Engine
	m           *task.Message
	redelivered bool
	lease       task.Lease
}

// fast tries the normal case in one round trip: the record is as the message
// promises. The first message of a later generation promises too little: two
// that were to move the same task, to different times, carry the same version,
// and only the record says which of them was granted.
func (b *beginning) fast(ctx context.Context, now time.Time) (Start, error) {
	if b.m.Gen > 1 && b.m.Seq == 1 {
		return b.slow(ctx, nil, true)
	}
	expected := b.m.Expected()
	v := task.Meet(task.Meeting{Message: b.m, Redelivered: b.redelivered, Record: &expected, Now: now})
	if v.Do != task.ActBegin {
		return b.slow(ctx, nil, true)
	}
	start, reply, err := b.begin(ctx, expected, expected.Version, v, now)
	if err != nil || start.Run != nil {
		return start, err
	}
	return b.slow(ctx, reply.Present, false)
}

// slow meets the record that is really there.
func (b *beginning) slow(ctx context.Context, present *task.Snapshot, read bool) (Start, error) {
	for range maxRaces {
		if read {
			var err error
			if present, err = b.get(ctx); err != nil {
				return Start{}, err
			}
		}
		if err := b.e.flush(ctx, present); err != nil {
			b.e.opt.Logger.WarnContext(ctx, "message waits for a callback to be published", "task", b.m.ID, "error", err)
			return Start{Later: b.e.now().Add(outboxWait)}, nil
		}
		v, err := b.meet(ctx, present)
		if err != nil {
			return Start{}, err
		}
		start, done, err := b.act(ctx, present, v)
		if err != nil || done {
			return start, err
		}
		read = true
	}
	return Start{Later: b.e.now().Add(time.Second)}, nil
}

func (b *beginning) get(ctx context.Context) (*task.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, b.e.opt.StoreTimeout)
	defer cancel()
	return b.e.store.Get(ctx, b.m.ID)
}

func (b *beginning) meet(ctx context.Context, present *task.Snapshot) (task.Verdict, error) {
	in := task.Meeting{Message: b.m, Redelivered: b.redelivered, Now: b.e.now()}
	if present != nil {
		in.Record = &present.Record
		if present.State == task.Running {
			alive, err := b.alive(ctx, present.Lease.Owner)
			if err != nil {
				return task.Verdict{}, err
			}
			in.LeaseAlive = alive
		}
	}
	return task.Meet(in), nil
}

// alive tells whether a lease of owner holds. Our own never does here: no
// attempt of the task is under way in this process (see Begin), so its begin
// was written and its answer lost, or its settlement failed for good.
func (b *beginning) alive(ctx context.Context, owner string) (bool, error) {
	if owner == b.e.opt.Owner {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.e.opt.StoreTimeout)
	defer cancel()
	return b.e.store.Alive(ctx, owner)
}

func (b *beginning) act(ctx context.Context, present *task.Snapshot, v task.Verdict) (s Start, done bool, err error) {
	now := b.e.now()
	base, expect := b.base(present)
	switch v.Do {
	case task.ActDrop:
		return Start{}, true, nil
	case task.ActLater:
		return Start{Later: v.At}, true, nil
	case task.ActBegin:
		s, _, err = b.begin(ctx, base, expect, v, now)
		return s, s.Run != nil, err
	case task.ActExpire:
		return b.end(ctx, base, expect, task.Expired, task.ReasonExpired, now)
	case task.ActLost:
		return b.end(ctx, base, expect, task.Failed, task.ReasonLostWorker, now)
	case task.ActCompletionTimeout:
		return b.end(ctx, base, expect, task.Failed, task.ReasonCompletionTimeout, now)
	}
	return Start{}, true, task.Errorf(task.CodeInternal, "no such action: %s", v.Do)
}

// base is the record to change and the version to compare. A lost record is
// rebuilt from the message, with a version above every one it had.
func (b *beginning) base(present *task.Snapshot) (task.Record, int64) {
	if present == nil {
		return b.m.Rebuild(), 0
	}
	return present.Record, present.Version
}

func (b *beginning) begin(
	ctx context.Context, base task.Record, expect int64, v task.Verdict, now time.Time,
) (Start, task.ChangeReply, error) {
	next := base.Started(b.m, b.lease, v.Lost, v.Suspect, now)
	c := task.Change{Expect: expect, Next: next, Spec: &b.m.Spec}
	if expect == 0 {
		c.Payload = b.e.keep(b.m.Payload)
	}
	if v.Lost {
		c.Attempts = []task.Attempt{openAttempt(&base, task.ReasonLostWorker)}
	}
	reply, err := b.e.swap(ctx, c)
	if err != nil || !reply.OK {
		return Start{}, reply, err
	}
	return Start{Run: &Running{Message: b.m, Record: next, Recorded: true, StartedAt: now}}, reply, nil
}

func (b *beginning) end(
	ctx context.Context, base task.Record, expect int64, s task.State, why task.Reason, now time.Time,
) (Start, bool, error) {
	running := base.State == task.Running
	next, ok := base.Reached(b.m).Ended(s, why, now)
	if !ok {
		return Start{}, true, nil
	}
	c := task.Change{Expect: expect, Next: next, Spec: &b.m.Spec}
	if s == task.Failed {
		b.e.keepFailed(ctx, &c, b.m.Payload)
	}
	if running {
		c.Attempts = []task.Attempt{openAttempt(&base, task.ReasonLostWorker)}
	}
	reply, err := b.e.swap(ctx, c)
	if err != nil || !reply.OK {
		return Start{}, false, err
	}
	if err := b.e.tell(ctx, &c); err != nil {
		b.e.opt.Logger.WarnContext(ctx, "message waits for a callback to be published", "task", b.m.ID, "error", err)
		return Start{Later: now.Add(outboxWait)}, true, nil
	}
	return Start{Ended: s}, true, nil
}

// unrecorded begins without the store: only what was surely never tried.
func (b *beginning) unrecorded(now time.Time) Start {
	// The copy of a repeated submission waits: its twin may come when the store
	// is back and before this outcome is in it, and find a record that tells
	// nothing. (A callback has none before its first attempt.)
	repeated := b.m.Suspect && b.m.CallbackOf == ""
	first := b.m.Gen == 1 && b.m.Seq == 1 && !b.redelivered && !repeated
	if !first || b.m.ExpiredAt(now) || now.Before(b.m.ETA) {
		return Start{Later: now.Add(b.e.away(now))}
	}
	// A submission with a key may have been repeated, and then a twin of
	// this message may have run already.
	twin := b.m.Twinned()
	return Start{Run: &Running{
		Message: b.m, Record: b.m.Expected().Started(b.m, b.lease, false, twin, now), StartedAt: now,
	}}
}

// Settle writes what became of an attempt. When it returns nil, the message
// may be acknowledged; on an error the attempt's outcome is not durable
// anywhere yet and Settle may be called again.
func (e *Engine) Settle(ctx context.Context, run *Running, p task.Policy, o task.Outcome) (task.Decision, error) {
	// Rounded up: the pause that the policy wants begins when the attempt has
	// ended, not a fraction of a millisecond before.
	now := ceilMillis(e.opt.Now().UTC())
	d := task.Decide(p, &run.Record, o, now, e.opt.Rand())
	a := task.Attempt{
		Number: run.Record.Starts, Gen: run.Record.Gen, StartedAt: run.StartedAt, Took: task.Duration(o.Took),
		Status: o.Status, Reason: o.Reason, Suspect: run.Record.Suspect, Answer: o.Answer, NextAt: d.At,
	}
	s := settlement{e: e, Parked: task.Parked{
		Message: *run.Message, Lease: run.Record.Lease.Token, Owner: run.Record.Lease.Owner, StartedAt: run.StartedAt,
		Attempt: a, Decision: d, Result: o.Result, EndedAt: now,
	}}
	if d.State == task.Retrying {
		next := run.Record.Settled(d, now)
		if err := e.publish(ctx, next.Next(run.Message.Envelope)); err != nil {
			return d, err
		}
	}
	var err error
	if run.Recorded {
		err = s.swap(ctx, run.Record)
	} else {
		err = s.apply(ctx)
	}
	if err != nil && unavailable(err) {
		return d, s.park(ctx)
	}
	return d, err
}

func (e *Engine) publish(ctx context.Context, m task.Message) error {
	ctx, cancel := context.WithTimeout(ctx, e.opt.PublishTimeout)
	defer cancel()
	return e.queue.Publish(ctx, m)
}

func (e *Engine) swap(ctx context.Context, c task.Change) (task.ChangeReply, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	c.Outbox = due(&c)
	reply, err := e.store.Swap(ctx, c)
	if err == nil {
		e.heard()
	}
	if err != nil || !reply.OK {
		return reply, err
	}
	if c.Next.JustEnded() {
		e.opt.Observer.Finished(c.Spec.Project, c.Spec.Endpoint, c.Next.State)
	}
	e.remember(&c)
	return reply, nil
}

// openAttempt is the running attempt of r, ended by something other than its
// own settlement.
func openAttempt(r *task.Record, why task.Reason) task.Attempt {
	return task.Attempt{Number: r.Starts, Gen: r.Gen, StartedAt: r.StartedAt, Reason: why, Suspect: r.Suspect}
}

// settlement is the end of one attempt on its way into the record.
type settlement struct {
	e *Engine
	task.Parked
}

// swap is the normal case: the record is as the attempt left it.
func (s *settlement) swap(ctx context.Context, running task.Record) error {
	reply, err := s.write(ctx, running, running.Version)
	if err != nil || reply.OK {
		return err
	}
	return s.meet(ctx, reply.Present)
}

// apply settles when nothing is known of the record.
func (s *settlement) apply(ctx context.Context) error {
	rctx, cancel := context.WithTimeout(ctx, s.e.opt.StoreTimeout)
	defer cancel()
	present, err := s.e.store.Get(rctx, s.Message.ID)
	if err != nil {
		return err
	}
	return s.meet(ctx, present)
}

// meet settles against the record that is really there, by the fences: the
// attempt that holds the lease wins, and so does one whose record was lost or
// never written; a superseded one changes nothing.
func (s *settlement) meet(ctx context.Context, present *task.Snapshot) error {
	for range maxRaces {
		running, expect, ok := s.fence(present)
		if !ok {
			if err := s.e.flush(ctx, present); err != nil {
				return err
			}
			return s.outlive(ctx, present)
		}
		reply, err := s.write(ctx, running, expect)
		if err != nil || reply.OK {
			return err
		}
		present = reply.Present
	}
	return task.Errorf(task.CodeUnavailable, "the record changed too often")
}

// fence returns the running record to settle, or ok false when another
// attempt, generation or end has won.
func (s *settlement) fence(present *task.Snapshot) (running task.Record, expect int64, ok bool) {
	m := &s.Message
	lease := task.Lease{Token: s.Lease, Owner: s.Owner}
	if present == nil {
		if s.Decision.State == task.Retrying {
			// The retry's own message makes the record again. Written from
			// here it might stand ahead of a message that is already gone.
			return task.Record{}, 0, false
		}
		base := m.Rebuild()
		return base.Started(m, lease, false, s.Attempt.Suspect, s.StartedAt), 0, true
	}
	r := present.Record
	behind := m.Gen < r.Gen || m.Gen == r.Gen && m.Seq < r.Seq
	switch {
	case behind, r.State.Final(), r.State == task.Awaiting:
		return r, 0, false
	case r.State == task.Running && r.Lease.Token == s.Lease:
		return r, r.Version, true
	case r.State == task.Running:
		return r, 0, false // another worker has begun again: its outcome counts
	}
	return r.Started(m, lease, false, s.Attempt.Suspect, s.StartedAt), r.Version, true
}

func (s *settlement) write(ctx context.Context, running task.Record, expect int64) (task.ChangeReply, error) {
	next := running.Settled(s.Decision, s.EndedAt)
	c := task.Change{
		Expect: expect, Next: next, Spec: &s.Message.Spec, Result: s.Result, Attempts: []task.Attempt{s.Attempt},
	}
	switch {
	case next.State == task.Failed:
		s.e.keepFailed(ctx, &c, s.Message.Payload)
	case next.State == task.Succeeded && len(s.Message.Payload) > s.e.opt.KeepPayload:
		c.DropPayload = true // kept since it failed in an earlier generation
	case expect == 0:
		c.Payload = s.e.keep(s.Message.Payload)
	}
	reply, err := s.e.swap(ctx, c)
	if err == nil && reply.OK {
		err = s.e.tell(ctx, &c)
	}
	return reply, err
}

// outlive makes a tombstone live as long as the successor that was published
// before the settlement lost: forgotten earlier, the copy would run again.
func (s *settlement) outlive(ctx context.Context, present *task.Snapshot) error {
	at := s.Decision.At
	if s.Decision.State != task.Retrying || present == nil || !present.State.Final() ||
		!at.After(present.ETA) || !at.After(present.LastETA) {
		return nil
	}
	_, err := s.e.swap(ctx, task.Change{Expect: present.Version, Next: present.Outliving(at), Spec: &present.Spec})
	return err
}

// park keeps the settlement in the broker until the store is back.
func (s *settlement) park(ctx context.Context) error {
	body, err := EncodeParked(&s.Parked)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.e.opt.PublishTimeout)
	defer cancel()
	return s.e.queue.Park(ctx, string(s.Message.ID), body)
}

// ApplyParked applies a settlement that was parked. nil: done, acknowledge.
// task.CodeUnavailable: the store is still away. Any other error: the body
// is not a settlement.
func (e *Engine) ApplyParked(ctx context.Context, body []byte) error {
	p, err := DecodeParked(body)
	if err != nil {
		return err
	}
	s := settlement{e: e, Parked: p}
	err = s.apply(ctx)
	if code := task.CodeOf(err); code == task.CodeNotAccepted || code == task.CodeOutcomeUnknown {
		err = task.Wrap(task.CodeUnavailable, err, "the settled task's callback cannot be published now")
	}
	return err
}

// parkedBody is the JSON form of a parked settlement: two byte strings that
// the domain's own codecs make, and the small values as they are.
type parkedBody struct {
	Version int             `json:"version"`
	Parked  json.RawMessage `json:"parked"`
	Payload []byte          `json:"payload"`
	Result  []byte          `json:"result,omitempty"`
}

const parkedVersion = 1

// EncodeParked writes a settlement for the broker.
func EncodeParked(p *task.Parked) ([]byte, error) {
	bare := *p
	body := parkedBody{Version: parkedVersion, Payload: bare.Message.Payload}
	bare.Message.Payload = nil
	var err error
	if bare.Result != nil {
		if body.Result, err = task.EncodeResult(bare.Result); err != nil {
			return nil, err
		}
		bare.Result = nil
	}
	if body.Parked, err = json.Marshal(&bare); err != nil {
		return nil, fmt.Errorf("encode parked settlement: %w", err)
	}
	return json.Marshal(&body)
}

// DecodeParked reads what [EncodeParked] wrote.
func DecodeParked(b []byte) (task.Parked, error) {
	var body parkedBody
	var p task.Parked
	if err := json.Unmarshal(b, &body); err != nil {
		return p, fmt.Errorf("decode parked settlement: %w", err)
	}
	if body.Version != parkedVersion {
		return p, fmt.Errorf("decode parked settlement: version %d", body.Version)
	}
	if err := json.Unmarshal(body.Parked, &p); err != nil {
		return p, fmt.Errorf("decode parked settlement: %w", err)
	}
	p.Message.Payload = body.Payload
	if body.Result != nil {
		r, err := task.DecodeResult(body.Result)
		if err != nil {
			return p, err
		}
		p.Result = &r
	}
	if _, ok := task.ParseID(string(p.Message.ID)); !ok {
		return p, task.Errorf(task.CodeInvalid, "parked settlement names no task")
	}
	return p, nil
}
