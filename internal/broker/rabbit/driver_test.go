package rabbit

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

const patience = 20 * time.Second

// TestReconnect: the driver survives the loss of its connections: what was in
// a worker's hands comes again, marked; the late ack of the old delivery is
// refused and removes no neighbour; publishing goes on.
func TestReconnect(t *testing.T) {
	t.Parallel()
	s, proxy := newProxiedStore(t)
	d := s.open(t)
	ctx := t.Context()
	ep := task.MakeEndpointID(t.Name(), "ep")
	got := subscribe(t, d, ep)
	ids := []string{"b", "c", "d"}
	old := map[string]broker.Delivery{}
	for _, id := range ids {
		mustPublish(t, d, ep, id)
	}
	for range ids {
		x := recv(t, got)
		old[x.Wire().ID] = x
	}

	proxy.cut()
	fresh := map[string]broker.Delivery{}
	for range ids {
		x := recv(t, got)
		if !x.Redelivered() {
			t.Errorf("%s came again without the mark", x.Wire().ID)
		}
		fresh[x.Wire().ID] = x
	}
	for _, id := range ids {
		if err := old[id].Ack(ctx); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("ack of an old delivery: %v, want ErrClosed", err)
		}
	}
	if err := fresh["b"].Ack(ctx); err != nil {
		t.Fatal(err)
	}
	awaitPublish(t, d, ep, "e")
	if id := recv(t, got).Wire().ID; id != "e" {
		t.Errorf("got %s, want e", id)
	}

	proxy.cut() // had an old ack removed a neighbour, it would now be missing
	left := map[string]bool{"c": true, "d": true, "e": true}
	for len(left) > 0 {
		x := recv(t, got)
		delete(left, x.Wire().ID)
		if err := x.Ack(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Stats().Connects["consume"]; n != 3 {
		t.Errorf("%d connections of the consumers, want 3", n)
	}
}

// TestNoConnection: without a broker a publish fails fast, surely not stored,
// and the driver says that it is not ready.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	s, proxy := newProxiedStore(t)
	s.options.ConnectWait = 50 * time.Millisecond
	d := s.open(t)
	ep := task.MakeEndpointID(t.Name(), "ep")
	_ = proxy.listener.Close()
	proxy.cut()
	deadline := time.Now().Add(patience)
	for {
		err := d.Publish(t.Context(), broker.Wire{ID: "x", Endpoint: ep})
		if errors.Is(err, broker.ErrNotStored) {
			break
		}
		if !errors.Is(err, broker.ErrUnknown) && err != nil || time.Now().After(deadline) {
			t.Fatalf("Publish: %v", err)
		}
	}
	if err := d.Ready(t.Context()); err == nil {
		t.Error("ready without a connection")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.Declare(ctx, ep); err == nil {
		t.Error("declared without a connection")
	}
	closeDriver(t, d)
}

// TestConfirmLost: messages in flight when the connection ends have an unknown
// outcome, or surely none; those that were confirmed are there.
func TestConfirmLost(t *testing.T) {
	t.Parallel()
	s, proxy := newProxiedStore(t)
	d := s.open(t)
	ep := task.MakeEndpointID(t.Name(), "ep")
	if err := d.Declare(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	outcome := make([]error, n)
	var wg sync.WaitGroup
	var once sync.Once
	for i := range n {
		wg.Go(func() {
			outcome[i] = d.Publish(t.Context(), broker.Wire{ID: fmt.Sprint(i), Endpoint: ep})
			if outcome[i] == nil {
				once.Do(proxy.cut)
			}
		})
	}
	wg.Wait()
	stored := drain(t, d, ep)
	count := map[string]int{}
	for i, err := range outcome {
		times := stored[fmt.Sprint(i)]
		switch {
		case err == nil:
			count["stored"]++
			if times != 1 {
				t.Errorf("confirmed message is there %d times", times)
			}
		case errors.Is(err, broker.ErrNotStored):
			count["not stored"]++
			if times != 0 {
				t.Errorf("message that was surely not stored is there: %v", err)
			}
		case errors.Is(err, broker.ErrUnknown):
			count["unknown"]++
		default:
			t.Errorf("neither: %v", err)
		}
	}
	t.Logf("outcomes: %v", count)
}

// TestRefused: a full queue's refusal is ErrNotStored, and a delayed message
// for it goes round without blocking the router.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := s.open(t)
	full, fine := task.MakeEndpointID(t.Name(), "full"), task.MakeEndpointID(t.Name(), "fine")
	limited := d.endpointArgs()
	limited["x-max-length"] = int64(1)
	err := d.administer(t.Context(), func(ch *amqp.Channel) error {
		if err := d.declareQueue(ch, d.names.endpoint(full), limited); err != nil {
			return err
		}
		return ch.QueueBind(d.names.endpoint(full), endpointKey(full), d.names.tasks(), false, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	for i := 0; refused == nil && i < 100; i++ {
		refused = d.Publish(t.Context(), broker.Wire{ID: "fill", Endpoint: full})
	}
	if !errors.Is(refused, broker.ErrNotStored) || !errors.Is(refused, errRefused) {
		t.Fatalf("Publish to a full queue: %v", refused)
	}

	stop := maintain(t, d)
	defer stop()
	// More than the router's prefetch, all for the full queue.
	var wg sync.WaitGroup
	eta := time.Now().Add(300 * time.Millisecond)
	for i := range routerPrefetch + 50 {
		wg.Go(func() {
			if err := d.Publish(t.Context(), broker.Wire{ID: fmt.Sprint(i), Endpoint: full, ETA: eta}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := subscribe(t, d, fine)
	for i := range 20 {
		w := broker.Wire{ID: fmt.Sprint("fine", i), Endpoint: fine, ETA: time.Now().Add(500 * time.Millisecond)}
		if err := d.Publish(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		x := recv(t, got)
		if late := time.Since(w.ETA); late > 2*time.Second {
			t.Errorf("a full neighbour made a message %v late", late)
		}
		if err := x.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i > 5 {
			break
		}
	}
}

// TestRungMissing: a delayed message whose rung somebody removed is not lost:
// the janitor repairs the ladder and the message is on its way again.
func TestRungMissing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := s.open(t)
	ep := task.MakeEndpointID(t.Name(), "ep")
	err := d.administer(t.Context(), func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(d.names.rung(500), false, false, false)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := broker.Wire{ID: "x", Endpoint: ep, ETA: time.Now().Add(900 * time.Millisecond), Body: []byte("b")}
	if err := d.Publish(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	stop := maintain(t, d)
	defer stop()
	x := recv(t, subscribe(t, d, ep))
	if time.Now().Before(w.ETA) {
		t.Error("it came early")
	}
	if err := x.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestForeignMessage: what others put into our queues goes to the dead and
// stops nobody.
func TestForeignMessage(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := s.open(t)
	err := d.administer(t.Context(), func(ch *amqp.Channel) error {
		return ch.PublishWithContext(t.Context(), "", d.names.due(), false, false,
			amqp.Publishing{MessageId: "foreign", Body: []byte("?"), DeliveryMode: amqp.Persistent})
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := maintain(t, d)
	defer stop()
	got := make(chan broker.Delivery, 10)
	if _, err := d.ConsumeSystem(t.Context(), broker.Dead, 1, func(x broker.Delivery) { got <- x }); err != nil {
		t.Fatal(err)
	}
	x := recv(t, got)
	if x.Wire().ID != "foreign" || string(x.Wire().Body) != "?" {
		t.Errorf("in the dead: %+v", x.Wire())
	}
	if err := x.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestDeletedUnderConsumer: a consumer outlives its queue and goes on when
// somebody declares it again, but does not bring it back itself.
func TestDeletedUnderConsumer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := s.open(t)
	ep := task.MakeEndpointID(t.Name(), "ep")
	got := subscribe(t, d, ep)
	mustPublish(t, d, ep, "before")
	if err := recv(t, got).Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(500 * time.Millisecond): // some tries of the consumer
	case x := <-got:
		t.Errorf("unexpected %s", x.Wire().ID)
	}
	err := d.administer(t.Context(), func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(d.names.endpoint(ep), true, false, false, false, nil)
		return err
	})
	if !isMissing(err) {
		t.Errorf("the deleted queue is back: %v", err)
	}
	if err := d.Declare(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, d, ep, "after")
	if id := recv(t, got).Wire().ID; id != "after" {
		t.Errorf("got %s", id)
	}
}

// TestOtherArguments: queues of another program are refused with words that
// help.
func TestOtherArguments(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	closeDriver(t, s.open(t))
	d := s.open(t)
	err := d.administer(t.Context(), func(ch *amqp.Channel) error {
		if _, err := ch.QueueDelete(d.names.rung(250), false, false, false); err != nil {
			return err
		}
		return d.declareQueue(ch, d.names.rung(250), quorum(nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	closeDriver(t, d)
	_, err = Open(t.Context(), s.options)
	if err == nil || !strings.Contains(err.Error(), "other arguments") {
		t.Errorf("Open: %v", err)
	}
}

// TestOpenErrors: what no repetition cures is said at once, without secrets.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(brokerURL(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("nobody", "sesame")
	for name, o := range map[string]Options{
		"no URL":    {},
		"bad URL":   {URLs: []string{"amqp://x:sesame@host:port"}},
		"scheme":    {URLs: []string{"http://x:sesame@host"}},
		"namespace": {URLs: []string{u.String()}, Namespace: "a.b"},
		"user":      {URLs: []string{u.String()}},
	} {
		o.Logger = testLogger(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		d, err := Open(ctx, o)
		cancel()
		if err == nil {
			closeDriver(t, d)
			t.Errorf("%s: opened", name)
			continue
		}
		if strings.Contains(err.Error(), "sesame") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSeveralNodes: a node that is away costs a try, nothing more.
func TestSeveralNodes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.options.URLs = append([]string{"amqp://127.0.0.1:1/"}, s.options.URLs...)
	s.options.AllowOldCluster = true
	closeDriver(t, s.open(t))
	s.options.URLs = s.options.URLs[1:]
}

// TestOldCluster: several nodes of an old broker are refused unless they are
// asked for, with what to do about it.
func TestOldCluster(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	closeDriver(t, s.open(t)) // one node
	o := s.options
	o.URLs = append([]string{o.URLs[0]}, o.URLs...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := Open(ctx, o)
	if err == nil {
		closeDriver(t, d)
		t.Skip("the broker is new enough for a cluster")
	}
	if !errors.Is(err, errCluster) || !strings.Contains(err.Error(), "TASKGATE_ALLOW_OLD_CLUSTER") {
		t.Errorf("got %v", err)
	}
}

// TestBlockedBroker: a broker that is short of memory takes nothing: publishes
// fail at once, surely not stored, until it has recovered. The alarm itself
// would stop every test on the broker, so its notice is simulated.
func TestBlockedBroker(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := s.open(t)
	ep := task.MakeEndpointID(t.Name(), "ep")
	if err := d.Declare(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	d.pub.blocking(nil, amqp.Blocking{Active: true, Reason: "low on memory"})
	if err := d.Publish(t.Context(), broker.Wire{ID: "x", Endpoint: ep}); !errors.Is(err, broker.ErrNotStored) {
		t.Errorf("Publish: %v, want ErrNotStored", err)
	}
	if err := d.Ready(t.Context()); err == nil {
		t.Error("ready while blocked")
	}
	d.pub.blocking(nil, amqp.Blocking{Active: false})
	mustPublish(t, d, ep, "y")
	closeDriver(t, d)
}
