package rabbit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// names are what a namespace's things are called in the broker. v1 is the
// version of the queues' arguments, which can never be changed in place.
type names struct{ prefix string }

func newNames(namespace string) names { return names{prefix: namespace + ".v1."} }

func (n names) tasks() string                      { return n.prefix + "tasks" }
func (n names) unroutable() string                 { return n.prefix + "unroutable" } // exchange and queue
func (n names) due() string                        { return n.prefix + "due" }
func (n names) system(q broker.System) string      { return n.prefix + string(q) }
func (n names) endpoint(ep task.EndpointID) string { return n.prefix + "ep." + string(ep) }
func (n names) rung(ms int64) string               { return n.prefix + rungKey(ms) }

// Routing keys of the tasks exchange. An endpoint's is its id, which has no
// dot. Everything is published through this exchange, since only it has an
// alternate: the default exchange confirms and forgets what finds no queue.
const dueKey = "sys.due"

func systemKey(q broker.System) string      { return "sys." + string(q) }
func endpointKey(ep task.EndpointID) string { return string(ep) }
func rungKey(ms int64) string               { return fmt.Sprintf("wait.%010d", ms) }

// The ladder of delays: 250 ms, doubled 23 times, up to 24.3 days.
const (
	firstRung = int64(250)
	rungs     = 24
)

// rungFor is the longest time on the ladder that is not over remaining (ms),
// or the first.
func rungFor(remaining int64) int64 {
	ms := firstRung
	for range rungs - 1 {
		if ms*2 > remaining {
			break
		}
		ms *= 2
	}
	return ms
}

// Arguments that are part of the names' version.
const (
	dueLimit        = 1000      // the router gives back only when it stops or dies
	janitorLimit    = 1000      // the same
	quarantineLimit = 5         // then it is dead
	deadLimit       = 1_000_000 // looked at, never worked off by force
)

// consumerTimeout closes the channel of a worker that holds a message longer:
// the longest attempt (25 minutes) and 5 more. Honoured from 3.12 on; before,
// the node's own setting counts (30 minutes by default).
const consumerTimeout = 30 * time.Minute

// canariesWaiting bounds the queue of a process that does not take them.
const canariesWaiting = 1000

// deadRetention is how long the dead are kept.
const deadRetention = 30 * 24 * time.Hour

// quorum is what every queue has in common.
func quorum(more amqp.Table) amqp.Table {
	t := amqp.Table{
		"x-queue-type":           "quorum",
		"x-queue-leader-locator": "balanced",
	}
	maps.Copy(t, more)
	return t
}

// deadLettering makes a queue hand over what it gives up at least once: the
// message leaves when the target has confirmed it. Without reject-publish the
// broker silently falls back to at-most-once. to is a queue that always
// exists and has no limit: the broker's dead-letter worker moves at most 32
// messages at a time, and each it cannot place blocks all queues' transfers.
func deadLettering(to string, more amqp.Table) amqp.Table {
	t := quorum(more)
	t["x-overflow"] = "reject-publish"
	t["x-dead-letter-strategy"] = "at-least-once"
	t["x-dead-letter-exchange"] = ""
	t["x-dead-letter-routing-key"] = to
	return t
}

func (d *Driver) endpointArgs() amqp.Table {
	return deadLettering(d.names.system(broker.Quarantine), amqp.Table{
		"x-delivery-limit":   int64(d.opts.DeliveryLimit),
		"x-consumer-timeout": consumerTimeout.Milliseconds(),
	})
}

// queue is one queue of the fixed topology.
type queue struct {
	name string
	key  string // in the tasks exchange
	args amqp.Table
}

