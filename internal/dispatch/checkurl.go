package dispatch

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

const maxURL = 2048

// Faults of an endpoint's URL, worded for its owner.
var (
	errURLTooLong  = errors.New("must be at most 2048 bytes long")
	errURLForm     = errors.New("must be an absolute http or https URL")
	errURLHost     = errors.New("must name a host")
	errURLNumber   = errors.New("a host that ends in a number must be an IPv4 address of four decimal parts")
	errURLUser     = errors.New("must not contain a user or password")
	errURLFragment = errors.New("must not have a fragment")
	errURLPort     = errors.New("must have a port from 1 to 65535")
	errURLPortNo   = errors.New("this port is not allowed here")
	errURLBlocked  = errors.New("this address is not allowed here: it is private, reserved or denied")
)

// CheckURL tells early and in plain words what the guard would refuse at
// every delivery. It asks no DNS: a name that passes may still be refused.
func (g *Guard) CheckURL(raw string) error {
	if len(raw) > maxURL {
		return errURLTooLong
	}
	u, err := url.Parse(raw)
	if err != nil || schemePorts[u.Scheme] == "" || u.Opaque != "" {
		return errURLForm
	}
	switch {
	case u.Hostname() == "":
		return errURLHost
	case u.User != nil:
		return errURLUser
	case strings.Contains(raw, "#"):
		return errURLFragment
	}
	port, err := portOf(u.Scheme, u.Port())
	if err != nil || port == 0 || strings.HasSuffix(u.Host, ":") {
		return errURLPort
	}
	if g.port(port) != "" {
		return errURLPortNo
	}
	return g.checkHost(u.Hostname())
}

func (g *Guard) checkHost(host string) error {
	a, ok := g.literal(host)
	switch {
	case ok && g.addr(a) != "":
		return errURLBlocked
	case !ok && endsInNumber(host):
		return errURLNumber
	}
	return nil
}

// endsInNumber reports whether a host is an IPv4 address to those who read
// them in octal, in hexadecimal or in fewer parts (WHATWG URL, "ends in a
// number checker"). No name of the DNS ends so.
func endsInNumber(host string) bool {
	host = canonicalHost(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last != "" && strings.Trim(last, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(last, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// literal returns the address of a host that needs no DNS.
func (g *Guard) literal(host string) (netip.Addr, bool) {
	host = canonicalHost(host)
	if a, ok := g.resolved[host]; ok {
		return a, true
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}
