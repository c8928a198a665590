package dispatch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/taskgate/taskgate/internal/task"
)

// inside counts the connections that reach a loopback port, over IPv4 and,
// where there is one, IPv6.
func inside(t *testing.T) (port string, reached *atomic.Int64) {
	t.Helper()
	reached = new(atomic.Int64)
	count := func(ln net.Listener) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				reached.Add(1)
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { _ = ln.Close(); <-done })
	}
	var lc net.ListenConfig
	four, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count(four)
	_, port, _ = net.SplitHostPort(four.Addr().String())
	if six, err := lc.Listen(t.Context(), "tcp6", "[::1]:"+port); err == nil {
		count(six)
	}
	return port, reached
}

// spellings are ways to write a URL to the inside, PORT being its port.
var spellings = []string{
	// IPv4 in every base and length that inet_aton knows.
	"http://127.0.0.1:PORT/", "http://127.1:PORT/", "http://127.0.1:PORT/", "http://2130706433:PORT/",
	"http://0177.0.0.1:PORT/", "http://0177.1:PORT/", "http://017700000001:PORT/", "http://0x7f.0.0.1:PORT/",
	"http://0x7f000001:PORT/", "http://0x7F.1:PORT/", "http://0X7F.0X0.0X0.0X1:PORT/", "http://127.0x0.00.1:PORT/",
	"http://127.000.000.001:PORT/", "http://127.0.0.01:PORT/", "http://0000177.0.0.1:PORT/", "http://6425673729:PORT/",
	"http://127.0.0.1.:PORT/", "http://2130706433.:PORT/", "http://0x7f.1.:PORT/", "http://127.255.255.254:PORT/",
	"http://0:PORT/", "http://0.0.0.0:PORT/", "http://00:PORT/", "http://0x0:PORT/", "http://0.1:PORT/",
	// IPv6, and IPv4 inside of it.
	"http://[::1]:PORT/", "http://[0:0:0:0:0:0:0:1]:PORT/", "http://[0000::0001]:PORT/", "http://[::]:PORT/", "http://[::1%25lo]:PORT/",
	"http://[::ffff:127.0.0.1]:PORT/", "http://[::ffff:7f00:1]:PORT/", "http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
	"http://[::127.0.0.1]:PORT/", "http://[::7f00:1]:PORT/", "http://[::ffff:0:127.0.0.1]:PORT/",
	"http://[64:ff9b::127.0.0.1]:PORT/", "http://[64:ff9b::7f00:1]:PORT/", "http://[64:ff9b:1::7f00:1]:PORT/",
	"http://[2002:7f00:1::]:PORT/", "http://[2002:7f00:1::1]:PORT/", "http://[2001:0:808:808::80ff:fffe]:PORT/",
	"http://[fe80::1%25lo]:PORT/", "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/",
	// Names.
	"http://localhost:PORT/", "http://LOCALHOST:PORT/", "http://localhost.:PORT/", "http://a.localhost:PORT/",
	"http://localhost.localdomain:PORT/", "http://ip6-localhost:PORT/",
	"http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/", "http://１２７.0.0.1:PORT/", "http://127。0。0。1:PORT/", "http://①②⑦.0.0.1:PORT/",
	// Parsers that disagree.
	"http://%31%32%37.0.0.1:PORT/", "http://127.0.0.1%00.example.com:PORT/", "http://127.0.0.1\t:PORT/", "http://127.0.0.1%09:PORT/",
	"http://example.com@127.0.0.1:PORT/", "http://example.com:80@127.0.0.1:PORT/", "http://127.0.0.1:PORT@/",
	"http://127.0.0.1:PORT#@example.com/", "http://127.0.0.1:PORT\\@example.com/", "http://127.0.0.1:PORT?@example.com/",
	"http:127.0.0.1:PORT/", "http:/127.0.0.1:PORT/", "http:///127.0.0.1:PORT/", "//127.0.0.1:PORT/", "http:\\\\127.0.0.1:PORT/",
	"HTTP://127.0.0.1:PORT/", "hTtP://[::1]:PORT/", " http://127.0.0.1:PORT/", "http://127.0.0.1:00PORT/", "http://127.0.0.1:PORT /",
	"gopher://127.0.0.1:PORT/", "dict://127.0.0.1:PORT/", "file://127.0.0.1/etc/passwd", "unix:///run/x.sock", "jar:http://127.0.0.1:PORT/!/",
	// The metadata services of the large clouds, which are no public targets.
	"http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/", "http://169.254.170.2/", "http://100.100.100.200/",
	"http://168.63.129.16/", "http://192.0.0.192/", "http://[fd20:ce::254]/", "http://metadata.google.internal/", "http://169.254.169.254.nip.io.invalid/",
}

