package redisdb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrClosed says that the DB was closed.
var ErrClosed = errors.New("redis is closed")

const (
	// A connection that stays silent for deadAfter, though asked every
	// pingEvery, is given up.
	pingEvery = 3 * time.Second
	deadAfter = 10 * time.Second
	// Waits between attempts to connect again.
	minRedial = 50 * time.Millisecond
	maxRedial = 2 * time.Second
)

// bus shares one pub/sub connection among all subscriptions. The server
// confirms every subscription, the first and the ones after a reconnect;
// exactly then hints may have been missed.
type bus struct {
	client *redis.Client
	log    *slog.Logger
	ctx    context.Context // ends with the bus
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	subs map[string]map[*sub]struct{}
	ps   *redis.PubSub // nil until the first subscription, and between connections
	seen time.Time
	runs bool
}

type sub struct {
	mu    sync.Mutex
	over  bool
	fn    func(string)
	reset func()
}

func (s *sub) call(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		f()
	}
}

func newBus(c *redis.Client, log *slog.Logger) *bus {
	ctx, cancel := context.WithCancel(context.Background())
	return &bus{client: c, log: log, ctx: ctx, stop: cancel, subs: make(map[string]map[*sub]struct{})}
}

func (b *bus) close() {
	b.mu.Lock()
	b.stop()
	ps := b.ps
	b.mu.Unlock()
	if ps != nil {
		_ = ps.Close() // wakes the reader; its connection is being given up anyway
	}
	b.wg.Wait()
}

func (b *bus) subscribe(ctx context.Context, channel string, fn func(string), reset func()) error {
	if ctx.Err() != nil {
		return nil
	}
	s := &sub{fn: fn, reset: reset}
	if err := b.add(channel, s); err != nil {
		return err
	}
	defer b.remove(channel, s)
	select {
	case <-ctx.Done():
		return nil
	case <-b.ctx.Done():
		return ErrClosed
	}
}

func (b *bus) add(channel string, s *sub) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return ErrClosed
	}
	if b.subs[channel] == nil {
		b.subs[channel] = make(map[*sub]struct{})
	}
	b.subs[channel][s] = struct{}{}
	if !b.runs {
		b.runs = true
		b.wg.Go(b.run)
		b.wg.Go(b.watchdog)
		return nil
	}
	if b.ps != nil {
		// Asked again also when others have the channel already: the
		// confirmation is what tells this one that it is heard. An error means
		// a new connection, which subscribes to everything.
		_ = b.ps.Subscribe(b.ctx, channel)
	}
	return nil
}

func (b *bus) remove(channel string, s *sub) {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs[channel], s)
	if len(b.subs[channel]) > 0 {
		return
	}
	delete(b.subs, channel)
	if b.ps != nil && b.ctx.Err() == nil {
		_ = b.ps.Unsubscribe(b.ctx, channel) // as above
	}
}

// run reads connections, one after the other, until the bus is closed.
func (b *bus) run() {
	wait := minRedial
	for b.ctx.Err() == nil {
		if heard := b.read(b.open()); heard {
			wait = minRedial
		}
		timer := time.NewTimer(wait)
		select {
		case <-b.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, maxRedial)
	}
}

func (b *bus) open() *redis.PubSub {
	b.mu.Lock()
	defer b.mu.Unlock()
	channels := make([]string, 0, len(b.subs))
	for c := range b.subs {
		channels = append(channels, c)
	}
	// Errors show in the first read.
	b.ps = b.client.Subscribe(b.ctx, channels...)
	b.seen = time.Now()
	return b.ps
}

// read hands out what arrives until the connection fails.
func (b *bus) read(ps *redis.PubSub) (heard bool) {
	defer func() {
		b.mu.Lock()
		b.ps = nil
		b.mu.Unlock()
		_ = ps.Close() // already broken, or closed by the watchdog
	}()
	for b.ctx.Err() == nil {
		msg, err := ps.Receive(b.ctx)
		if err != nil {
			if heard && b.ctx.Err() == nil { // said once per outage
				b.log.Warn("Redis subscription lost; connecting again", "error", err)
			}
			return heard
		}
		heard = true
		b.take(msg)
	}
	return heard
}

func (b *bus) take(msg any) {
	switch m := msg.(type) {
	case *redis.Message:
		for _, s := range b.heard(m.Channel) {
			s.call(func() { s.fn(m.Payload) })
		}
	case *redis.Subscription:
		if m.Kind != "subscribe" {
			return
		}
		for _, s := range b.heard(m.Channel) {
			s.call(s.reset)
		}
	default:
		b.heard("")
	}
}

// heard notes a sign of life and returns the channel's subscriptions.
func (b *bus) heard(channel string) []*sub {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = time.Now()
	subs := make([]*sub, 0, len(b.subs[channel]))
	for s := range b.subs[channel] {
		subs = append(subs, s)
	}
	return subs
}

// watchdog gives up connections that are dead without saying so.
func (b *bus) watchdog() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		b.mu.Lock()
		ps, silent := b.ps, time.Since(b.seen)
		b.mu.Unlock()
		switch {
		case ps == nil:
		case silent > deadAfter:
			b.log.Warn("Redis subscription is silent; connecting again", "silent", silent)
			_ = ps.Close() // wakes the reader
		default:
			_ = ps.Ping(b.ctx) // no answer is noticed as silence
		}
	}
}
