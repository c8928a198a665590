package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/taskgate/taskgate/internal/broker"
)

// errRefused: the broker's queue said no (it is full).
var errRefused = errors.New("the broker refused the message")

// publisher writes messages and waits for their confirms. Each of its channels
// belongs to one goroutine, which writes a message as soon as it has one and
// hands the confirm back; the broker commits what is in flight in groups. A
// caller never touches the connection, since a write can hang past any
// deadline when the broker stops reading.
type publisher struct {
	d    *Driver
	link *link
	jobs chan *job // unbuffered: a job that is taken is being written

	shares *shares

	mu        sync.Mutex
	blocked   string        // the broker's reason for not taking messages, "" when it does
	blockedOn *session      // that was told so
	changed   chan struct{} // closed at the next change of blocked
}

// job is a message to be written.
type job struct {
	key  string
	msg  amqp.Publishing
	sent chan sent // one
	// share is the place of its destination, held until the confirm.
	share *share
}

// sent is what became of writing it.
type sent struct {
	ch      *amqp.Channel
	confirm *amqp.DeferredConfirmation
	err     error
	window  chan struct{} // holds a place until the confirm
	share   *share        // the same
}

func newPublisher(d *Driver) *publisher {
	p := &publisher{
		d: d, jobs: make(chan *job), changed: make(chan struct{}),
		// Half of all windows: two destinations may be stuck before others wait.
		shares: newShares(d.opts.PublishChannels * d.opts.Window / 2),
	}
	p.link = newLink(d, "publish", false, p.setup)
	return p
}

// publish stores a message, with one more try when the broker refuses it.
func (p *publisher) publish(ctx context.Context, key string, msg amqp.Publishing) error {
	err := p.once(ctx, key, msg)
	if errors.Is(err, errRefused) {
		err = p.once(ctx, key, msg)
	}
	return err
}

