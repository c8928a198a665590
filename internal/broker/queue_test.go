package broker

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drawMessage makes any message that the domain can make: times have the
// store's precision, counters fit 31 bits.
func drawMessage(rt *rapid.T) task.Message {
	moment := rapid.Map(rapid.Int64Range(0, 1<<43), task.FromMillis)
	text := rapid.StringOfN(rapid.Rune(), 0, 30, -1)
	created := moment.Draw(rt, "created")
	m := task.Message{
		Gen:     rapid.IntRange(1, math.MaxInt32).Draw(rt, "gen"),
		Seq:     rapid.IntRange(1, math.MaxInt32).Draw(rt, "seq"),
		Used:    rapid.IntRange(0, math.MaxInt32).Draw(rt, "used"),
		Starts:  rapid.IntRange(0, math.MaxInt32).Draw(rt, "starts"),
		Version: rapid.Int64().Draw(rt, "version"),
		Suspect: rapid.Bool().Draw(rt, "suspect"), Rebuilt: rapid.Bool().Draw(rt, "rebuilt"),
		ETA:  moment.Draw(rt, "eta"),
		Born: moment.Draw(rt, "born"),
	}
	m.Spec = task.Spec{
		ID:      task.MakeID("01hzzzzzzzzzzzzzzzzzzzzzzz", rapid.IntRange(0, 15).Draw(rt, "shard")),
		Project: "p" + text.Draw(rt, "project"), Endpoint: "e" + text.Draw(rt, "endpoint"),
		CreatedAt: created, ContentType: text.Draw(rt, "type"),
	}
	m.Payload = rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "payload")
	return m
}

func TestWireRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := drawMessage(rt)
		w, err := encodeWire(&m)
		if err != nil {
			rt.Fatal(err)
		}
		if len(w.Meta) > 256 || strings.ContainsFunc(w.Meta, func(r rune) bool { return r < ' ' || r > '~' }) {
			rt.Fatalf("meta breaks the driver's contract: %q", w.Meta)
		}
		got, err := decodeWire(w)
		if err != nil {
			rt.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			rt.Fatalf("came back as\n%+v\nwant\n%+v", got, m)
		}
	})
}

// FuzzDecodeMeta: what is accepted is what would be written, and nothing
// panics.
func FuzzDecodeMeta(f *testing.F) {
	for _, s := range []string{
		"", "1", "1 1 1 0 0 1 0 0 0", "1 1 1 0 0 1 1 1764000000000 1764000000000", "2 1 1 0 0 1 0 0 0",
		"1 0 1 0 0 1 0 0 0", "1 1 1 0 0 1 2 0 0", "1 1 1 0 0 1 0 0", "1 99999999999 1 0 0 1 0 0 0",
		"1 1 1 0 0 9223372036854775808 0 0 0", "1  1 1 0 0 1 0 0", "1 +1 1 0 0 1 0 0 0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m task.Message
		if decodeMeta(s, &m) != nil {
			return
		}
		var again task.Message
		if err := decodeMeta(encodeMeta(&m), &again); err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%q: accepted as %+v, then %v, %+v", s, m, err, again)
		}
		if m.Gen < 1 || m.Seq < 1 || m.Used < 0 || m.Starts < 0 {
			t.Errorf("%q: impossible fence %+v", s, m)
		}
	})
}

// fake records what a queue does to its driver and plays what it is told.
type fake struct {
	Driver // panics for what no case here needs

	mu        sync.Mutex
	published []Wire
	results   []error // of the next publishes, then nil
	handler   Handler
	fate      func(context.Context, Wire) (Fate, error)
}

func (f *fake) Publish(_ context.Context, w Wire) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.results) > 0 {
		err := f.results[0]
		f.results = f.results[1:]
		if err != nil {
			return err
		}
	}
	f.published = append(f.published, w)
	return nil
}

func (f *fake) Consume(_ context.Context, _ task.EndpointID, _ int, h Handler) (Consumer, error) {
	f.handler = h
	return nil, nil //nolint:nilnil // not looked at
}

func (f *fake) ConsumeSystem(_ context.Context, _ System, _ int, h Handler) (Consumer, error) {
	f.handler = h
	return nil, nil //nolint:nilnil // not looked at
}

func (f *fake) Maintain(_ context.Context, fate func(context.Context, Wire) (Fate, error)) error {
	f.fate = fate
	return nil
}

func (f *fake) Close(context.Context) error { return nil }

// hand is a delivery whose end is told on a channel.
type hand struct {
	wire Wire
	end  chan string
	err  error
}

