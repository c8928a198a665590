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
	if a, ok := g.literal(u.Hostname()); ok && g.addr(a) != "" {
		return errURLBlocked
	}
	return nil
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
