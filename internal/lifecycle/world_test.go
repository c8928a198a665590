package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// world is a broker and a store in memory, a virtual clock, and processes
// that can die, be cut off, or be overtaken between any two calls they make.
type world struct {
	now   time.Time
	rows  map[task.ID]*row
	keys  map[string]task.ID
	beats map[string]time.Time
	queue []*letter
	park  []*parcel
	ids   int

	// outage: calls of the store fail, some after having had their effect.
	outage bool
	// broken: the broker refuses or forgets to confirm.
	broken bool
	torn   map[task.ID]bool // records that cannot be decoded
	lost   bool             // the store has lost data at least once
	// blind: there was a time when cancellations and run-now could not be
	// seen. Messages alone cannot tell of them.
	blind bool

	told []string // what the observer heard

	ledger   map[task.ID][]call
	faults   []string
	trace    []string
	finals   map[string]task.State
	accepted map[task.ID]bool
	ended    map[task.ID]bool // seen final once
	touched  map[task.ID]bool // cancelled, run now or rescheduled: see blind
	promised map[task.ID]promise

	ends  []end
	body  func(*task.Snapshot, *task.Result) ([]byte, error) // of callbacks; nil: the bare one
	epoch int                                                // how often the store has lost its data
}

// promise is a reschedule that was granted: nothing of an earlier generation
// begins any more, and nothing of this one before its time.
type promise struct {
	gen int
	at  time.Time
}

type row struct {
	snap     task.Snapshot
	payload  []byte
	kept     bool
	result   *task.Result
	attempts map[int]task.Attempt
	acceptBy time.Time
	finger   string
	boxedAt  time.Time // since when in the outbox
}

// letter is one message in the broker.
type letter struct {
	m           task.Message
	redelivered bool
	holder      *actor
}

// parcel is a parked settlement in the broker.
type parcel struct {
	body   []byte
	holder *actor
}

// call is one request that reached the handler.
type call struct {
	attempt int
	suspect bool
}

// actor is one process doing one thing, stopped before each of its calls.
type actor struct {
	w      *world
	name   string
	resume chan order
	paused chan struct{}
	done   bool
	dead   bool
}

type order int

const (
	proceed order = iota
	crash
)

type died struct{}

func newWorld() *world {
	return &world{
		now:  time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		rows: map[task.ID]*row{}, keys: map[string]task.ID{}, beats: map[string]time.Time{},
		ledger: map[task.ID][]call{}, finals: map[string]task.State{},
		accepted: map[task.ID]bool{}, ended: map[task.ID]bool{}, touched: map[task.ID]bool{},
		promised: map[task.ID]promise{},
	}
}

