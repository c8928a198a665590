package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// received is a delivery with the moment it came.
type received struct {
	broker.Delivery
	at time.Time
}

// inbox collects what a consumer delivers; the test's end stops it.
type inbox struct {
	t        *testing.T
	consumer broker.Consumer
	ch       chan received
}

// inboxSize is more than any case leaves unread, so that handlers return
// quickly.
const inboxSize = 10_000

func newInbox(t *testing.T) *inbox { return &inbox{t: t, ch: make(chan received, inboxSize)} }

func (b *inbox) handle(d broker.Delivery) { b.ch <- received{Delivery: d, at: time.Now()} }

// consume declares nothing: the case says what exists.
func consume(t *testing.T, d broker.Driver, ep task.EndpointID, prefetch int) *inbox {
	t.Helper()
	b := newInbox(t)
	c, err := d.Consume(within(t), ep, prefetch, b.handle)
	return b.started(c, err)
}

func consumeSystem(t *testing.T, d broker.Driver, q broker.System, prefetch int) *inbox {
	t.Helper()
	b := newInbox(t)
	c, err := d.ConsumeSystem(within(t), q, prefetch, b.handle)
	return b.started(c, err)
}

func (b *inbox) started(c broker.Consumer, err error) *inbox {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("Consume: %v", err)
	}
	b.consumer = c
	b.t.Cleanup(func() { _ = c.Stop(within(b.t)) }) // its driver may be closed or killed by now
	return b
}

func (b *inbox) stop() {
	b.t.Helper()
	if err := b.consumer.Stop(within(b.t)); err != nil {
		b.t.Fatalf("Stop: %v", err)
	}
}

// next waits for a delivery.
func (b *inbox) next() received {
	b.t.Helper()
	select {
	case d := <-b.ch:
		return d
	case <-time.After(patience):
		b.t.Fatal("no delivery came")
		return received{}
	}
}

// take waits for n deliveries and leaves them unfinished.
func (b *inbox) take(n int) []received {
	b.t.Helper()
	out := make([]received, n)
	for i := range out {
		out[i] = b.next()
	}
	return out
}

// collect waits until each id was delivered, acknowledges, and fails on an id
// that comes twice without the mark of a redelivery, or that is unknown.
func (b *inbox) collect(ids []string) map[string]received {
	b.t.Helper()
	want := make(map[string]bool, len(ids))
	for _, id := range ids {
		want[id] = true
	}
	got := make(map[string]received, len(ids))
	for len(got) < len(want) {
		d := b.next()
		id := d.Wire().ID
		if _, twice := got[id]; twice && !d.Redelivered() {
			b.t.Errorf("%s was delivered twice", id)
		}
		if !want[id] {
			b.t.Errorf("unexpected message %s", id)
		}
		got[id] = d
		ack(b.t, d)
	}
	return got
}

// none fails when something is delivered.
func (b *inbox) none() {
	b.t.Helper()
	select {
	case d := <-b.ch:
		b.t.Fatalf("unexpected delivery of %s", d.Wire().ID)
	case <-time.After(quiet):
	}
}

func ack(t *testing.T, d broker.Delivery) {
	t.Helper()
	if err := d.Ack(within(t)); err != nil {
		t.Fatalf("Ack: %v", err)
	}
}

func declare(t *testing.T, d broker.Driver, eps ...task.EndpointID) {
	t.Helper()
	for _, ep := range eps {
		if err := d.Declare(within(t), ep); err != nil {
			t.Fatalf("Declare: %v", err)
		}
	}
}

func publish(t *testing.T, d broker.Driver, w broker.Wire) {
	t.Helper()
	if err := d.Publish(within(t), w); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

// publishAll publishes at once and returns the ids.
func publishAll(t *testing.T, d broker.Driver, ws []broker.Wire) []string {
	t.Helper()
	ctx := within(t)
	ids := make([]string, len(ws))
	var wg sync.WaitGroup
	for i, w := range ws {
		ids[i] = w.ID
		wg.Go(func() {
			if err := d.Publish(ctx, w); err != nil {
				t.Errorf("Publish %s: %v", w.ID, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ids
}

// wires makes n messages for ep, due now.
func wires(ep task.EndpointID, n int) []broker.Wire {
	ws := make([]broker.Wire, n)
	for i := range ws {
		ws[i] = wire(ep, i)
	}
	return ws
}

func wire(ep task.EndpointID, i int) broker.Wire {
	return broker.Wire{
		ID: fmt.Sprintf("m%05d", i), Endpoint: ep,
		Meta: fmt.Sprintf("meta %d", i), Body: fmt.Appendf(nil, "body %d", i),
	}
}

func idsOf(ws []broker.Wire) []string {
	ids := make([]string, len(ws))
	for i, w := range ws {
		ids[i] = w.ID
	}
	return ids
}

// fates answers for the shared store's maintainers and remembers what they
// asked. Hold unless told otherwise.
type fates struct {
	mu     sync.Mutex
	answer map[task.EndpointID]func(context.Context, broker.Wire) (broker.Fate, error)
	asked  map[task.EndpointID]chan string
}

func newFates() *fates {
	return &fates{
		answer: map[task.EndpointID]func(context.Context, broker.Wire) (broker.Fate, error){},
		asked:  map[task.EndpointID]chan string{},
	}
}

// set decides an endpoint's fates; asked gets the ids that were asked about.
func (f *fates) set(ep task.EndpointID, answer func(context.Context, broker.Wire) (broker.Fate, error)) (asked <-chan string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan string, inboxSize)
	f.answer[ep], f.asked[ep] = answer, ch
	return ch
}

func (f *fates) ask(ctx context.Context, w broker.Wire) (broker.Fate, error) {
	f.mu.Lock()
	answer, asked := f.answer[w.Endpoint], f.asked[w.Endpoint]
	f.mu.Unlock()
	if answer == nil {
		return broker.Hold, nil
	}
	fate, err := answer(ctx, w)
	asked <- w.ID
	return fate, err
}

// awaitAsked waits until a maintainer asked about an endpoint.
func awaitAsked(t *testing.T, asked <-chan string) string {
	t.Helper()
	select {
	case id := <-asked:
		return id
	case <-time.After(patience):
		t.Fatal("nobody asked for the message's fate")
		return ""
	}
}

// lateness sums up how late deliveries were.
type lateness []time.Duration

func (l lateness) String() string {
	if len(l) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(l))
	at := func(p int) time.Duration { return s[(len(s)-1)*p/100].Round(100 * time.Microsecond) }
	return fmt.Sprintf("n=%d min=%v p50=%v p99=%v max=%v", len(s), at(0), at(50), at(99), at(100))
}

func (l lateness) max() time.Duration { return slices.Max(l) }

// measure takes one delivery per message and returns how late each came.
// Early is an error: strictly, at any load.
func (b *inbox) measure(ws []broker.Wire) lateness {
	b.t.Helper()
	etas := make(map[string]time.Time, len(ws))
	for _, w := range ws {
		etas[w.ID] = w.ETA
	}
	var out lateness
	for id, d := range b.collect(idsOf(ws)) {
		late := d.at.Sub(etas[id])
		if late < 0 {
			b.t.Errorf("%s came %v early", id, -late)
		}
		out = append(out, late)
	}
	return out
}
