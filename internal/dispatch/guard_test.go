package dispatch

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(ps ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestGuardByDefault(t *testing.T) {
	g := NewGuard(GuardOptions{})
	open := []string{
		"1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8",
		"64:ff9b::808:808", // NAT64 of 8.8.8.8
	}
	blocked := []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"100.64.0.1", "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.7", "203.0.113.9", "192.88.99.1",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "2001:db8::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16", "::127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110", "64:ff9b:1::808:808",
		"2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", // 6to4 is blocked as a whole
		"2001:0:808:808::f7f7:f7f7", "2001:0:808:808::80ff:fffe",
	}
	for _, a := range open {
		if err := g.Check(netip.AddrPortFrom(netip.MustParseAddr(a), 443)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, a := range blocked {
		err := g.Check(netip.AddrPortFrom(netip.MustParseAddr(a), 443))
		if _, ok := errors.AsType[*BlockedError](err); !ok {
			t.Errorf("%s is open: %v", a, err)
		}
	}
}

func TestGuardPrecedence(t *testing.T) {
	cases := []struct {
		name  string
		opt   GuardOptions
		addr  string
		port  uint16
		alive bool
	}{
		{"allow opens a private range", GuardOptions{Allow: prefixes("10.0.0.0/8")}, "10.1.2.3", 80, true},
		{"and only it", GuardOptions{Allow: prefixes("10.0.0.0/8")}, "192.168.0.1", 80, false},
		{"mapped too", GuardOptions{Allow: prefixes("10.0.0.0/8")}, "::ffff:10.1.2.3", 80, true},
		{"deny wins", GuardOptions{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.9.0.0/16")}, "10.9.0.1", 80, false},
		{"even a wider deny", GuardOptions{Allow: prefixes("10.9.0.1/32"), Deny: prefixes("10.0.0.0/8")}, "10.9.0.1", 80, false},
		{"deny closes public", GuardOptions{Deny: prefixes("8.8.8.0/24")}, "8.8.8.8", 80, false},
		{"deny meets mapped", GuardOptions{Deny: prefixes("8.8.8.0/24")}, "::ffff:8.8.8.8", 80, false},
		{"deny meets NAT64", GuardOptions{Deny: prefixes("8.8.8.0/24")}, "64:ff9b::808:808", 80, false},
		{"deny of NAT64 itself", GuardOptions{Deny: prefixes("64:ff9b::/96")}, "64:ff9b::808:808", 80, false},
		{"deny written as mapped", GuardOptions{Deny: prefixes("::ffff:8.8.8.0/120")}, "8.8.8.8", 80, false},
		{"allow written as mapped", GuardOptions{Allow: prefixes("::ffff:10.0.0.0/104")}, "10.0.0.1", 80, true},
		{"allowed NAT64 is no way in", GuardOptions{Allow: prefixes("64:ff9b::/96")}, "64:ff9b::7f00:1", 80, false},
		{"unless its inside is allowed", GuardOptions{Allow: prefixes("127.0.0.0/8")}, "64:ff9b::7f00:1", 80, true},
		{"allowed 6to4 is no way in", GuardOptions{Allow: prefixes("2002::/16")}, "2002:7f00:1::", 80, false},
		{"allowed 6to4 of a public one", GuardOptions{Allow: prefixes("2002::/16")}, "2002:808:808::", 80, true},
		{"allowed Teredo is no way in", GuardOptions{Allow: prefixes("2001::/32")}, "2001:0:808:808::80ff:fffe", 80, false},
		{"everything", GuardOptions{Allow: prefixes("0.0.0.0/0", "::/0")}, "127.0.0.1", 80, true},
		{"but metadata", GuardOptions{Allow: prefixes("0.0.0.0/0", "::/0")}, "169.254.169.254", 80, false},
		{"but metadata 6", GuardOptions{Allow: prefixes("0.0.0.0/0", "::/0")}, "fd00:ec2::254", 80, false},
		{"but metadata inside", GuardOptions{Allow: prefixes("0.0.0.0/0", "::/0")}, "64:ff9b::a9fe:a9fe", 80, false},
		{"metadata by name", GuardOptions{Allow: prefixes("169.254.169.254/32")}, "169.254.169.254", 80, true},
		{"a zone changes nothing", GuardOptions{Allow: prefixes("fe80::/10"), Deny: prefixes("fe80::1/128")}, "fe80::1%eth0", 80, false},
		{"loopback 6", GuardOptions{Allow: prefixes("::1/128")}, "::1", 80, true},
		{"port", GuardOptions{Ports: []uint16{443}}, "8.8.8.8", 443, true},
		{"other port", GuardOptions{Ports: []uint16{443}}, "8.8.8.8", 80, false},
		{"no port at all", GuardOptions{Ports: []uint16{}}, "8.8.8.8", 80, false},
		{"allow does not open ports", GuardOptions{Ports: []uint16{443}, Allow: prefixes("8.0.0.0/8")}, "8.8.8.8", 80, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := NewGuard(c.opt).Check(netip.AddrPortFrom(netip.MustParseAddr(c.addr), c.port))
			if (err == nil) != c.alive {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestGuardControl(t *testing.T) {
	g := NewGuard(GuardOptions{})
	for _, c := range []struct{ network, addr string }{
		{"udp4", "8.8.8.8:53"},
		{"unix", "/run/x.sock"},
		{"tcp4", "nonsense"},
		{"tcp4", "127.0.0.1:80"},
	} {
		if g.control(context.Background(), c.network, c.addr, nil) == nil {
			t.Errorf("%v passed", c)
		}
	}
	if err := g.control(context.Background(), "tcp6", "[2606:4700::1]:443", nil); err != nil {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	g := NewGuard(GuardOptions{
		Allow: prefixes("10.0.0.0/8"), Ports: []uint16{80, 443, 8443},
		Resolve: map[string]netip.Addr{
			"Inside.example": netip.MustParseAddr("10.0.0.1"), "trap.example": netip.MustParseAddr("127.0.0.1"),
		},
	})
	cases := map[string]error{
		"https://example.com/hook?x=1":  nil,
		"http://example.com":            nil,
		"https://example.com:8443/":     nil,
		"http://10.0.0.1/":              nil,
		"http://inside.example./":       nil,
		"http://[2606:4700::1]/":        nil,
		"":                              errURLForm,
		"example.com":                   errURLForm,
		"/relative":                     errURLForm,
		"ftp://example.com/":            errURLForm,
		"file:///etc/passwd":            errURLForm,
		"http:example.com":              errURLForm,
		"http://exa mple.com/":          errURLForm,
		"http://example.com:x/":         errURLForm,
		"http:///path":                  errURLHost,
		"http://:80/":                   errURLHost,
		"http://user@example.com/":      errURLUser,
		"http://user:pw@example.com/":   errURLUser,
		"http://@example.com/":          errURLUser,
		"http://example.com/#x":         errURLFragment,
		"http://example.com/#":          errURLFragment,
		"http://example.com:0/":         errURLPort,
		"http://example.com:65536/":     errURLPort,
		"http://example.com:/":          errURLPort,
		"http://example.com:22/":        errURLPortNo,
		"http://127.0.0.1/":             errURLBlocked,
		"http://localhost/":             errURLBlocked,
		"http://LOCALHOST./":            errURLBlocked,
		"http://a.localhost/":           errURLBlocked,
		"http://[::1]/":                 errURLBlocked,
		"http://[::ffff:127.0.0.1]/":    errURLBlocked,
		"http://[fe80::1%25eth0]/":      errURLBlocked,
		"http://169.254.169.254/latest": errURLBlocked,
		"http://trap.example/":          errURLBlocked,
		"http://example.com/" + strings.Repeat("a", maxURL): errURLTooLong,
	}
	for raw, want := range cases {
		if err := g.CheckURL(raw); !errors.Is(err, want) {
			t.Errorf("%.50q: got %v, want %v", raw, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	g := NewGuard(GuardOptions{Resolve: map[string]netip.Addr{"a.example": netip.MustParseAddr("10.0.0.1"), "b.example": netip.MustParseAddr("fd00::1")}})
	for in, want := range map[string]string{
		"A.example:80": "10.0.0.1:80", "a.example.:80": "10.0.0.1:80", "b.example:1": "[fd00::1]:1", "c.example:80": "c.example:80", "x": "x",
	} {
		if got := g.resolve(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
