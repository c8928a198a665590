package dispatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// GuardOptions say where deliveries may go beside the public internet.
type GuardOptions struct {
	// Allow opens what is blocked by default (private, loopback, …). It never
	// opens a cloud's metadata address by a range: name that address alone.
	Allow []netip.Prefix
	// Deny closes addresses, whatever Allow says.
	Deny []netip.Prefix
	// Ports that may be dialled; nil means any.
	Ports []uint16
	// Resolve answers for these hosts instead of DNS. The addresses are
	// guarded like all others.
	Resolve map[string]netip.Addr
	// Resolver asks DNS; nil is the system's.
	Resolver *net.Resolver
}

// BlockedError is the refusal to dial an address.
type BlockedError struct {
	Addr netip.AddrPort
	Why  string
}

// Error implements error.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("address %s is blocked: %s", e.Addr, e.Why)
}

// Guard decides which addresses may be dialled. It looks at the address that
// is about to be connected to, after DNS, so that no name can lie to it.
type Guard struct {
	opt      GuardOptions
	builtin  *ssrf.Guardian
	resolved map[string]netip.Addr
}

// metadata addresses hand out credentials of the machine to whoever asks.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"),
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("168.63.129.16"),   // Azure: a public address
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

// NewGuard makes a guard.
func NewGuard(opt GuardOptions) *Guard {
	opt.Allow, opt.Deny = normal(opt.Allow), normal(opt.Deny)
	g := &Guard{
		opt:      opt,
		builtin:  ssrf.New(ssrf.WithAnyPort()),
		resolved: make(map[string]netip.Addr, len(opt.Resolve)),
	}
	for host, addr := range opt.Resolve {
		g.resolved[canonicalHost(host)] = addr
	}
	return g
}

// normal writes prefixes of IPv4-mapped addresses as IPv4: addresses are
// compared in that form.
func normal(in []netip.Prefix) []netip.Prefix {
	const mappedBits = 96
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if p.Addr().Is4In6() && p.Bits() >= mappedBits {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
		}
		out = append(out, p.Masked())
	}
	return out
}

func canonicalHost(h string) string { return strings.ToLower(strings.TrimSuffix(h, ".")) }

// Check returns a [*BlockedError] if ap must not be dialled.
func (g *Guard) Check(ap netip.AddrPort) error {
	if why := g.port(ap.Port()); why != "" {
		return &BlockedError{ap, why}
	}
	if why := g.addr(ap.Addr()); why != "" {
		return &BlockedError{ap, why}
	}
	return nil
}

func (g *Guard) port(p uint16) string {
	if g.opt.Ports != nil && !slices.Contains(g.opt.Ports, p) {
		return "port not allowed"
	}
	return ""
}

// addr says why an address is blocked, "" if it is not. An IPv6 address that
// carries an IPv4 address is as good as the worse of the two.
func (g *Guard) addr(a netip.Addr) string {
	a = a.WithZone("").Unmap() // prefixes contain no address with a zone
	inner, carries := embedded(a)
	if contains(g.opt.Deny, a) || carries && contains(g.opt.Deny, inner) {
		return "denied"
	}
	if carries {
		if why := g.open(inner); why != "" {
			return why
		}
		if nat64.Contains(a) {
			return "" // the way to public IPv4 from a network without it
		}
	}
	return g.open(a)
}

func (g *Guard) open(a netip.Addr) string {
	if slices.Contains(metadata, a) {
		if slices.Contains(g.opt.Allow, netip.PrefixFrom(a, a.BitLen())) {
			return ""
		}
		return "metadata address"
	}
	if contains(g.opt.Allow, a) {
		return ""
	}
	if g.builtin.SafeAddr(a) != nil {
		return "not a public address"
	}
	return ""
}

func contains(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

var (
	nat64     = ssrf.IPv6NAT64Prefix
	sixToFour = netip.MustParsePrefix("2002::/16")
	teredo    = netip.MustParsePrefix("2001::/32")
)

// embedded returns the IPv4 address that a translator or tunnel would really
// connect to.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case a.Is4():
		return netip.Addr{}, false
	case nat64.Contains(a): // RFC 6052: the last 4 bytes
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(a): // RFC 3056: bytes 2 to 5
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(a): // RFC 4380: the last 4 bytes, inverted
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

var errNotTCP = errors.New("only TCP may be dialled")

// control is a [net.Dialer.ControlContext].
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return errNotTCP
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse address to dial: %w", err)
	}
	return g.Check(ap)
}

// dialer dials what the guard lets through.
func (g *Guard) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, ControlContext: g.control, Resolver: g.opt.Resolver}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.DialContext(ctx, network, g.resolve(addr))
	}
}

func (g *Guard) resolve(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	if a, ok := g.resolved[canonicalHost(host)]; ok {
		return net.JoinHostPort(a.String(), port)
	}
	return hostport
}

// ports of the schemes that endpoints may have.
var schemePorts = map[string]string{"http": "80", "https": "443"}

func portOf(scheme, port string) (uint16, error) {
	if port == "" {
		port = schemePorts[scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return uint16(n), err
}