// fixedQueues are all but the endpoints'; targets come before their sources.
func (d *Driver) fixedQueues() []queue {
	n := d.names
	quarantine := n.system(broker.Quarantine)
	qs := []queue{
		{n.system(broker.Dead), systemKey(broker.Dead), quorum(amqp.Table{
			"x-delivery-limit": int64(deadLimit), "x-message-ttl": deadRetention.Milliseconds(),
		})},
		{quarantine, systemKey(broker.Quarantine), deadLettering(n.system(broker.Dead), amqp.Table{
			"x-delivery-limit": int64(quarantineLimit),
		})},
		{n.system(broker.Parked), systemKey(broker.Parked), deadLettering(quarantine, amqp.Table{
			"x-delivery-limit": int64(janitorLimit),
		})},
		{n.unroutable(), "", deadLettering(quarantine, amqp.Table{"x-delivery-limit": int64(janitorLimit)})},
		{n.due(), dueKey, deadLettering(quarantine, amqp.Table{"x-delivery-limit": int64(dueLimit)})},
	}
	for k := range rungs {
		ms := firstRung << k
		qs = append(qs, queue{n.rung(ms), rungKey(ms), deadLettering(n.due(), amqp.Table{"x-message-ttl": ms})})
	}
	return qs
}

// declareAll makes sure the fixed topology exists.
func (d *Driver) declareAll(ch *amqp.Channel) error {
	if err := ch.ExchangeDeclare(d.names.unroutable(), amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return explain("exchange "+d.names.unroutable(), err)
	}
	qs := d.fixedQueues()
	for _, q := range qs {
		if err := d.declareQueue(ch, q.name, q.args); err != nil {
			return err
		}
	}
	if err := ch.QueueBind(d.names.unroutable(), "", d.names.unroutable(), false, nil); err != nil {
		return explain("binding of "+d.names.unroutable(), err)
	}
	alternate := amqp.Table{"alternate-exchange": d.names.unroutable()}
	if err := ch.ExchangeDeclare(d.names.tasks(), amqp.ExchangeDirect, true, false, false, false, alternate); err != nil {
		return explain("exchange "+d.names.tasks(), err)
	}
	for _, q := range qs {
		if q.key == "" {
			continue
		}
		if err := ch.QueueBind(q.name, q.key, d.names.tasks(), false, nil); err != nil {
			return explain("binding of "+q.name, err)
		}
	}
	return nil
}

// declareCanary makes a queue of canaries. It is a process's own and lives as
// long as its connection: beside the queues that keep, none is left behind.
func (d *Driver) declareCanary(ch *amqp.Channel) (string, error) {
	name := d.names.system(broker.CanaryQueue) + "." + rand.Text()
	d.opts.onDeclare(name)
	if _, err := ch.QueueDeclare(name, false, true, true, false, amqp.Table{"x-max-length": int64(canariesWaiting)}); err != nil {
		return "", explain("queue "+name, err)
	}
	return name, explain("binding of "+name, ch.QueueBind(name, systemKey(broker.CanaryQueue), d.names.tasks(), false, nil))
}

func (d *Driver) declareQueue(ch *amqp.Channel, name string, args amqp.Table) error {
	d.opts.onDeclare(name)
	_, err := ch.QueueDeclare(name, true, false, false, false, args)
	return explain("queue "+name, err)
}

// declareEndpoint declares and binds an endpoint's queue.
func (d *Driver) declareEndpoint(ch *amqp.Channel, ep task.EndpointID) error {
	name := d.names.endpoint(ep)
	if err := d.declareQueue(ch, name, d.endpointArgs()); err != nil {
		return err
	}
	return explain("binding of "+name, ch.QueueBind(name, endpointKey(ep), d.names.tasks(), false, nil))
}

// explain says what an operator can do about a declaration's refusal.
func explain(what string, err error) error {
	var e *amqp.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Code == amqp.PreconditionFailed:
		return fmt.Errorf("%s exists with other arguments (another program's, or another version's): "+
			"use another namespace or remove it: %w", what, err)
	case errors.As(err, &e) && e.Code == amqp.AccessRefused:
		return fmt.Errorf("%s: the user needs the permissions configure, write and read: %w", what, err)
	}
	return fmt.Errorf("declare %s: %w", what, err)
}

// isMissing reports whether the broker knows no such queue or exchange.
func isMissing(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Server && e.Code == amqp.NotFound
}
