package dispatch

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// FuzzVerdict: an answer of any status, headers and body comes to one bounded
// outcome, and to nothing that a header could not be.
func FuzzVerdict(f *testing.F) {
	f.Add(503, "120", "", "text/plain", []byte("busy"))
	f.Add(429, "Sun, 29 Nov 2026 12:00:00 GMT", "never", "", []byte{})
	f.Add(200, "", "", "application/json", []byte("{}"))
	f.Add(410, "-1", " Never ", "x", []byte{0xff})
	f.Add(429, "99999999999999999999", "", "", []byte{})
	f.Add(599, "1e3", "", "", []byte{})
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, retryAfter, retry, contentType string, body []byte) {
		if status < 100 || status > 999 {
			return // net/http reads three digits
		}
		a := &Answer{Status: status, Body: body, Header: http.Header{
			"Retry-After": {retryAfter}, "Taskgate-Retry": {retry}, "Content-Type": {contentType}, "X-Kept": {retry, contentType},
		}}
		o := Verdict(a, task.Policy{}, task.ResultPolicy{KeepHeaders: []string{"x-kept"}}, now)
		switch {
		case o.RetryAfter < 0 || o.RetryAfter > task.LongestMaxAge:
			t.Fatalf("wait %s", o.RetryAfter)
		case (o.Kind == task.KindPostpone) != (o.Reason == task.ReasonThrottled && o.Kind != task.KindRetry):
			t.Fatalf("postponed without being throttled: %+v", o)
		case (o.Kind == task.KindSuccess) != success(status) || (o.Result != nil) != success(status):
			t.Fatalf("%d: %+v", status, o)
		case len(o.Answer) > task.MaxAnswerKept:
			t.Fatalf("%d bytes are kept", len(o.Answer))
		case o.Kind == task.KindGone && status != http.StatusGone:
			t.Fatalf("%d disables an endpoint", status)
		}
	})
}

// FuzzCheckURL: a URL that is taken names a host that can be dialled, and no
// address that the guard would refuse, however it is written.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{
		"https://example.com/", "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://a@b/",
		"http://１２７.0.0.1/", "http://127。0。0。1/", "http:\\\\127.0.0.1/", "http://localhost./", "http://example.com:0/", "http://[::1]", "//x", "http://%31%32%37.0.0.1/", "http://a#@127.0.0.1/", "http://①②⑦.⓪.⓪.①/",
	} {
		f.Add(s)
	}
	g := NewGuard(GuardOptions{Deny: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Ports: []uint16{80, 443}})
	f.Fuzz(func(t *testing.T, raw string) {
		if g.CheckURL(raw) != nil {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, nil)
		if err != nil || len(raw) > maxURL {
			t.Fatalf("%q is taken: %v", raw, err)
		}
		host := r.URL.Hostname()
		port, err := portOf(r.URL.Scheme, r.URL.Port())
		if err != nil || port != 80 && port != 443 || host == "" || r.URL.User != nil {
			t.Fatalf("%q is taken", raw)
		}
		if a, err := netip.ParseAddr(host); err == nil && g.Check(netip.AddrPortFrom(a, port)) != nil {
			t.Fatalf("%q is taken, and cannot be dialled", raw)
		}
		if hostOf(raw) != strings.ToLower(r.URL.Host) {
			t.Fatalf("%q counts for host %q", raw, hostOf(raw))
		}
		if again := (&url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}).String(); g.CheckURL(again) != nil {
			t.Fatalf("%q is taken, its origin %q is not", raw, again)
		}
	})
}

