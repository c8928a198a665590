package rabbit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/broker"
	"github.com/taskgate/taskgate/internal/task"
)

func subscribe(t *testing.T, d *Driver, ep task.EndpointID) <-chan broker.Delivery {
	t.Helper()
	got := make(chan broker.Delivery, 10_000)
	if _, err := d.Consume(t.Context(), ep, 1000, func(x broker.Delivery) { got <- x }); err != nil {
		t.Fatalf("Consume: %v", err)
	}
	return got
}

func recv(t *testing.T, got <-chan broker.Delivery) broker.Delivery {
	t.Helper()
	select {
	case x := <-got:
		return x
	case <-time.After(patience):
		t.Fatal("no delivery came")
		return nil
	}
}

// drain takes what is in an endpoint's queue and counts it by id.
func drain(t *testing.T, d *Driver, ep task.EndpointID) map[string]int {
	t.Helper()
	last := "last"
	awaitPublish(t, d, ep, last)
	got := subscribe(t, d, ep)
	seen := map[string]int{}
	for {
		x := recv(t, got)
		if err := x.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if x.Wire().ID == last {
			return seen
		}
		seen[x.Wire().ID]++
	}
}

func mustPublish(t *testing.T, d *Driver, ep task.EndpointID, id string) {
	t.Helper()
	if err := d.Publish(t.Context(), broker.Wire{ID: id, Endpoint: ep}); err != nil {
		t.Fatalf("Publish: %v", err)
	}
}

// awaitPublish publishes once, as soon as it can.
func awaitPublish(t *testing.T, d *Driver, ep task.EndpointID, id string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := d.Publish(t.Context(), broker.Wire{ID: id, Endpoint: ep})
		if err == nil {
			return
		}
		if !errors.Is(err, broker.ErrNotStored) || time.Now().After(deadline) {
			t.Fatalf("Publish: %v", err)
		}
	}
}

func maintain(t *testing.T, d *Driver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		hold := func(context.Context, broker.Wire) (broker.Fate, error) { return broker.Hold, nil }
		if err := d.Maintain(ctx, hold); err != nil {
			t.Errorf("Maintain: %v", err)
		}
	}()
	return func() { cancel(); <-done }
}

func closeDriver(t *testing.T, d *Driver) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// newProxiedStore is a store behind a proxy.
func newProxiedStore(t *testing.T) (s *store, p *proxy) {
	t.Helper()
	s = newStore(t)
	direct := s.options.URLs[0]
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	p = newProxy(t, hostPort(u))
	u.Host = p.listener.Addr().String()
	s.options.URLs = []string{u.String()}
	t.Cleanup(func() { s.options.URLs = []string{direct} }) // before the store is removed
	return s, p
}

func hostPort(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "5672")
	}
	return u.Host
}

// proxy passes TCP connections on until they are cut.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { pass(in, out) })
		p.wg.Go(func() { pass(out, in) })
	}
}

func pass(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	_ = dst.Close()
	_ = src.Close()
}

// cut drops what is connected now; later connections pass.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}