// TestNoSpellingReachesTheInside: whatever a URL looks like, no connection is
// made to an address that is not public.
func TestNoSpellingReachesTheInside(t *testing.T) {
	port, reached := inside(t)
	dns := newNameServer(t)
	guard := NewGuard(GuardOptions{Resolver: dns.resolver()})
	s, err := NewSender(SenderOptions{Guard: guard, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, url := range spellings {
		url = strings.ReplaceAll(url, "PORT", port)
		a := s.Send(t.Context(), request(url, "{}"))
		if a.Status != 0 || a.Sent || reached.Load() != 0 {
			t.Fatalf("%s: status %d, sent %v, reached %d times", url, a.Status, a.Sent, reached.Load())
		}
		switch a.Reason {
		case task.ReasonBlockedAddress, task.ReasonDNS, task.ReasonInternal:
		default:
			if guard.CheckURL(url) != nil {
				continue // nobody can register it
			}
			t.Errorf("%s: reason %s (%v)", url, a.Reason, a.Err)
		}
	}
	if len(spellings) < 60 {
		t.Errorf("%d spellings", len(spellings))
	}
}

// TestNumbersAreNoNames: what other programs take for an address is refused at
// registration, not left to a resolver's taste.
func TestNumbersAreNoNames(t *testing.T) {
	g := NewGuard(GuardOptions{})
	for _, host := range []string{
		"2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0x7F.1", "127.0.0.01", "1.2.3.4.5", "256.1.1.1", "8.8.8", "0", "08.8.8.8", "134744072",
		"8.8.8.8x.0x8", "2130706433.",
	} {
		if err := g.CheckURL("http://" + host + "/"); err == nil {
			t.Errorf("%s passes", host)
		}
	}
	for _, host := range []string{"8.8.8.8", "8.8.8.8.", "1a", "example.c0m", "7.example", "0x7f.example", "a-1", "1-1", "4.4.8.8.in-addr.arpa", "xn--p1ai"} {
		if err := g.CheckURL("http://" + host + "/"); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestRebinding: a name that shows a public address first and an inside one
// later, or both at once, opens nothing. 127.0.0.1 plays the public address
// here, 127.0.0.2 the inside.
func TestRebinding(t *testing.T) {
	var hits atomic.Int64
	srv := server(t, func(w http.ResponseWriter, _ *http.Request) { hits.Add(1); w.Header().Set("Connection", "close") })
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	var reached atomic.Int64
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	trap := http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }), ReadHeaderTimeout: long}
	done := make(chan struct{})
	go func() { defer close(done); _ = trap.Serve(ln) }()
	t.Cleanup(func() { _ = trap.Close(); <-done })

	dns := newNameServer(t)
	public, private, mapped := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::ffff:127.0.0.2")
	guard := NewGuard(GuardOptions{Allow: prefixes("127.0.0.1/32"), Resolver: dns.resolver()})
	s, err := NewSender(SenderOptions{Guard: guard, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for i, c := range []struct {
		name    string
		answers []netip.Addr
		status  int
		reason  task.Reason
	}{
		{"public", []netip.Addr{public}, 200, ""},
		{"rebound", []netip.Addr{private}, 0, task.ReasonBlockedAddress},
		{"public again", []netip.Addr{public}, 200, ""},
		{"mapped", []netip.Addr{mapped}, 0, task.ReasonBlockedAddress},
		{"both, the inside first", []netip.Addr{private, public}, 200, ""},
		{"many insides", []netip.Addr{private, mapped, netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.0.1")}, 0, task.ReasonBlockedAddress},
		{"nothing", nil, 0, task.ReasonDNS},
	} {
		dns.set("rebind.example.", c.answers...)
		a := s.Send(t.Context(), request("http://rebind.example:"+port+"/", fmt.Sprint(i)))
		if a.Status != c.status || a.Reason != c.reason {
			t.Errorf("%s: status %d, reason %q (%v)", c.name, a.Status, a.Reason, a.Err)
		}
		if reached.Load() != 0 {
			t.Fatalf("%s: reached the inside", c.name)
		}
	}
	if hits.Load() != 3 {
		t.Errorf("the public target got %d requests", hits.Load())
	}
}

// nameServer answers what it is told, with a TTL of 0, over UDP.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	zone map[string][]netip.Addr
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn, zone: map[string][]netip.Addr{}}
	done := make(chan struct{})
	go func() { defer close(done); n.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return n
}

func (n *nameServer) set(name string, answers ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone[name] = answers
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: dialing(n.conn.LocalAddr().String())}
}

func (n *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, err := n.answer(buf[:size]); err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}

func (n *nameServer) answer(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	answers, known := n.zone[q.Name.String()]
	n.mu.Unlock()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range answers {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

// dialing makes a resolver ask one server only.
func dialing(server string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", server)
	}
}
