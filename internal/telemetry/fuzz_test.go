package telemetry

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// FuzzParse: of a caller's traceparent comes a whole span context or none.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", "-", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		sc := parse(header)
		if !sc.IsValid() {
			return
		}
		text := TraceParent(trace.ContextWithSpanContext(t.Context(), sc))
		again := parse(text)
		if again.TraceID() != sc.TraceID() || again.SpanID() != sc.SpanID() || len(text) != 55 {
			t.Fatalf("%q is %q", header, text)
		}
	})
}

// FuzzHost: of a target's URL its host leaves, never a user, path or query.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"https://u:p@h:1/p?q#f", "//h", "h", "https://[::1%25eth0]:1/", "https://h:p@ss/", "mailto:x@y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if h := host(raw); strings.ContainsAny(h, "/?#") || len(h) > len(raw) {
			t.Fatalf("%q is of host %q", raw, h)
		}
	})
}

// FuzzRetryAfter: a receiver of traces can ask for patience, not for all of it.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "0", "-1", "9223372036854775807", "x", "", " 5", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait, told := retryAfter(http.Header{"Retry-After": {value}})
		if wait < 0 || wait > longestPause || told != (wait > 0) || wait%time.Second != 0 {
			t.Fatalf("%q: %s, %t", value, wait, told)
		}
	})
}
