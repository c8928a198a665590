package rabbit

import (
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

// Headers of a message. They are written afresh at each publish: the broker's
// own (x-death) must not travel on, it takes them for a cycle.
const (
	headerEndpoint    = "tg-ep"
	headerSystem      = "tg-sys"
	headerETA         = "tg-eta" // Unix ms, rounded up
	headerMeta        = "tg-meta"
	headerRedelivered = "tg-rd" // an earlier copy died with its worker
)

const maxMeta = 256

var errForeign = errors.New("not a message of ours")

// parcel is a message on its way through the broker.
type parcel struct {
	wire        broker.Wire
	redelivered bool
}

// key is where the message goes once it is due.
func (p *parcel) key() string {
	if p.wire.System != "" {
		return systemKey(p.wire.System)
	}
	return endpointKey(p.wire.Endpoint)
}

// keyAt is where the message goes at now: to its target, to the router when
// less than the first rung is left, else up the ladder.
func (p *parcel) keyAt(now time.Time) string {
	left := ceilMillis(p.wire.ETA) - now.UnixMilli()
	switch {
	case left <= 0:
		return p.key()
	case left < firstRung:
		return dueKey
	}
	return rungKey(rungFor(left))
}

// check refuses what the contract does not allow.
func (p *parcel) check() error {
	w := p.wire
	switch {
	case (w.Endpoint == "") == (w.System == ""):
		return errors.New("a message needs exactly one of endpoint and system queue")
	case len(w.Meta) > maxMeta:
		return errors.New("meta is over 256 bytes")
	case len(w.ID) > maxMeta-1:
		return errors.New("id is over 255 bytes")
	}
	return nil
}

func (p *parcel) publishing() amqp.Publishing {
	h := amqp.Table{headerMeta: p.wire.Meta}
	if p.wire.Endpoint != "" {
		h[headerEndpoint] = string(p.wire.Endpoint)
	}
	if p.wire.System != "" {
		h[headerSystem] = string(p.wire.System)
	}
	if eta := ceilMillis(p.wire.ETA); eta != 0 {
		h[headerETA] = eta
	}
	if p.redelivered {
		h[headerRedelivered] = true
	}
	return amqp.Publishing{
		Headers: h, DeliveryMode: amqp.Persistent, MessageId: p.wire.ID, Body: p.wire.Body,
	}
}

// open reads a delivery. The error says that it was not published by us; what
// can be read is returned all the same.
func open(m *amqp.Delivery) (parcel, error) {
	text := func(name string) string { s, _ := m.Headers[name].(string); return s }
	eta, _ := m.Headers[headerETA].(int64)
	before, _ := m.Headers[headerRedelivered].(bool)
	p := parcel{
		wire: broker.Wire{
			ID: m.MessageId, Endpoint: task.EndpointID(text(headerEndpoint)),
			System: broker.System(text(headerSystem)), ETA: task.FromMillis(eta),
			Meta: text(headerMeta), Body: m.Body,
		},
		redelivered: m.Redelivered || before,
	}
	if p.wire.Endpoint == "" && p.wire.System == "" {
		return p, errForeign
	}
	return p, nil
}

// ceilMillis rounds up, so that no rounding makes a message early.
func ceilMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Millisecond - 1).UnixMilli()
}
