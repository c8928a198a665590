package lifecycle_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// The model test runs submissions, repeats, deliveries, cancellations,
// replays and sweeps as interleaved processes that die between any two steps,
// on a store that goes away or forgets and a broker that breaks. Then the
// world heals, everything is delivered to its end, and nothing accepted may be
// lost and no duplicate unannounced.
func TestModel(t *testing.T) {
	t.Parallel()
	for n := range modelRounds {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := &model{t: t, w: newWorld()}
				m.run()
				m.heal()
				m.check()
			})
		})
	}
}

// modelRounds multiplies rapid's number of checks: the rare interleavings
// were found after thousands.
const modelRounds = 20

type model struct {
	t      *rapid.T
	w      *world
	actors []*actor
	spawns int
	ids    []task.ID
}

// pick draws one of xs by its index, which shrinks and prints better.
func pick[T any](m *model, xs []T, label string) T {
	return xs[rapid.IntRange(0, len(xs)-1).Draw(m.t, label)]
}

const (
	steps     = 120
	maxActors = 6
	timeout   = 30 * time.Second
)

var policy = task.Policy{
	MaxAttempts: 4, MinBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 2, MaxAge: 30 * 24 * time.Hour,
}

func (m *model) run() {
	for range steps {
		m.act(rapid.IntRange(0, 20).Draw(m.t, "act"))
		m.reap()
	}
}

func (m *model) act(kind int) {
	w := m.w
	switch {
	case kind < 8 && len(m.actors) > 0:
		m.stepOne()
	case kind < 10:
		m.submit()
	case kind < 14:
		m.deliver()
	case kind == 14:
		m.cancel()
	case kind == 15:
		m.retry()
	case kind == 16:
		m.sweep()
	case kind == 17:
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40_001).Draw(m.t, "ms")) * time.Millisecond)
		m.beatLiving()
	case kind == 18:
		m.weather()
	case kind == 19:
		m.reschedule()
	default:
		m.unpark()
	}
}

// weather changes what works.
func (m *model) weather() {
	w := m.w
	switch rapid.IntRange(0, 5).Draw(m.t, "weather") {
	case 0, 1:
		w.outage, w.blind = !w.outage, true
	case 2, 3:
		w.broken = !w.broken
	case 4:
		w.rows, w.keys, w.lost, w.blind = map[task.ID]*row{}, map[string]task.ID{}, true, true
		w.epoch++
		w.sayf("the store forgets everything")
	default:
		w.outage, w.broken = false, false
	}
}

func (m *model) beatLiving() {
	for _, a := range m.actors {
		m.w.beats[a.name] = m.w.now.Add(lifecycle.HeartbeatTTL)
	}
}

func (m *model) stepOne() {
	a := pick(m, m.actors, "actor")
	o := proceed
	if rapid.IntRange(0, 14).Draw(m.t, "crash") == 14 {
		o = crash
		m.w.sayf("%s dies", a.name)
	}
	a.step(o)
}

func (m *model) reap() {
	living := m.actors[:0]
	for _, a := range m.actors {
		if !a.done {
			living = append(living, a)
		}
	}
	m.actors = living
}

func (m *model) spawn(kind string, fn func(*actor, *lifecycle.Engine)) {
	if len(m.actors) >= maxActors {
		return
	}
	m.spawns++
	m.actors = append(m.actors, m.w.spawn(fmt.Sprintf("%s-%d", kind, m.spawns), fn))
}

func (m *model) submit() {
	s := lifecycle.Submission{Project: "default", Endpoint: "mail", Payload: []byte("{}"), Fingerprint: "f"}
	switch rapid.IntRange(0, 5).Draw(m.t, "shape") {
	case 0:
		s.RunAt = m.w.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(m.t, "delay")) * time.Second)
	case 1:
		s.ExpiresAt = m.w.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(m.t, "expiry")) * time.Second)
	case 2, 3:
		s.IdempotencyKey = fmt.Sprintf("key-%d", rapid.IntRange(0, 3).Draw(m.t, "key"))
	case 4:
		s.Payload = []byte("longer than what is kept")
	default:
	}
	s.Callback = m.wish()
	m.spawn("gateway", func(_ *actor, e *lifecycle.Engine) {
		r, err := e.Accept(context.Background(), s)
		if err == nil {
			m.w.accepted[r.Task.ID] = true
			m.ids = append(m.ids, r.Task.ID)
		}
	})
}

