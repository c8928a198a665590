package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// What a server answers is not trusted either: it may be another one.

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "0", "-1", "9223372036854775807", "18446744073709551616", "x", "", " 5 ", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait, told := retryAfter(value)
		if wait < 0 || wait > maxRetryAfter || !told && wait != 0 {
			t.Fatalf("%q: %s, %t", value, wait, told)
		}
	})
}

func FuzzRefusal(f *testing.F) {
	f.Add(404, "application/problem+json", []byte(`{"code":"not_found","title":"Not found","status":404,"instance":"x"}`))
	f.Add(302, "text/html", []byte("<html>"))
	f.Add(500, "application/problem+json; x", []byte(`{"code":1}`))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		if status < 300 || status > 999 {
			return
		}
		err := refusal(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(bytes.NewReader(nil))}, body)
		var fail *failure
		if !errors.As(err, &fail) || fail.exit == 0 || fail.Code == "" || err.Error() == "" {
			t.Fatalf("%d %q %q: %v", status, contentType, body, err)
		}
		if fail.problem != nil && (!json.Valid(fail.problem) || bytes.ContainsAny(fail.problem, "\n\r")) {
			t.Fatalf("%q is no JSON on one line: %q", body, fail.problem)
		}
	})
}

func FuzzInstant(f *testing.F) {
	for _, s := range []string{"15m", "7d", "2026-01-02T15:04:05Z", "-1h", "d", "99999d", "", "9999999h", "0000-01-01T00:00:00Z"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		text, err := instant("--since", value, now)
		if err != nil || value == "" {
			if text != "" {
				t.Fatalf("%q: %q, %v", value, text, err)
			}
			return
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || text != value && at.After(now) {
			t.Fatalf("%q is %q: %v", value, text, err)
		}
	})
}

func FuzzCompact(f *testing.F) {
	f.Add([]byte("{\n \"a\": 1 }"))
	f.Add([]byte("not JSON\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		out := compact(doc)
		if json.Valid(doc) && bytes.ContainsAny(out, "\r\n\t") || len(out) > len(doc) {
			t.Fatalf("%q became %q", doc, out)
		}
	})
}
