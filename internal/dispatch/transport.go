package dispatch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Bounds of the transport.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	keepAlive        = 30 * time.Second
	// idleFor is below the idle timeout of common load balancers (60 s): a
	// connection that the other side closes while we write costs an attempt.
	idleFor        = 25 * time.Second
	idleConns      = 512
	idlePerHost    = 64 // as many attempts as an endpoint may have by default
	maxHeaderBytes = 64 << 10
	pingAfter      = 15 * time.Second
	pingTimeout    = 10 * time.Second
)

// newTransport makes the one transport of all deliveries. conns bounds the
// connections to one host; the pool (limits.go) is what limits endpoints, so
// it is no lower than that.
func newTransport(g *Guard, roots *x509.CertPool, conns int) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // a proxy would connect past the guard
		DialContext:            g.dialer(),
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // result bytes are kept as they were sent
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idlePerHost,
		MaxConnsPerHost:        conns,
		IdleConnTimeout:        idleFor,
		// A dead HTTP/2 connection would take every request to its host along.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

var errNoCertificate = errors.New("no certificate in it")

// certificates returns the system's roots and those of file; nil for the
// system's alone.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // crypto/tls: nil means the system's
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read extra CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read extra CA file: %w", errNoCertificate)
	}
	return pool, nil
}

// shielded is the transport as go-retryablehttp may see it: without
// CloseIdleConnections, which it calls after every failure, for all hosts.
type shielded struct{ rt http.RoundTripper }

// RoundTrip implements [http.RoundTripper]. A method that net/http takes for
// idempotent loses its rewindable body: the transport would send the request
// a second time when a reused connection breaks.
func (s shielded) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		r = r.Clone(r.Context())
		r.GetBody = nil
		if r.Body == nil || r.Body == http.NoBody {
			r.Body = io.NopCloser(emptyBody{})
		}
	}
	resp, err := s.rt.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		// [http.Client] parses it before it asks whether to follow, and would
		// turn a malformed one into an error.
		resp.Header.Del("Location")
	}
	return resp, err
}

// emptyBody is a body that net/http does not know to be empty.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
