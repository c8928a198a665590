package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 5 * time.Second
	// maxTries bounds the attempts of one call: with the shortest backoffs it
	// is more than any --retry-for that makes sense.
	maxTries = 1000
)

// again decides whether the attempt number n (from 1) of a call is followed by
// another one, and after which delay. Exactly one of resp and err is given.
// repeatable says that a second attempt does no harm even when the first one
// was carried out; other calls are made again only when the first surely was
// not.
func again(repeatable bool, n int, resp *http.Response, err error) (delay time.Duration, ok bool) {
	if err != nil {
		return backoff(n), neverSent(err) || repeatable && transient(err)
	}
	after, told := retryAfter(resp.Header.Get("Retry-After"))
	switch resp.StatusCode {
	case http.StatusTooManyRequests: // refused before anything was done
		ok = true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		ok = repeatable
	case http.StatusConflict: // the first attempt of this key is still being accepted
		ok = repeatable && told
	}
	if !told {
		after = backoff(n)
	}
	return after, ok
}

// maxRetryAfter is the longest that a server can make a command wait.
const maxRetryAfter = time.Hour

// retryAfter reads the header's seconds.
func retryAfter(value string) (time.Duration, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return 0, false
	}
	return min(time.Duration(n)*time.Second, maxRetryAfter), true
}

// backoff doubles from minBackoff to maxBackoff; the later half of each delay
// is random, so that many clients do not come at once.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 5 {
		d = min(maxBackoff, minBackoff<<(n-1))
	}
	return d/2 + rand.N(d/2) //nolint:gosec // spreads load, protects nothing
}

// neverSent: there was no connection that the request could have gone over.
func neverSent(err error) bool {
	var op *net.OpError
	return transient(err) && errors.As(err, &op) && op.Op == "dial"
}

// transient tells errors that another attempt may not meet. A name that does
// not exist and a certificate that is not trusted stay as they are.
func transient(err error) bool {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &host):
		return false
	}
	return true
}

// tries carries [again] into the retrying client, within a time.
type tries struct {
	repeatable bool
	until      time.Time // no attempt begins later
	notice     func(resp *http.Response, err error)

	made  int
	delay time.Duration
}

// check is the CheckRetry of the retrying client.
func (t *tries) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	t.made++
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	delay, ok := again(t.repeatable, t.made, resp, err)
	if !ok || time.Now().Add(delay).After(t.until) {
		return false, nil
	}
	t.delay = delay
	t.notice(resp, err)
	return true, nil
}

// wait is the Backoff of the retrying client.
func (t *tries) wait(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return t.delay }
