package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

var errFake = errors.New("fake failure")

func noSecrets(*task.Endpoint) ([]signing.Secret, error) { return nil, nil }

func message(n int, endpoint string) *task.Message {
	id := task.MakeID(fmt.Sprintf("01jzz%021d", n), n%task.Shards)
	now := time.Now()
	return &task.Message{
		Envelope: task.Envelope{
			Spec:    task.Spec{ID: id, Project: "default", Endpoint: endpoint, CreatedAt: now},
			Payload: []byte(`{}`),
		},
		Gen: 1, Seq: 1, ETA: now, Born: now,
	}
}

// fakeDelivery notes how it ended.
type fakeDelivery struct {
	m           *task.Message
	redelivered bool

	mu    sync.Mutex
	fails int // ends that fail first
	gone  bool
	doubt bool
	ends  []string
	at    time.Time
	ended chan struct{} // gets one value for each end
}

func deliveryOf(m *task.Message) *fakeDelivery {
	return &fakeDelivery{m: m, ended: make(chan struct{}, 99)}
}

func (d *fakeDelivery) end(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return fmt.Errorf("fake: %w", ErrGone)
	}
	if d.fails > 0 {
		d.fails--
		return errFake
	}
	d.ends = append(d.ends, what)
	d.ended <- struct{}{}
	return nil
}

func (d *fakeDelivery) Message() *task.Message        { return d.m }
func (d *fakeDelivery) Redelivered() bool             { return d.redelivered }
func (d *fakeDelivery) Doubt()                        { d.doubt = true }
func (d *fakeDelivery) Body() []byte                  { return []byte(d.m.ID) }
func (d *fakeDelivery) Ack(context.Context) error     { return d.end("ack") }
func (d *fakeDelivery) Release(context.Context) error { return d.end("release") }
func (d *fakeDelivery) Postpone(_ context.Context, at time.Time) error {
	d.mu.Lock()
	d.at = at
	d.mu.Unlock()
	return d.end("postpone")
}

func (d *fakeDelivery) want(t *testing.T, ends ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.ends, ends) {
		t.Errorf("task %s ended as %q, want %q", d.m.ID, d.ends, ends)
	}
}

// fakeEngine begins everything and notes what is settled.
type fakeEngine struct {
	mu      sync.Mutex
	begin   func(m *task.Message) (lifecycle.Start, error) // nil: begins
	settle  func(o task.Outcome) (task.Decision, error)    // nil: decides
	parked  func(body []byte) error
	begun   []time.Duration
	settled []task.Outcome
}

func (e *fakeEngine) Begin(_ context.Context, m *task.Message, _ bool, timeout time.Duration) (lifecycle.Start, error) {
	e.mu.Lock()
	e.begun = append(e.begun, timeout)
	begin := e.begin
	e.mu.Unlock()
	if begin != nil {
		return begin(m)
	}
	return started(m, timeout), nil
}

func started(m *task.Message, timeout time.Duration) lifecycle.Start {
	now := time.Now()
	expected := m.Expected()
	lease := task.Lease{Token: "t", Until: now.Add(timeout + task.LeaseSlack)}
	return lifecycle.Start{Run: &lifecycle.Running{
		Message: m, Record: expected.Started(m, lease, false, false, now), Recorded: true, StartedAt: now,
	}}
}

func (e *fakeEngine) Settle(_ context.Context, run *lifecycle.Running, p task.Policy, o task.Outcome) (task.Decision, error) {
	e.mu.Lock()
	e.settled = append(e.settled, o)
	settle := e.settle
	e.mu.Unlock()
	if settle != nil {
		return settle(o)
	}
	return task.Decide(p, &run.Record, o, time.Now(), 0), nil
}

func (e *fakeEngine) ApplyParked(_ context.Context, body []byte) error { return e.parked(body) }

func (e *fakeEngine) outcomes() []task.Outcome {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.settled)
}

// Keeper.
type fakeKeeper struct {
	mu                    sync.Mutex
	beats, sweeps, notes  int
	fail                  bool
	projects              []string
	lastBeat, lastSweepAt time.Time
}

func (k *fakeKeeper) count(n *int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	*n++
	if k.fail {
		return errFake
	}
	return nil
}

func (k *fakeKeeper) Beat(context.Context) error {
	k.mu.Lock()
	k.lastBeat = time.Now()
	k.mu.Unlock()
	return k.count(&k.beats)
}
func (k *fakeKeeper) Renote(context.Context) error { return k.count(&k.notes) }
func (k *fakeKeeper) Sweep(_ context.Context, projects []string) (lifecycle.Swept, error) {
	k.mu.Lock()
	k.projects, k.lastSweepAt = projects, time.Now()
	k.mu.Unlock()
	return lifecycle.Swept{Expired: 1}, k.count(&k.sweeps)
}

// fakeEndpoints is a registry.
// fakeSource is a queue whose releases come back at once, to any consumer.
// returning is a delivery whose release brings it back.
// sendFunc answers as a handler would.
type sendFunc func(ctx context.Context, r *Request) *Answer

func (f sendFunc) Send(ctx context.Context, r *Request) *Answer { return f(ctx, r) }

func answering(status int) sendFunc {
	return func(context.Context, *Request) *Answer { return &Answer{Status: status, Sent: true} }
}

// hanging never answers; it ends as a [Sender] does.
func hanging(begun chan<- task.ID) sendFunc {
	return func(ctx context.Context, r *Request) *Answer {
		if begun != nil {
			begun <- r.Message.ID
		}
		ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, errTimeout)
		defer cancel()
		<-ctx.Done()
		return &Answer{Reason: classify(ctx.Err(), context.Cause(ctx), nil), Sent: true}
	}
}
