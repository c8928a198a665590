package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

type rig struct {
	h   *Handler
	e   *fakeEngine
	eps *fakeEndpoints
	ep  task.Endpoint
	log *bytes.Buffer
}

func newRig(send sendFunc) *rig {
	r := &rig{e: &fakeEngine{}, ep: endpoint("orders", "http://h.example/?q=QUERY"), log: &bytes.Buffer{}}
	r.ep.Headers = map[string]string{"Authorization": "AUTH"}
	r.eps = endpointsOf(r.ep)
	r.h = &Handler{
		engine: r.e, endpoints: r.eps, sender: send, secrets: noSecrets, now: time.Now,
		log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return r
}

func (r *rig) handle(t *testing.T, d *fakeDelivery) {
	t.Helper()
	r.h.Handle(t.Context(), t.Context(), Job{Delivery: d, Endpoint: &r.ep})
}

// witness is an observer that notes what it is told.
type witness struct {
	begun int
	ends  []string
}

func (w *witness) Begun(*task.Endpoint, time.Duration) { w.begun++ }

func (w *witness) Ended(_ *task.Endpoint, o task.Outcome, d task.Decision, settled bool) {
	w.ends = append(w.ends, fmt.Sprint(o.Kind, " ", d.State, " ", settled))
}

func TestLateness(t *testing.T) {
	now := time.Now()
	for eta, want := range map[time.Time]time.Duration{
		{}: 0, now: 0, now.Add(-time.Minute): time.Minute, now.Add(time.Minute): 0,
	} {
		if got := lateness(&task.Message{ETA: eta}, now); got != want {
			t.Errorf("due at %v: %v, want %v", eta, got, want)
		}
	}
}

func TestHandleSettles(t *testing.T) {
	cases := []struct {
		status int
		kind   task.Kind
		state  task.State
	}{
		{200, task.KindSuccess, task.Succeeded},
		{500, task.KindRetry, task.Retrying},
		{400, task.KindRefuse, task.Failed},
		{410, task.KindGone, task.Failed},
	}
	for _, c := range cases {
		r := newRig(answering(c.status))
		var first, second witness
		r.h.observe = Observers{&first, &second}
		d := deliveryOf(message(1, "orders"))
		d.m.Payload = []byte("PAYLOAD")
		r.handle(t, d)
		d.want(t, "ack")
		want := witness{begun: 1, ends: []string{fmt.Sprint(c.kind, " ", c.state, " true")}}
		if !reflect.DeepEqual(first, want) || !reflect.DeepEqual(second, want) || r.h.InFlight() != 0 {
			t.Errorf("%d: observed %+v and %+v", c.status, first, second)
		}
		if ep, _, _ := r.eps.EndpointByID(r.ep.ID()); (ep.Disabled == task.ReasonGone) != (c.status == 410) {
			t.Errorf("%d: endpoint disabled %q", c.status, ep.Disabled)
		}
		for _, word := range []string{"PAYLOAD", "QUERY", "AUTH"} {
			if strings.Contains(r.log.String(), word) {
				t.Errorf("the log shows %s: %s", word, r.log)
			}
		}
	}
}

// mark is a span that can be found in contexts.
type mark struct{ witness }

type markKey struct{}

func (m *mark) In(ctx context.Context) context.Context { return context.WithValue(ctx, markKey{}, m) }
func (m *mark) TraceParent() string                    { return "the attempt's" }
func (m *mark) End(o task.Outcome, d task.Decision, settled bool) {
	m.Ended(nil, o, d, settled)
}

// An attempt's span is in every context of it, its handler gets it, and it
// ends once; without a tracer the handler gets the submitter's.
func TestHandleTraced(t *testing.T) {
	var sent []string
	var found []any
	r := newRig(func(ctx context.Context, req *Request) *Answer {
		sent, found = append(sent, req.TraceParent), append(found, ctx.Value(markKey{}))
		return &Answer{Status: 200}
	})
	engine := &contextEngine{fakeEngine: r.e}
	r.h.engine = engine
	m := message(1, "orders")
	m.TraceParent = "the submitter's"
	r.handle(t, deliveryOf(m))
	span, numbers := &mark{}, []int{}
	r.h.trace = func(_ *task.Endpoint, run *lifecycle.Running, begun time.Time) Span {
		if begun.IsZero() {
			t.Error("no begin")
		}
		numbers = append(numbers, run.Record.Starts)
		return span
	}
	r.handle(t, deliveryOf(m))
	if want := []string{"the submitter's", "the attempt's"}; !slices.Equal(sent, want) {
		t.Errorf("handlers got %q, want %q", sent, want)
	}
	if want := []any{nil, span}; !slices.Equal(found, want) || !slices.Equal(engine.found, want) {
		t.Errorf("spans %v while sending, %v while settling", found, engine.found)
	}
	if want := []string{"success succeeded true"}; !slices.Equal(span.ends, want) || !slices.Equal(numbers, []int{1}) {
		t.Errorf("attempts %v ended as %q", numbers, span.ends)
	}
}

// contextEngine notes the spans of settlements.
type contextEngine struct {
	*fakeEngine
	found []any
}

func (e *contextEngine) Settle(
	ctx context.Context, run *lifecycle.Running, p task.Policy, o task.Outcome,
) (task.Decision, error) {
	e.found = append(e.found, ctx.Value(markKey{}))
	return e.fakeEngine.Settle(ctx, run, p, o)
}

// What the sender gets comes from record, endpoint and policy.
func TestHandleRequest(t *testing.T) {
	secret := signing.Generate()
	var got *Request
	r := newRig(func(_ context.Context, req *Request) *Answer { got = req; return &Answer{Status: 200} })
	r.h.secrets = func(*task.Endpoint) ([]signing.Secret, error) { return []signing.Secret{secret}, nil }
	r.e.begin = func(m *task.Message) (lifecycle.Start, error) {
		s := started(m, time.Minute)
		s.Run.Record.Starts, s.Run.Record.Suspect = 4, true
		return s, nil
	}
	r.ep.Timeout = task.Duration(time.Minute)
	d := deliveryOf(message(1, "orders"))
	limit := 7
	d.m.Retry = &task.Retry{MaxAttempts: &limit}
	d.m.Timeout = task.Duration(20 * time.Second)
	r.handle(t, d)
	if got.Attempt != 4 || !got.Suspect || got.MaxAttempts != 7 || got.Timeout != 20*time.Second || len(got.Secrets) != 1 {
		t.Errorf("%+v", got)
	}
	r.h.Handle(t.Context(), t.Context(), Job{Delivery: deliveryOf(message(2, "orders")), Endpoint: &r.ep, MaxTimeout: time.Second})
	if got.Timeout != time.Second || r.e.begun[1] != time.Second {
		t.Errorf("timeout %s, lease for %s", got.Timeout, r.e.begun[1])
	}
}

func TestHandleNoAttempt(t *testing.T) {
	at := time.Now().Add(time.Hour)
	for _, c := range []struct {
		start lifecycle.Start
		err   error
		end   string
	}{
		{lifecycle.Start{}, nil, "ack"},
		{lifecycle.Start{Ended: task.Expired}, nil, "ack"},
		{lifecycle.Start{Later: at}, nil, "postpone"},
		{lifecycle.Start{}, errFake, "postpone"},
	} {
		r := newRig(func(context.Context, *Request) *Answer { t.Error("an attempt"); return &Answer{} })
		r.e.begin = func(*task.Message) (lifecycle.Start, error) { return c.start, c.err }
		d := deliveryOf(message(1, "orders"))
		r.handle(t, d)
		d.want(t, c.end)
		if !c.start.Later.IsZero() && !d.at.Equal(at) {
			t.Errorf("postponed to %s", d.at)
		}
		if len(r.e.outcomes()) != 0 {
			t.Error("settled without an attempt")
		}
	}
}

// A redelivery of what runs here waits, whatever the record says.
func TestHandleBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan task.ID, 1)
		r := newRig(hanging(begun))
		first, again := deliveryOf(message(1, "orders")), deliveryOf(message(1, "orders"))
		go r.handle(t, first)
		<-begun
		r.handle(t, again)
		again.want(t, "postpone")
		if wait := time.Until(again.at); wait != busyWait {
			t.Errorf("postponed by %s", wait)
		}
		synctest.Wait()
		first.want(t)
		if !r.h.Abort(first.m.ID) || r.h.Abort("other") {
			t.Error("wrong about what runs")
		}
		<-first.ended
		synctest.Wait()
		o := r.e.outcomes()
		if len(o) != 1 || o[0].Kind != task.KindInterrupted || o[0].Reason != task.ReasonCancelled || !o[0].Unanswered {
			t.Errorf("%+v", o)
		}
	})
}

