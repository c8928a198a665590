package dispatch

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
)

// trace follows how far a request got. Its hooks may be called from other
// goroutines, even after the request has ended.
type trace struct {
	mu     sync.Mutex
	sent   bool  // the headers left for the handler
	tlsErr error // of the latest handshake
}

func (t *trace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// The transport begins anew only after a try that surely was not
		// processed (see Sender.request).
		GetConn: func(string) { t.set(func() { t.sent, t.tlsErr = false, nil }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			t.set(func() { t.tlsErr = err })
		},
		WroteHeaders: func() { t.set(func() { t.sent = true }) },
	}
}

func (t *trace) set(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

// wasSent reports whether the request may have reached the handler.
func (t *trace) wasSent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}

func (t *trace) handshake() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tlsErr
}