// deliver hands one due message to a worker.
func (m *model) deliver() {
	var due []*letter
	for _, c := range m.w.queue {
		if c.holder == nil && !m.w.now.Before(c.m.ETA) {
			due = append(due, c)
		}
	}
	if len(due) == 0 {
		return
	}
	c := pick(m, due, "message")
	out := pick(m, outcomes(), "outcome")
	m.work(c, out)
}

func outcomes() []task.Outcome {
	ok := task.Outcome{Kind: task.KindSuccess, Status: 200, Result: &task.Result{Status: 200, Body: []byte("ok")}}
	return []task.Outcome{
		ok, ok, ok,
		{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500},
		{Kind: task.KindRetry, Reason: task.ReasonTimeout, Unanswered: true},
		{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 429, RetryAfter: 10 * time.Second},
		{Kind: task.KindRefuse, Reason: task.ReasonPermanentStatus, Status: 400},
		{Kind: task.KindInterrupted, Reason: task.ReasonShutdown, Unanswered: true},
	}
}

func (m *model) work(c *letter, out task.Outcome) {
	if len(m.actors) >= maxActors {
		return
	}
	m.spawn("worker", func(a *actor, e *lifecycle.Engine) { m.w.handle(a, e, c, out) })
	c.holder = m.actors[len(m.actors)-1]
}

// handle is what a dispatcher does with one delivery.
func (w *world) handle(a *actor, e *lifecycle.Engine, c *letter, out task.Outcome) {
	ctx := context.Background()
	msg := c.m
	_, _ = e.Recall(ctx)
	start, err := e.Begin(ctx, &msg, c.redelivered, timeout)
	switch {
	case err != nil:
		return // not acknowledged
	case start.Run == nil && start.Later.IsZero():
		w.sayf("%s drops %s gen %d seq %d (ended %q)", a.name, c.m.ID[24:], c.m.Gen, c.m.Seq, start.Ended)
		w.ack(c)
		return
	case start.Run == nil:
		w.sayf("%s postpones %s gen %d seq %d to %s", a.name, c.m.ID[24:], c.m.Gen, c.m.Seq, start.Later.Format("15:04:05.000"))
		a.pause()
		w.queue = append(w.queue, &letter{m: postponed(c.m, start.Later), redelivered: c.redelivered})
		a.pause()
		w.ack(c)
		return
	}
	w.request(a, start.Run)
	for {
		if _, err = e.Settle(ctx, start.Run, policy, out); err == nil {
			break
		}
		a.pause()
	}
	a.pause()
	w.ack(c)
	a.pause()
	_, _ = e.Recall(ctx)
}

// postponed is the same message with a later delivery; its fence is untouched.
func postponed(m task.Message, at time.Time) task.Message {
	m.ETA = at
	return m
}

func (w *world) ack(c *letter) {
	for i, q := range w.queue {
		if q == c {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return
		}
	}
}

// request is the handler's side: it keeps the ledger.
func (w *world) request(a *actor, run *lifecycle.Running) {
	a.pause()
	id, n := run.Message.ID, call{run.Record.Starts, run.Record.Suspect}
	if w.now.Before(run.Message.ETA) {
		w.faultf("%s ran early", id)
	}
	if len(w.ledger[id]) > 0 && n.attempt == 1 && !n.suspect && !(w.blind && w.touched[id]) {
		w.faultf("%s: duplicate not announced: %v then %v", id, w.ledger[id], n)
	}
	// What the store forgot, and what ran without it, nobody can hold back.
	if p := w.promised[id]; !w.blind && (run.Record.Gen < p.gen || run.Record.Gen == p.gen && w.now.Before(p.at)) {
		w.faultf("%s: generation %d runs at %s, but %d was promised for %s", id, run.Record.Gen, w.now, p.gen, p.at)
	}
	w.heard(run.Message)
	w.ledger[id] = append(w.ledger[id], n)
	w.sayf("%s calls the handler for %s: %+v", a.name, id[24:], n)
	a.pause()
}

