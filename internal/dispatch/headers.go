package dispatch

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/signing"
)

// idempotencyKey is written in lower case on purpose: net/http sends a POST
// with the canonical "Idempotency-Key" a second time by itself when a reused
// connection breaks, even if the handler has had it. One attempt is one
// request.
const idempotencyKey = "idempotency-key"

// deadlineFormat is RFC 3339 with milliseconds.
const deadlineFormat = "2006-01-02T15:04:05.000Z07:00"

// reserved headers are ours or the connection's: neither task nor endpoint
// can set them. Keys are canonical.
var reserved = map[string]bool{
	"Connection": true, "Content-Length": true, "Content-Type": true, "Expect": true, "Host": true,
	"Http2-Settings": true, "Idempotency-Key": true, "Keep-Alive": true, "Te": true, "Traceparent": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "User-Agent": true, "X-Idempotency-Key": true,
}

// Reserved reports whether a header cannot be set by a task or an endpoint.
func Reserved(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return reserved[name] || strings.HasPrefix(name, "Proxy-") ||
		strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Taskgate-")
}

// headers are what the handler gets, now being the moment of signing.
func (s *Sender) headers(r *Request, now time.Time) http.Header {
	m := r.Message
	h := http.Header{}
	for _, f := range m.Headers {
		if usable(f.Name, f.Value) {
			h.Add(f.Name, f.Value)
		}
	}
	for name, value := range r.Endpoint.Headers {
		if usable(name, value) {
			h.Set(name, value)
		}
	}
	if m.ContentType != "" {
		h.Set("Content-Type", m.ContentType)
	}
	if r.TraceParent != "" {
		h.Set("Traceparent", r.TraceParent)
	}
	h.Set("User-Agent", s.userAgent)
	h[idempotencyKey] = []string{string(m.ID)}
	h.Set("Taskgate-Attempt", strconv.Itoa(r.Attempt))
	h.Set("Taskgate-Max-Attempts", strconv.Itoa(r.MaxAttempts))
	h.Set("Taskgate-Endpoint", m.Endpoint)
	h.Set("Taskgate-Deadline", now.Add(r.Timeout).UTC().Format(deadlineFormat))
	if r.Suspect {
		h.Set("Taskgate-Suspect", "true")
	}
	if r.Test {
		h.Set("Taskgate-Test", "true")
	}
	h.Set(signing.HeaderID, string(m.ID))
	h.Set(signing.HeaderTimestamp, signing.Timestamp(now))
	if sig := signing.Sign(string(m.ID), now, m.Payload, r.Secrets...); sig != "" {
		h.Set(signing.HeaderSignature, sig)
	}
	return h
}

// usable drops what the API refuses already: one bad header must not make a
// task undeliverable.
func usable(name, value string) bool {
	return name != "" && !Reserved(name) && strings.IndexFunc(name, notToken) < 0 && strings.IndexFunc(value, control) < 0
}

// notToken reports characters that a header's name cannot have (RFC 9110,
// 5.6.2).
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
