package task

import (
	"net/netip"
	"slices"
	"strings"
)

// EndpointSet is what a key is bound to: names of endpoints, and beginnings of
// names, written with a "*" at their end. An empty one binds to nothing: it
// holds every endpoint.
type EndpointSet []string

// Bound reports whether the set leaves anything out.
func (s EndpointSet) Bound() bool { return len(s) > 0 }

// Has reports whether the set holds the endpoint of that name.
func (s EndpointSet) Has(name string) bool {
	return !s.Bound() || slices.ContainsFunc(s, func(p string) bool {
		start, open := strings.CutSuffix(p, "*")
		return p == name || open && strings.HasPrefix(name, start)
	})
}

// Covers reports whether every endpoint that other holds is in s, as far as
// one entry of s alone shows it.
func (s EndpointSet) Covers(other EndpointSet) bool {
	if !s.Bound() {
		return true
	}
	if !other.Bound() {
		return false
	}
	// No name ends in a "*": a beginning is in the set as it is written, or
	// below a shorter one, and never below a name.
	return !slices.ContainsFunc(other, func(p string) bool { return !s.Has(p) })
}

// AddressSet is where a key may be used from. An empty one means anywhere.
type AddressSet []netip.Prefix

// ParseAddress reads a CIDR, or an address, which is a CIDR of one. Bits
// behind the prefix are cleared.
func ParseAddress(text string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	// IPv4 in IPv6 is an IPv4 address by the time it is looked for.
	return p.Masked(), !p.Addr().Is4In6()
}

// Has reports whether the set holds the address. The zero one is in no set
// that leaves anything out.
func (s AddressSet) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return len(s) == 0 || slices.ContainsFunc(s, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Covers reports whether every address that other holds is in s, as far as
// one entry of s alone shows it.
func (s AddressSet) Covers(other AddressSet) bool {
	if len(s) == 0 {
		return true
	}
	return len(other) > 0 && !slices.ContainsFunc(other, func(o netip.Prefix) bool {
		return !slices.ContainsFunc(s, func(p netip.Prefix) bool { return p.Bits() <= o.Bits() && p.Contains(o.Addr()) })
	})
}