func (m *model) cancel() {
	if len(m.ids) == 0 {
		return
	}
	id := m.any("cancel")
	m.w.touched[id] = true
	m.spawn("canceller", func(_ *actor, e *lifecycle.Engine) {
		if _, err := e.Cancel(context.Background(), "default", id); err == nil {
			m.w.ended[id] = true
		}
	})
}

func (m *model) retry() {
	if len(m.ids) == 0 {
		return
	}
	id := m.any("retry")
	m.w.touched[id] = true
	m.spawn("replayer", func(_ *actor, e *lifecycle.Engine) {
		_, _ = e.Retry(context.Background(), "default", id)
	})
}

func (m *model) reschedule() {
	if len(m.ids) == 0 {
		return
	}
	id := pick(m, m.ids, "reschedule")
	m.w.touched[id] = true
	at := m.w.now.Add(time.Duration(rapid.IntRange(-10, 100).Draw(m.t, "to")) * time.Second)
	m.spawn("rescheduler", func(_ *actor, e *lifecycle.Engine) {
		s, err := e.Reschedule(context.Background(), "default", id, at)
		if err == nil && s.Gen > m.w.promised[id].gen {
			m.w.promised[id] = promise{gen: s.Gen, at: at}
		}
	})
}

func (m *model) sweep() {
	m.spawn("sweeper", func(_ *actor, e *lifecycle.Engine) {
		_, _ = e.Sweep(context.Background(), []string{"default"})
	})
}

func (m *model) unpark() {
	w := m.w
	i := slices.IndexFunc(w.park, func(p *parcel) bool { return p.holder == nil })
	if i < 0 || len(m.actors) >= maxActors {
		return
	}
	p := w.park[i]
	m.spawn("unparker", func(_ *actor, e *lifecycle.Engine) {
		if e.ApplyParked(context.Background(), p.body) == nil {
			w.park = slices.DeleteFunc(w.park, func(q *parcel) bool { return q == p })
		}
	})
	p.holder = m.actors[len(m.actors)-1]
}

const healRounds = 4000

// heal ends the weather, lets every process finish, and delivers what is
// there until nothing is left. Handlers succeed now.
func (m *model) heal() {
	w := m.w
	w.outage, w.broken = false, false
	ok := outcomes()[0]
	for range healRounds {
		m.finishAll()
		m.unpark()
		m.finishAll()
		m.sweep()
		m.finishAll()
		if len(w.queue) == 0 && len(w.park) == 0 && !w.boxed() {
			return
		}
		w.now = w.now.Add(20 * time.Second)
		for _, c := range append([]*letter(nil), w.queue...) {
			if c.holder == nil && !w.now.Before(c.m.ETA) && len(m.actors) < maxActors {
				m.work(c, ok)
				m.finishAll()
			}
		}
	}
	m.t.Fatalf("the world did not come to rest: %d messages, %d parked", len(w.queue), len(w.park))
}

func (m *model) finishAll() {
	for range healRounds {
		m.reap()
		if len(m.actors) == 0 {
			return
		}
		m.actors[0].step(proceed)
	}
	m.t.Fatal("a process does not end")
}

func (m *model) check() {
	w := m.w
	for _, f := range w.faults {
		m.t.Error(f)
	}
	defer func() {
		if m.t.Failed() {
			m.t.Log(strings.Join(w.trace, "\n"))
		}
	}()
	w.checkCallbacks(m.t)
	for id := range w.accepted {
		r := w.rows[id]
		switch {
		case r != nil && r.snap.State.Final():
		case r == nil && w.lost && (w.ended[id] || len(w.ledger[id]) > 0):
		case r == nil:
			m.t.Errorf("%s was accepted and is lost (calls %v)", id, w.ledger[id])
		default:
			m.t.Errorf("%s was accepted and is stuck as %s (gen %d seq %d, calls %v)", id, r.snap.State, r.snap.Gen, r.snap.Seq, w.ledger[id])
		}
	}
}
