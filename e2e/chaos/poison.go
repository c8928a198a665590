package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/e2e/rig"
)

var poison = Scenario{
	Name: "poison", Number: 9, Targets: []Target{Services},
	What: "messages that no dispatcher can decode, in an endpoint's own queue and in the installation's, between good ones",
	Run:  runPoison,
}

func runPoison(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{Gateways: 1, Dispatchers: 2})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: FailsFirst(5, Takes(2*time.Millisecond))})
	load := l.Run(t.Context(), Load{Workers: 6, Endpoints: []string{"quick"}, Callbacks: 4, Pause: 10 * time.Millisecond})
	queues := []string{
		in.Namespace + ".v1.ep." + endpointQueue("default", "quick"), in.Namespace + ".v1.due",
		in.Namespace + ".v1.quarantine", in.Namespace + ".v1.unroutable",
	}
	bodies := []string{"", "{", "\x00\xff", `{"v":99}`, strings.Repeat("x", 100_000)}
	// A RabbitMQ of 3.10 may close the connection of a dispatcher that begins to
	// consume a queue while it is being made; what comes again then is announced,
	// and no work of the poison.
	w.Until(t, time.Minute, "the endpoint works", func() bool { return l.Receiver.Committed() >= 20 })
	before := suspects(l)
	sent := 0
	for range Pick(w, 1, 10) {
		for _, queue := range queues {
			for _, body := range bodies {
				inject(t, in.AMQP, queue, body)
				sent++
			}
		}
		w.Wait(t, w.Between(100*time.Millisecond, 500*time.Millisecond))
	}
	// An operator sees each of them: they are counted, and kept to be looked at.
	dead := func() int { return gauge(t, in.Dispatchers[0], `taskgate_broker_system_messages{queue="dead"}`) }
	w.Until(t, 90*time.Second, "all of it is among the dead", func() bool { return dead() == sent })
	load.Stop()
	v := w.Conclude(t, l, time.Minute, Mercy{}, fmt.Sprintf("%d poison messages, all of them in the queue of the dead, counted and logged", sent))
	NoRefusals(t, l)
	if v.Announced > 0 {
		t.Errorf("%d neighbours were done twice", v.Announced)
	}
	for id, c := range suspects(l) {
		if _, ok := before[id]; !ok {
			t.Errorf("a neighbour was delivered again: %+v", c)
		}
	}
}

// suspects are calls that were said to be maybe not the first, by task.
func suspects(l *Ledger) map[string]Call {
	found := map[string]Call{}
	for _, c := range l.Receiver.Calls() {
		if c.Suspect {
			found[c.ID] = c
		}
	}
	return found
}

// endpointQueue is the part of the queue's name that names an endpoint.
func endpointQueue(project, name string) string {
	sum := sha256.Sum256([]byte(project + "\x00" + name))
	return hex.EncodeToString(sum[:10])
}

// inject puts a message of our own into a queue.
func inject(t *testing.T, url, queue, body string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
		t.Fatalf("queue %s: %v", queue, err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: "poison", Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		t.Fatalf("not confirmed: %v", err)
	}
}

// gauge reads one series of a process's metrics; -1 when it is not there.
func gauge(t *testing.T, p *rig.Process, series string) int {
	t.Helper()
	a, err := (&Client{Bases: []string{p.Admin()}, HTTP: NewClient(nil, "").HTTP}).Do(t.Context(), "GET", "/metrics", nil)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	return -1
}
