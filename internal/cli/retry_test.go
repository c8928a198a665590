package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// When a call is made again is a table.
func TestAgain(t *testing.T) {
	t.Parallel()
	in := func(err error) error { return &url.Error{Op: "Get", URL: "http://x", Err: err} }
	dial := in(&net.OpError{Op: "dial", Err: errors.New("refused")})
	unknown := in(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}})
	for name, c := range map[string]struct {
		status     int
		header     string // Retry-After
		err        error
		harmless   bool // again when a second attempt does no harm
		always     bool // again in any case
		retryAfter time.Duration
	}{
		"ok":                   {200, "", nil, false, false, 0},
		"refused":              {422, "", nil, false, false, 0},
		"conflict":             {409, "", nil, false, false, 0},
		"being accepted":       {409, "1", nil, true, false, time.Second},
		"too many":             {429, "2", nil, true, true, 2 * time.Second},
		"fault of the server":  {500, "", nil, false, false, 0},
		"unavailable":          {503, "3", nil, true, false, 3 * time.Second},
		"unavailable at once":  {503, "0", nil, true, false, 0},
		"unavailable, odd":     {503, "soon", nil, true, false, -1},
		"proxy":                {502, "", nil, true, false, -1},
		"proxy's patience":     {504, "", nil, true, false, -1},
		"never sent":           {0, "", dial, true, true, -1},
		"broke off":            {0, "", in(errors.New("EOF")), true, false, -1},
		"no answer":            {0, "", in(context.DeadlineExceeded), true, false, -1},
		"given up":             {0, "", in(context.Canceled), false, false, 0},
		"no such name":         {0, "", unknown, false, false, 0},
		"unknown certificates": {0, "", in(x509.UnknownAuthorityError{}), false, false, 0},
		"another's name":       {0, "", in(x509.HostnameError{Certificate: &x509.Certificate{}}), false, false, 0},
	} {
		var resp *http.Response
		if c.err == nil {
			resp = &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.header}}, Body: http.NoBody}
		}
		for repeatable, want := range map[bool]bool{true: c.harmless, false: c.always} {
			delay, ok := again(repeatable, 3, resp, c.err)
			if ok != want {
				t.Errorf("%s, repeatable %t: again %t", name, repeatable, ok)
			}
			if ok && c.retryAfter >= 0 && delay != c.retryAfter {
				t.Errorf("%s: after %v, want %v", name, delay, c.retryAfter)
			}
			if ok && c.retryAfter < 0 && (delay < 500*time.Millisecond || delay > time.Second) {
				t.Errorf("%s: after %v, want about 0.5 to 1 s", name, delay)
			}
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, most := range map[int]time.Duration{
		1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 4: 2 * time.Second, 5: 5 * time.Second, 1000: 5 * time.Second,
	} {
		for range 100 {
			if d := backoff(n); d < most/2 || d > most {
				t.Fatalf("%d: %v", n, d)
			}
		}
	}
}