func newHand(w Wire) *hand { return &hand{wire: w, end: make(chan string, 10)} }

func (h *hand) Wire() Wire                                { return h.wire }
func (h *hand) Redelivered() bool                         { return true }
func (h *hand) Doubt()                                    {}
func (h *hand) Ack(context.Context) error                 { h.end <- "ack"; return h.err }
func (h *hand) Release(context.Context) error             { h.end <- "release"; return h.err }
func (h *hand) Postpone(context.Context, time.Time) error { h.end <- "postpone"; return h.err }

func (h *hand) ended(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h.end:
		if got != want {
			t.Errorf("delivery ended by %s, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("delivery not ended, want %s", want)
	}
}

func newQueue(t *testing.T, f *fake, opts ...Option) *Queue {
	t.Helper()
	quiet := WithLogger(slog.New(slog.DiscardHandler))
	q := New(f, append([]Option{quiet}, opts...)...)
	t.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return q
}

func message() task.Message {
	now := task.FromMillis(1_764_000_000_000)
	env := task.Envelope{Payload: []byte("hello")}
	env.Spec = task.Spec{
		ID: task.MakeID("01hzzzzzzzzzzzzzzzzzzzzzzz", 3), Project: "p", Endpoint: "e", CreatedAt: now,
	}
	return task.First(env, 1)
}

func TestPublishAndConsume(t *testing.T) {
	f := &fake{}
	q := newQueue(t, f)
	m := message()
	if err := q.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w := f.published[0]
	if w.ID != string(m.ID) || w.Endpoint != m.EndpointID() || w.System != "" || !w.ETA.Equal(m.ETA) {
		t.Errorf("published %+v", w)
	}
	var got *TaskDelivery
	if _, err := q.Consume(t.Context(), m.EndpointID(), 1, func(d *TaskDelivery) { got = d }); err != nil {
		t.Fatal(err)
	}
	h := newHand(w)
	f.handler(h)
	if !reflect.DeepEqual(got.Message, m) || !got.Redelivered {
		t.Errorf("delivered %+v", got)
	}
	for want, end := range map[string]func() error{
		"ack":      func() error { return got.Ack(t.Context()) },
		"release":  func() error { return got.Release(t.Context()) },
		"postpone": func() error { return got.Postpone(t.Context(), time.Now()) },
	} {
		if err := end(); err != nil {
			t.Error(err)
		}
		h.ended(t, want)
	}
}

func TestParked(t *testing.T) {
	f := &fake{}
	q := newQueue(t, f)
	if err := q.Park(t.Context(), "some id", []byte("settlement")); err != nil {
		t.Fatal(err)
	}
	w := f.published[0]
	if w.System != Parked || w.Endpoint != "" {
		t.Errorf("published %+v", w)
	}
	var got *ParkedDelivery
	if _, err := q.ConsumeParked(t.Context(), 1, func(d *ParkedDelivery) { got = d }); err != nil {
		t.Fatal(err)
	}
	h := newHand(w)
	f.handler(h)
	if got.ID != "some id" || string(got.Body) != "settlement" {
		t.Errorf("delivered %+v", got)
	}
	if err := got.Ack(t.Context()); err != nil {
		t.Error(err)
	}
	h.ended(t, "ack")
}

// ledger is an observer that notes what it is told.
type ledger []string

func (l *ledger) Published(kind Kind, took time.Duration, err error) {
	if took < 0 {
		err = errors.New("negative time")
	}
	*l = append(*l, string(kind)+" "+string(task.CodeOf(err)))
}

// TestObserver: it is told of everything that the driver was given to store,
// and of nothing else.
func TestObserver(t *testing.T) {
	var told ledger
	f := &fake{results: []error{nil, ErrNotStored, nil, ErrUnknown}}
	q := newQueue(t, f, WithObserver(&told))
	for range 2 {
		_ = q.Publish(t.Context(), message())
	}
	for range 2 {
		_ = q.Park(t.Context(), "id", []byte("settlement"))
	}
	h := newHand(Wire{})
	d := &TaskDelivery{raw: h, q: q}
	for _, h.err = range []error{nil, ErrUnknown, ErrClosed} {
		_, _ = d.Postpone(t.Context(), time.Now()), d.Release(t.Context())
	}
	_ = d.Ack(t.Context())
	bad := newHand(Wire{ID: "x", Body: []byte("garbage")})
	if _, err := q.Consume(t.Context(), "ep", 1, func(*TaskDelivery) {}); err != nil {
		t.Fatal(err)
	}
	f.handler(bad)
	bad.ended(t, "ack")
	want := ledger{
		"task ", "task not_accepted", "parked ", "parked outcome_unknown",
		"postpone ", "release ", "postpone outcome_unknown", "release outcome_unknown", "dead ",
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestPublishErrors(t *testing.T) {
	for _, c := range []struct {
		driver error
		code   task.Code
	}{
		{ErrNotStored, task.CodeNotAccepted},
		{ErrUnknown, task.CodeOutcomeUnknown},
		{errors.New("neither"), task.CodeOutcomeUnknown},
	} {
		f := &fake{results: []error{c.driver}}
		m := message()
		err := newQueue(t, f).Publish(t.Context(), m)
		var coded *task.Error
		if !errors.As(err, &coded) || coded.Code != c.code || coded.TaskID != m.ID || !errors.Is(err, c.driver) {
			t.Errorf("driver says %v: got %v", c.driver, err)
		}
	}
}

func TestHandBackErrors(t *testing.T) {
	h := newHand(Wire{})
	for _, c := range []struct {
		driver error
		code   task.Code
	}{
		{ErrClosed, task.CodeInternal}, // no code: the broker delivers again
		{ErrNotStored, task.CodeNotAccepted},
		{ErrUnknown, task.CodeOutcomeUnknown},
	} {
		h.err = c.driver
		d := &TaskDelivery{raw: h, q: newQueue(t, &fake{})}
		for _, err := range []error{d.Release(t.Context()), d.Postpone(t.Context(), time.Now())} {
			if !errors.Is(err, c.driver) || task.CodeOf(err) != c.code {
				t.Errorf("driver says %v: got %v", c.driver, err)
			}
		}
	}
}

// TestUndecodable: what nobody can read goes to the dead, surely, before it is
// acknowledged; the worker never sees it and the neighbour is served.
func TestUndecodable(t *testing.T) {
	good, err := encodeWire(new(message()))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]Wire{
		"body": {ID: "x", Endpoint: good.Endpoint, Meta: good.Meta, Body: []byte("garbage")},
		"meta": {ID: "x", Endpoint: good.Endpoint, Meta: "1 2 3", Body: good.Body},
		"none": {},
	} {
		t.Run(name, func(t *testing.T) {
			var sources []string
			f := &fake{results: []error{ErrNotStored}} // the first burial fails
			q := newQueue(t, f, WithCorrupt(func(s string) { sources = append(sources, s) }))
			served := 0
			if _, err := q.Consume(t.Context(), "ep", 2, func(*TaskDelivery) { served++ }); err != nil {
				t.Fatal(err)
			}
			h := newHand(bad)
			f.handler(h)
			f.handler(newHand(good))
			h.ended(t, "ack")
			f.mu.Lock()
			defer f.mu.Unlock()
			want := Wire{ID: bad.ID, System: Dead, Meta: bad.Meta, Body: bad.Body}
			if len(f.published) != 1 || !reflect.DeepEqual(f.published[0], want) {
				t.Errorf("published %+v, want %+v", f.published, want)
			}
			if served != 1 || len(sources) != 1 || sources[0] != "ep" {
				t.Errorf("served %d, counted %v", served, sources)
			}
		})
	}
}

func TestMaintainFate(t *testing.T) {
	m := message()
	good, err := encodeWire(&m)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	q := newQueue(t, f)
	failed := errors.New("store away")
	err = q.Maintain(t.Context(), func(_ context.Context, got task.Message) (Fate, error) {
		if !reflect.DeepEqual(got, m) {
			t.Errorf("asked about %+v", got)
		}
		return Drop, failed
	})
	if err != nil {
		t.Fatal(err)
	}
	if fate, err := f.fate(t.Context(), good); fate != Drop || !errors.Is(err, failed) {
		t.Errorf("fate %v, %v", fate, err)
	}

	bad := Wire{ID: "x", Endpoint: "ep", Body: []byte("garbage")}
	f.results = []error{ErrUnknown}
	if fate, err := f.fate(t.Context(), bad); fate == Drop || err == nil {
		t.Errorf("not buried, and fate %v, %v", fate, err)
	}
	if fate, err := f.fate(t.Context(), bad); fate != Drop || err != nil {
		t.Errorf("buried, and fate %v, %v", fate, err)
	}
	if len(f.published) != 1 || f.published[0].System != Dead {
		t.Errorf("published %+v", f.published)
	}
}
