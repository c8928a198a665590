package rabbit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Times of a connection.
const (
	heartbeat      = 10 * time.Second
	dialTimeout    = 10 * time.Second
	closeTimeout   = 2 * time.Second
	redialFirst    = 50 * time.Millisecond
	redialMost     = 5 * time.Second
	stuckWrite     = 15 * time.Second
	channelsAtMost = 2047
)

// session is one connection from its beginning to its end. Nothing of it is
// ever used again afterwards.
type session struct {
	conn *amqp.Connection
	raw  net.Conn
	gone chan struct{} // closed when the connection has ended
	// lapse ends the dependence on the context of dialling.
	lapse func() bool
}

// cut ends the session without a word to the broker. It also frees a write
// that is stuck since the broker reads no more, which the library's own Close
// would wait for.
func (s *session) cut() { _ = s.raw.Close() }

// link keeps one connection alive, for ever: whenever it ends, it dials the
// nodes in turn until one takes it.
type link struct {
	d    *Driver
	role string
	// bounded has a write that takes too long end the connection. Only where
	// the broker never stops reading: it does for publishers, by memory alarm.
	bounded bool
	// first is the node to begin with, at random: all processes would crowd
	// on the first of the list.
	first int
	// setup prepares a new connection before anyone may use it.
	setup func(context.Context, *session) error

	connects atomic.Int64 // sessions made

	mu      sync.Mutex
	cur     *session
	changed chan struct{} // closed at the next change of cur
}

func newLink(d *Driver, role string, bounded bool, setup func(context.Context, *session) error) *link {
	//nolint:gosec // G404: spreads load, protects nothing
	first := rand.IntN(len(d.opts.URLs))
	return &link{d: d, role: role, bounded: bounded, first: first, setup: setup, changed: make(chan struct{})}
}

// current is the living session or nil, and what tells of the next change.
func (l *link) current() (*session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur, l.changed
}

func (l *link) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cur = s
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits for a living session.
func (l *link) await(ctx context.Context) (*session, error) {
	for {
		s, changed := l.current()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no connection to the broker: %w", context.Cause(ctx))
		case <-l.d.ctx.Done():
			return nil, errDriverClosed
		}
	}
}

// run keeps the link up until the driver ends. s is the first session.
func (l *link) run(s *session) {
	for s != nil {
		l.set(s)
		select {
		case <-s.gone:
		case <-l.d.ctx.Done():
		}
		l.set(nil)
		l.end(s)
		s = l.redial()
	}
}

// redial tries until it has a session; nil when the driver ends.
func (l *link) redial() *session {
	for attempt := 0; ; attempt++ {
		if l.d.ctx.Err() != nil {
			return nil
		}
		s, err := l.dial(l.d.ctx, attempt)
		if err == nil {
			l.d.log.Info("connected to the broker again", "link", l.role)
			return s
		}
		l.d.log.Warn("broker cannot be reached", "link", l.role, "error", err)
		select {
		case <-time.After(backoff(attempt)):
		case <-l.d.ctx.Done():
		}
	}
}

// backoff is the pause after a failed attempt, the first being 0: doubled up
// to its bound, and between half and all of that, at random.
func backoff(attempt int) time.Duration {
	pause := min(redialFirst<<min(attempt, 10), redialMost)
	//nolint:gosec // G404: spreads load, protects nothing
	return pause/2 + time.Duration(rand.Int64N(int64(pause/2)))
}

// end closes the session in order if the broker still listens.
func (l *link) end(s *session) {
	if !s.conn.IsClosed() && !l.d.killed.Load() {
		_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout))
	}
	s.cut()
	<-s.gone
}

// dial makes one session, with one of the nodes.
func (l *link) dial(ctx context.Context, attempt int) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	node := l.d.opts.URLs[(l.first+attempt)%len(l.d.opts.URLs)]
	s := &session{gone: make(chan struct{})}
	conn, err := amqp.DialConfig(node, l.config(ctx, s))
	if s.lapse != nil {
		defer s.lapse()
	}
	if err != nil {
		if s.raw != nil {
			s.cut()
		}
		return nil, fmt.Errorf("connect: %w", withoutSecrets(err))
	}
	s.conn = conn
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	l.d.spawn(func() {
		if err := <-closed; err != nil && l.d.ctx.Err() == nil {
			l.d.log.WarnContext(ctx, "connection to the broker lost", "link", l.role, "error", err)
		}
		s.cut() // the library's own shutdown may wait for a stuck write
		close(s.gone)
	})
	if err := l.setup(ctx, s); err != nil {
		s.cut()
		<-s.gone
		return nil, err
	}
	l.connects.Add(1)
	return s, nil
}

func (l *link) config(ctx context.Context, s *session) amqp.Config {
	props := amqp.NewConnectionProperties()
	props.SetClientConnectionName(l.d.opts.Name + " " + l.role)
	return amqp.Config{
		Heartbeat:  heartbeat,
		ChannelMax: channelsAtMost,
		Properties: props,
		Dial: func(network, addr string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: dialTimeout}
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			deadline, _ := ctx.Deadline() // the library lifts it after the handshake
			if err := c.SetDeadline(deadline); err != nil {
				_ = c.Close()
				return nil, err
			}
			s.raw = c
			s.lapse = context.AfterFunc(ctx, s.cut)
			if l.bounded {
				return &boundedConn{Conn: c}, nil
			}
			return c, nil
		},
	}
}

// withoutSecrets drops the URL, password included, from a parse error.
func withoutSecrets(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("AMQP URL: %w", u.Err)
	}
	return err
}

// boundedConn gives up a write that the peer does not take: a worker's
// acknowledgement must not hang until the kernel gives up, after minutes.
type boundedConn struct{ net.Conn }

func (c *boundedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stuckWrite)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