func (p *publisher) once(ctx context.Context, key string, msg amqp.Publishing) error {
	share, err := p.shares.enter(ctx, key, p.d.opts.WindowWait)
	if err != nil {
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	j := &job{key: key, msg: msg, sent: make(chan sent, 1), share: share}
	if err := p.hand(ctx, j); err != nil {
		share.leave()
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	var s sent
	select {
	case s = <-j.sent:
	case <-ctx.Done():
		p.d.spawn(func() { s := <-j.sent; s.settle() })
		return fmt.Errorf("%w: %w", broker.ErrUnknown, context.Cause(ctx))
	}
	if s.err != nil {
		s.settle()
		return writeError(s.err)
	}
	select {
	case <-s.confirm.Done():
	case <-ctx.Done():
		p.d.spawn(s.settle)
		return fmt.Errorf("%w: %w", broker.ErrUnknown, context.Cause(ctx))
	}
	return s.outcome()
}

// settle frees the places once the confirm has come, or the channel's end,
// which the library turns into confirms too.
func (s *sent) settle() {
	if s.err == nil {
		<-s.confirm.Done()
		<-s.window
	}
	s.share.leave()
}

// outcome is settle with what the confirm said. A missing acknowledgement is the
// broker's word only on a living channel: the library also reports the
// channel's end that way, and then nobody knows.
func (s *sent) outcome() error {
	s.settle()
	switch {
	case s.confirm.Acked():
		return nil
	case s.ch.IsClosed():
		return fmt.Errorf("%w: the connection ended before the confirm", broker.ErrUnknown)
	}
	// A publish reaches exactly one queue, so its refusal is the whole truth.
	return fmt.Errorf("%w: %w", broker.ErrNotStored, errRefused)
}

// writeError: ErrClosed says that at least one frame of the message was not
// written, so the broker cannot have it. After any other failure it may.
func writeError(err error) error {
	if errors.Is(err, amqp.ErrClosed) {
		return fmt.Errorf("%w: %w", broker.ErrNotStored, err)
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
}

// hand gives the job to a channel with a free place. When it fails, nothing
// was written.
func (p *publisher) hand(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if blocked, _ := p.state(); blocked == "" {
		select { // the normal case costs no timer
		case p.jobs <- j:
			return nil
		default:
		}
	}
	full := time.NewTimer(p.d.opts.WindowWait)
	defer full.Stop()
	lost := time.NewTimer(p.d.opts.ConnectWait)
	defer lost.Stop()
	for {
		blocked, unblocked := p.state()
		if blocked != "" {
			return fmt.Errorf("the broker takes no messages: %s", blocked)
		}
		session, changed := p.link.current()
		noConnection := lost.C
		if session != nil {
			noConnection = nil
		}
		select {
		case p.jobs <- j:
			return nil
		case <-unblocked:
		case <-changed:
		case <-noConnection:
			return errors.New("no connection to the broker")
		case <-full.C:
			return errors.New("too many publishes in flight")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.d.ctx.Done():
			return errDriverClosed
		}
	}
}

func (p *publisher) state() (blocked string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocked, p.changed
}

// setBlocked notes what the broker said on a session; another session's end of
// it says nothing about this one.
func (p *publisher) setBlocked(s *session, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blocked == reason || (reason == "" && p.blockedOn != s) {
		return
	}
	p.blocked, p.blockedOn = reason, s
	close(p.changed)
	p.changed = make(chan struct{})
}

// ready: see [broker.Driver].
func (p *publisher) ready() error {
	if reason, _ := p.state(); reason != "" {
		return fmt.Errorf("the broker takes no messages: %s", reason)
	}
	if s, _ := p.link.current(); s == nil {
		return errors.New("no connection to the broker")
	}
	return nil
}

// setup starts the channels of a new connection.
func (p *publisher) setup(ctx context.Context, s *session) error {
	if err := p.d.checkTopology(ctx, s); err != nil {
		return err
	}
	blocks := s.conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	p.d.spawn(func() {
		for b := range blocks { // the connection's end closes it
			p.blocking(s, b)
		}
		p.setBlocked(s, "")
	})
	for range p.d.opts.PublishChannels {
		ch, err := confirming(s)
		if err != nil {
			return err
		}
		p.d.spawn(func() { p.own(s, ch) })
	}
	return nil
}

func (p *publisher) blocking(s *session, b amqp.Blocking) {
	if !b.Active {
		p.d.log.Info("the broker takes messages again")
		p.setBlocked(s, "")
		return
	}
	reason := b.Reason
	if reason == "" {
		reason = "no reason given"
	}
	p.d.log.Warn("the broker takes no messages", "reason", reason)
	p.setBlocked(s, reason)
}

func confirming(s *session) (*amqp.Channel, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirms: %w", err)
	}
	return ch, nil
}

// own serves one channel, and its successors when the broker closes it alone.
func (p *publisher) own(s *session, ch *amqp.Channel) {
	for {
		p.serve(s, ch)
		if s.conn.IsClosed() {
			return
		}
		// A publish ended its channel: the exchange is missing.
		if err := p.d.withChannel(s, p.d.declareAll); err != nil {
			if !s.conn.IsClosed() {
				p.d.log.Error("the broker's topology cannot be repaired", "error", err)
				s.cut() // the link tries again, with pauses
			}
			return
		}
		var err error
		if ch, err = confirming(s); err != nil {
			s.cut()
			return
		}
	}
}

// serve writes jobs until the channel or the connection ends.
func (p *publisher) serve(s *session, ch *amqp.Channel) {
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	window := make(chan struct{}, p.d.opts.Window)
	for {
		// The place comes first: a job must not wait in anyone's hands.
		select {
		case window <- struct{}{}:
		case err := <-closed:
			p.channelLost(s, err)
			return
		case <-s.gone:
			return
		}
		select {
		case j := <-p.jobs:
			confirm, err := ch.PublishWithDeferredConfirm(p.d.names.tasks(), j.key, false, false, j.msg)
			if err != nil {
				<-window
			}
			j.sent <- sent{ch: ch, confirm: confirm, err: err, window: window, share: j.share}
		case err := <-closed:
			p.channelLost(s, err)
			return
		case <-s.gone:
			return
		}
	}
}

// channelLost is worth a line when only the channel ended.
func (p *publisher) channelLost(s *session, err *amqp.Error) {
	if !s.conn.IsClosed() {
		p.d.log.Warn("publishing channel closed", "error", err)
	}
}