// While neither store nor broker take the outcome, nothing is acknowledged.
func TestHandleSettleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(answering(200))
		var seen witness
		r.h.observe = Observers{&seen}
		left := 5
		r.e.settle = func(task.Outcome) (task.Decision, error) {
			if left--; left >= 0 {
				return task.Decision{}, errFake
			}
			return task.Decision{State: task.Succeeded}, nil
		}
		d := deliveryOf(message(1, "orders"))
		r.handle(t, d)
		d.want(t, "ack")

		begin := time.Now()
		r.e.settle = func(task.Outcome) (task.Decision, error) { return task.Decision{}, errFake }
		d = deliveryOf(message(2, "orders"))
		d.m.Timeout = task.Duration(time.Second)
		r.handle(t, d)
		d.want(t, "postpone")
		if !d.doubt {
			t.Error("nothing tells that the handler may have been called")
		}
		if took := time.Since(begin); took > time.Second+task.LeaseSlack {
			t.Errorf("it tried for %s, past its lease", took)
		}
		d = deliveryOf(message(3, "orders"))
		d.fails = 99 // the broker is away, too, for minutes
		r.handle(t, d)
		d.want(t, "postpone") // left unfinished it would be stuck with us
		if want := []string{"success succeeded true", "success  false", "success  false"}; seen.begun != 3 || !slices.Equal(seen.ends, want) {
			t.Errorf("observed %+v", seen)
		}
		d = deliveryOf(message(4, "orders"))
		d.gone = true
		r.handle(t, d)
		d.want(t)
	})
}

func TestHandlePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(func(context.Context, *Request) *Answer { panic("send") })
		d := deliveryOf(message(1, "orders"))
		r.handle(t, d)
		d.want(t, "ack")
		if o := r.e.outcomes(); len(o) != 1 || o[0].Kind != task.KindRetry || o[0].Reason != task.ReasonInternal || !o[0].Unanswered {
			t.Errorf("%+v", o)
		}
		r.e.begin = func(*task.Message) (lifecycle.Start, error) { panic("begin") }
		d = deliveryOf(message(2, "orders"))
		r.handle(t, d)
		d.want(t, "postpone")
		r.e.begin, r.e.settle = nil, func(task.Outcome) (task.Decision, error) { panic("settle") }
		d = deliveryOf(message(3, "orders"))
		r.handle(t, d)
		d.want(t, "postpone")
		if r.h.InFlight() != 0 {
			t.Error("still in flight")
		}
	})
}

func TestHandleNoSecret(t *testing.T) {
	r := newRig(func(context.Context, *Request) *Answer { t.Error("sent unsigned"); return &Answer{} })
	r.h.secrets = func(*task.Endpoint) ([]signing.Secret, error) { return nil, errors.New("cannot be opened") }
	d := deliveryOf(message(1, "orders"))
	r.handle(t, d)
	d.want(t, "ack")
	if o := r.e.outcomes(); o[0].Kind != task.KindRetry || o[0].Reason != task.ReasonInternal || o[0].Unanswered {
		t.Errorf("%+v", o)
	}
}

func TestHandleLastSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(answering(410))
		r.eps.fails = 2
		d := deliveryOf(message(1, "orders"))
		d.fails = 2
		r.handle(t, d)
		d.want(t, "ack")
		if ep, _, _ := r.eps.EndpointByID(r.ep.ID()); ep.Disabled != task.ReasonGone {
			t.Error("not disabled")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(ErrShutdown)
		d = deliveryOf(message(2, "orders"))
		r.h.Handle(ctx, t.Context(), Job{Delivery: d, Endpoint: &r.ep})
		d.want(t, "release")
	})
}
