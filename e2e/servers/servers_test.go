package servers_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/e2e/servers"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func starts(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers")
	}
	t.Parallel()
}

func TestRedisKeepsAndForgets(t *testing.T) {
	starts(t)
	r := servers.NewRedis(t, "--appendfsync", "always")
	get := func() string {
		t.Helper()
		out, err := r.Do("EXISTS", "a")
		must(t, err)
		return out
	}
	if _, err := r.Do("SET", "a", "1"); err != nil {
		t.Fatal(err)
	}
	before, err := r.Written()
	must(t, err)
	must(t, r.Kill())
	if _, err := r.Do("PING"); err == nil {
		t.Error("answers after its end")
	}
	must(t, r.Start())
	if get() != "1" {
		t.Error("lost what was written")
	}
	if _, err := r.Do("SET", "b", strings.Repeat("x", 100)); err != nil {
		t.Fatal(err)
	}
	lost, err := r.Tear(before + 10)
	must(t, err)
	must(t, r.Start())
	if out, err := r.Do("EXISTS", "a", "b"); lost < 100 || err != nil || out != "1" {
		t.Errorf("after a torn end: %s (%d bytes lost), %v", out, lost, err)
	}
	must(t, r.Kill())
	must(t, r.Forget())
	must(t, r.Start())
	if get() != "0" {
		t.Error("has not forgotten")
	}
}

func TestSentinelsPromote(t *testing.T) {
	starts(t)
	first, second := servers.NewRedis(t), servers.NewRedis(t)
	must(t, second.Follow(first))
	s := servers.NewSentinels(t, first, 2*time.Second)
	must(t, s.Know(1))
	if at, err := s.Primary(); err != nil || at != first.Addr() {
		t.Fatalf("primary: %s, %v", at, err)
	}
	must(t, first.Kill())
	until(t, "the replica is promoted", func() bool {
		at, err := s.Primary()
		must(t, err)
		return at == second.Addr()
	})
}

// holds waits for the node's figures, which it gathers now and then.
func holds(t *testing.T, n *servers.Rabbit, queue string, want int) {
	t.Helper()
	until(t, "the queue holds what it should", func() bool {
		w, err := n.Waiting()
		must(t, err)
		return w[queue] == want
	})
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(100 * time.Millisecond)
	}
}

func declare(t *testing.T, n *servers.Rabbit, queue string) {
	t.Helper()
	with(t, n, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		if err != nil {
			return err
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		c, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{Body: []byte("x"), DeliveryMode: amqp.Persistent})
		if err == nil && !c.Wait() {
			err = errors.New("not confirmed")
		}
		return err
	})
}

func with(t *testing.T, n *servers.Rabbit, f func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(n.URL())
	must(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	must(t, err)
	must(t, f(ch))
}

func TestRabbitKeeps(t *testing.T) {
	starts(t)
	n := servers.NewRabbit(t)
	declare(t, n, "q")
	<-time.After(servers.Rooted)
	must(t, n.Kill())
	if c, err := net.DialTimeout("tcp", n.Addr(), time.Second); err == nil {
		c.Close()
		t.Error("listens after its end")
	}
	must(t, n.Start())
	holds(t, n, "q", 1)
	must(t, n.Alarm(true))
	must(t, n.Alarm(false))
}

func TestRabbitsElect(t *testing.T) {
	starts(t)
	nodes := servers.NewRabbits(t, 3)
	declare(t, nodes[1], "q")
	leader, err := servers.Leader(nodes, "q")
	must(t, err)
	must(t, leader.Kill())
	var other *servers.Rabbit
	for _, n := range nodes {
		if n != leader {
			other = n
		}
	}
	next, err := servers.Leader(nodes, "q")
	must(t, err)
	if next == leader {
		t.Error("the dead lead")
	}
	holds(t, other, "q", 1)
	must(t, leader.Start())
	must(t, leader.Running(3))
}