// FuzzGuard: of an address and those that carry it, all or none are blocked;
// deny wins over allow; and what is not public passes only by being allowed.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "8.8.8.8", "169.254.169.254", "10.0.0.1", "::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1:2:3:4:80ff:fffe", "fd00:ec2::254", "::ffff:10.1.1.1", "fe80::1%eth0", "168.63.129.16", "2606:4700::1", "::7f00:1", "64:ff9b:1::a00:1", "100.64.0.1"} {
		a := netip.MustParseAddr(s)
		f.Add(a.AsSlice(), "10.0.0.0/8", "10.1.0.0/16")
		f.Add(a.AsSlice(), "::/0", "::/0")
		f.Add(a.AsSlice(), "0.0.0.0/0", "127.0.0.0/8")
	}
	f.Fuzz(func(t *testing.T, raw []byte, allowText, denyText string) {
		a, ok := netip.AddrFromSlice(raw)
		allow, err1 := netip.ParsePrefix(allowText)
		deny, err2 := netip.ParsePrefix(denyText)
		if !ok || err1 != nil || err2 != nil {
			return
		}
		plain := NewGuard(GuardOptions{})
		guard := NewGuard(GuardOptions{Allow: []netip.Prefix{allow}, Deny: []netip.Prefix{deny}})
		inner := a.Unmap()
		if deny.Masked().Contains(inner) && guard.addr(a) == "" {
			t.Fatalf("%s is denied by %s and passes", a, deny)
		}
		if (inner.IsPrivate() || inner.IsLoopback() || inner.IsLinkLocalUnicast() || inner.IsMulticast() || inner.IsUnspecified()) && plain.addr(a) == "" {
			t.Fatalf("%s is not public and passes", a)
		}
		if plain.addr(a) != "" && guard.addr(a) == "" && !allow.Masked().Contains(inner) {
			if in, carries := embedded(inner); !carries || !normal([]netip.Prefix{allow})[0].Contains(in) {
				t.Fatalf("%s passes and %s does not allow it", a, allow)
			}
		}
		if inner.Is4() {
			for _, other := range carriers(inner) {
				if plain.addr(inner) != "" && plain.addr(other) == "" {
					t.Fatalf("%s is blocked, %s, which carries it, is not", inner, other)
				}
			}
		}
		if g, z := plain.addr(a), plain.addr(a.WithZone("eth0")); g != z {
			t.Fatalf("%s: %q, with a zone %q", a, g, z)
		}
	})
}

// carriers are the IPv6 addresses that lead to an IPv4 address.
func carriers(a netip.Addr) []netip.Addr {
	b := a.As4()
	mapped := netip.AddrFrom16(a.As16())
	compatible, translated, local, tunnel := [16]byte{}, [16]byte{0, 0x64, 0xff, 0x9b}, [16]byte{0, 0x64, 0xff, 0x9b, 0, 1}, [16]byte{0x20, 0x02}
	copy(compatible[12:], b[:])
	copy(translated[12:], b[:])
	copy(local[12:], b[:])
	copy(tunnel[2:], b[:])
	teredo := [16]byte{0x20, 0x01, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, ^b[0], ^b[1], ^b[2], ^b[3]}
	return []netip.Addr{
		mapped, netip.AddrFrom16(compatible), netip.AddrFrom16(translated), netip.AddrFrom16(local), netip.AddrFrom16(tunnel), netip.AddrFrom16(teredo),
	}
}

// FuzzUsable: a header of a task or endpoint never breaks out of its line, nor
// takes the place of one of ours.
func FuzzUsable(f *testing.F) {
	for _, s := range []string{"X-A", "webhook-id", "Content-Length", "content-length", "X A", "TasKgate-x", "x\r\nHost", "Proxy-Authorization", "x-idempotency-key", "ﬀ", "Kelvin-\u212a"} {
		f.Add(s, "v\r\nX: y")
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if !usable(name, value) {
			return
		}
		if strings.ContainsAny(name+value, "\r\n\x00") || strings.ContainsAny(name, " :") {
			t.Fatalf("%q: %q breaks out", name, value)
		}
		for _, ours := range []string{"host", "content-length", "content-type", "transfer-encoding", "connection", "idempotency-key"} {
			if strings.EqualFold(name, ours) {
				t.Fatalf("%q can be set", name)
			}
		}
		for _, prefix := range []string{"webhook-", "taskgate-", "proxy-"} {
			if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
				t.Fatalf("%q can be set", name)
			}
		}
	})
}
