package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"
)

// clientAddress says how a request's client is known: by its connection, since
// X-Forwarded-For is anybody's word. Only what a trusted proxy added to it is
// believed: the last address that is none of theirs is the client's.
func clientAddress(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		_, network, err := net.ParseCIDR(p.Masked().String())
		if err == nil { // what a prefix writes can be read
			options = append(options, echo.TrustIPRange(network))
		}
	}
	extract := echo.ExtractIPFromXFFHeader(options...)
	return func(r *http.Request) string {
		from := extract(r)
		// Of a header that cannot be read (some proxies write ports) the library
		// makes the proxy's own address: a key that is bound to the network of
		// the proxy would be good for everybody behind it.
		if r.Header.Get(echo.HeaderXForwardedFor) != "" && from == echo.ExtractIPDirect()(r) && inOneOf(trusted, from) {
			return ""
		}
		return from
	}
}

func inOneOf(networks []netip.Prefix, address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
}

// clientOf is the client's address, invalid when it is not known.
func clientOf(c echo.Context) netip.Addr {
	a, _ := netip.ParseAddr(c.RealIP())
	return a.Unmap().WithZone("")
}

// Headers that tell browsers how little to do with an answer. Those of pages,
// and of what others made, say more.
const (
	policyOfData = "default-src 'none'; frame-ancestors 'none'"
	yearHSTS     = "max-age=31536000"
)

func (s *Server) guardBrowsers(h http.Header) {
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderReferrerPolicy, "no-referrer")
	h.Set(echo.HeaderContentSecurityPolicy, policyOfData)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.opt.HSTS {
		h.Set(echo.HeaderStrictTransportSecurity, yearHSTS)
	}
}