func (w *world) faultf(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *world) sayf(format string, args ...any) {
	w.trace = append(w.trace, w.now.Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// spawn starts fn as an actor, paused before its first call.
func (w *world) spawn(name string, fn func(*actor, *lifecycle.Engine)) *actor {
	a := &actor{w: w, name: name, resume: make(chan order), paused: make(chan struct{})}
	w.beats[name] = w.now.Add(lifecycle.HeartbeatTTL)
	go func() {
		defer func() {
			a.done = true
			if r := recover(); r != nil && r != (died{}) {
				w.faultf("%s panicked: %v", name, r)
			}
			a.paused <- struct{}{}
		}()
		a.pause()
		fn(a, w.engine(a))
	}()
	<-a.paused
	return a
}

func (w *world) engine(a *actor) *lifecycle.Engine {
	return lifecycle.New(queueOf{a}, storeOf{a}, lifecycle.Options{
		Owner: a.name, KeepPayload: 8, Observer: (*gossip)(w), Now: func() time.Time { return w.now }, Rand: func() float64 { return 0.5 },
		CallbackBody: w.body, Life: func(context.Context) (string, error) {
			if w.outage {
				return "", errAway
			}
			return strconv.Itoa(w.epoch), nil
		},
		NewID: func(_ time.Time, shard int) task.ID {
			w.ids++
			return task.MakeID(fmt.Sprintf("%026d", w.ids), shard)
		},
	})
}

// gossip notes what observers are told.
type gossip world

func (g *gossip) Accepted(project, endpoint string) {
	g.told = append(g.told, "accepted "+project+"/"+endpoint)
}

func (g *gossip) Finished(project, endpoint string, s task.State) {
	g.told = append(g.told, string(s)+" "+project+"/"+endpoint)
}

// pause gives the scheduler the turn; a crash ends the actor here.
func (a *actor) pause() {
	a.paused <- struct{}{}
	if <-a.resume == crash {
		panic(died{})
	}
}

// step lets the actor run to its next call, or die there.
func (a *actor) step(o order) {
	a.resume <- o
	<-a.paused
	if o == crash {
		a.dead = true
		delete(a.w.beats, a.name)
	}
	if a.done {
		a.w.handBack(a)
	}
}

// handBack redelivers what a dead or finished actor did not acknowledge.
func (w *world) handBack(a *actor) {
	for _, c := range w.queue {
		if c.holder == a {
			c.holder, c.redelivered = nil, true
		}
	}
	for _, p := range w.park {
		if p.holder == a {
			p.holder = nil
		}
	}
}

var errAway = task.Errorf(task.CodeUnavailable, "store away")

type queueOf struct{ a *actor }

func (q queueOf) Publish(_ context.Context, m task.Message) error {
	q.a.pause()
	w := q.a.w
	if w.broken && w.ids%2 == 0 {
		return task.Errorf(task.CodeNotAccepted, "broker away")
	}
	w.queue = append(w.queue, &letter{m: m})
	w.sayf("%s publishes %s gen %d seq %d v%d at %s", q.a.name, m.ID[24:], m.Gen, m.Seq, m.Version, m.ETA.Format("15:04:05"))
	q.a.pause()
	if w.broken {
		return task.Errorf(task.CodeOutcomeUnknown, "no confirm")
	}
	return nil
}

func (q queueOf) Park(_ context.Context, _ string, body []byte) error {
	q.a.pause()
	if q.a.w.broken {
		return task.Errorf(task.CodeNotAccepted, "broker away")
	}
	q.a.w.park = append(q.a.w.park, &parcel{body: slices.Clone(body)})
	q.a.pause()
	return nil
}

type storeOf struct{ a *actor }

// call runs one atomic step of the store; in an outage it fails, and the
// effect may have happened all the same.
func (s storeOf) call(effect func(w *world)) error {
	s.a.pause()
	w := s.a.w
	if w.outage && w.now.UnixMilli()%2 == 0 {
		return errAway
	}
	effect(w)
	s.a.pause()
	if w.outage {
		return errAway
	}
	return nil
}

func (s storeOf) Create(_ context.Context, t task.NewTask) (c task.Claim, err error) {
	err = s.call(func(w *world) {
		if r := w.rows[t.Spec.ID]; r != nil {
			snap := r.snap
			c = task.Claim{Present: &snap, SameRequest: true, AcceptBy: r.acceptBy}
			return
		}
		if id, ok := w.keys[t.IdemKey]; ok && t.IdemKey != "" && w.rows[id] != nil {
			r := w.rows[id]
			snap := r.snap
			c = task.Claim{Present: &snap, SameRequest: r.finger == t.Fingerprint, AcceptBy: r.acceptBy}
			return
		}
		if t.Ask {
			c.New = true
			return
		}
		w.rows[t.Spec.ID] = &row{
			snap: task.Snapshot{Spec: t.Spec, Record: t.Record}, payload: t.Payload, kept: t.Payload != nil,
			attempts: map[int]task.Attempt{}, acceptBy: t.AcceptBy, finger: t.Fingerprint,
		}
		if t.IdemKey != "" {
			w.keys[t.IdemKey] = t.Spec.ID
		}
		c.New = true
	})
	return c, err
}

func (s storeOf) Accepted(_ context.Context, id task.ID) error {
	return s.call(func(w *world) {
		if r := w.rows[id]; r != nil {
			r.acceptBy = time.Time{}
		}
	})
}

func (s storeOf) Renew(_ context.Context, id task.ID, old, next time.Time) (ok bool, err error) {
	err = s.call(func(w *world) {
		if r := w.rows[id]; r != nil && !r.acceptBy.IsZero() && r.acceptBy.Equal(old) {
			r.acceptBy, ok = next, true
		}
	})
	return ok, err
}

func (s storeOf) Abandon(_ context.Context, now time.Time, _ int) (n int, err error) {
	err = s.call(func(w *world) {
		for id, r := range w.rows {
			if !r.acceptBy.IsZero() && !now.Before(r.acceptBy) {
				delete(w.rows, id)
				n++
			}
		}
	})
	return n, err
}

func (s storeOf) Swap(_ context.Context, c task.Change) (reply task.ChangeReply, err error) {
	err = s.call(func(w *world) { reply = w.swap(c) })
	return reply, err
}

func (w *world) swap(c task.Change) task.ChangeReply {
	r := w.rows[c.Spec.ID]
	if r == nil && c.Expect != 0 {
		return task.ChangeReply{}
	}
	if r != nil && r.snap.Version != c.Expect {
		snap := r.snap
		return task.ChangeReply{Present: &snap}
	}
	if r == nil {
		r = &row{snap: task.Snapshot{Spec: *c.Spec}, attempts: map[int]task.Attempt{}}
		w.rows[c.Spec.ID] = r
	}
	w.checkSwap(r.snap.Record, c.Next, c.Spec.ID)
	w.noteEnd(&r.snap, &c)
	w.sayf("swap %s v%d→%d %s gen %d seq %d starts %d", c.Spec.ID[24:], c.Expect, c.Next.Version, c.Next.State, c.Next.Gen, c.Next.Seq, c.Next.Starts)
	r.snap.Record = c.Next
	if c.Outbox {
		r.snap.Outbox, r.boxedAt = c.Next.Gen, w.now
	}
	r.acceptBy = time.Time{}
	if c.Payload != nil {
		r.payload, r.kept = c.Payload, true
	}
	if c.DropPayload {
		r.payload, r.kept = nil, false
	}
	if c.Result != nil {
		r.result = c.Result
	}
	if c.ClearResult {
		r.result = nil
	}
	for _, a := range c.Attempts {
		r.attempts[a.Number] = a
	}
	return task.ChangeReply{OK: true}
}

// checkSwap watches the invariants that every write must keep.
func (w *world) checkSwap(old, next task.Record, id task.ID) {
	if old.State.Final() && next.Gen == old.Gen && next.State != old.State {
		w.faultf("%s: final %s became %s within generation %d", id, old.State, next.State, old.Gen)
	}
	if old.Version != 0 && next.Starts < old.Starts {
		w.faultf("%s: attempt numbers fell from %d to %d", id, old.Starts, next.Starts)
	}
	if next.State.Final() {
		w.ended[id] = true
	}
}

func (s storeOf) Get(_ context.Context, id task.ID) (snap *task.Snapshot, err error) {
	if s.a.w.torn[id] {
		return nil, errors.New("torn record")
	}
	err = s.call(func(w *world) {
		if r := w.rows[id]; r != nil {
			c := r.snap
			snap = &c
		}
	})
	return snap, err
}

func (s storeOf) Payload(_ context.Context, id task.ID) (p []byte, ok bool, err error) {
	err = s.call(func(w *world) {
		if r := w.rows[id]; r != nil {
			p, ok = r.payload, r.kept
		}
	})
	return p, ok, err
}

func (s storeOf) List(context.Context, task.Query) (task.Page, error) {
	return task.Page{}, errors.New("not part of the model")
}

func (s storeOf) Expiring(_ context.Context, now time.Time, _ int) (ids []task.ID, err error) {
	err = s.call(func(w *world) {
		for id, r := range w.rows {
			if !r.snap.State.Final() && r.snap.ExpiredAt(now) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
	})
	return ids, err
}

func (s storeOf) Beat(_ context.Context, owner string, ttl time.Duration) error {
	return s.call(func(w *world) { w.beats[owner] = w.now.Add(ttl) })
}

func (s storeOf) Alive(_ context.Context, owner string) (alive bool, err error) {
	err = s.call(func(w *world) { alive = w.now.Before(w.beats[owner]) })
	return alive, err
}

func (s storeOf) Lead(context.Context, string, string, time.Duration) (bool, error) { return true, nil }
func (s storeOf) HintCancel(context.Context, task.ID) error                         { return nil }
func (s storeOf) Forget(context.Context, string, time.Time) error                   { return nil }
