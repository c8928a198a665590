package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	headerIdempotencyKey      = "Idempotency-Key"
	headerIdempotencyReplayed = "Idempotency-Replayed"
	maxIdempotencyKey         = 255
)

// parseIdempotencyKey reads a key, bare or as a quoted string (RFC 8941,
// section 3.3.3): "a" and a are the same key.
func parseIdempotencyKey(text string) (key, fault string) {
	key = strings.Trim(text, " \t")
	if strings.HasPrefix(key, `"`) {
		var ok bool
		if key, ok = unquote(key); !ok {
			return "", "is not a well-formed quoted string"
		}
	}
	switch {
	case key == "":
		return "", "must not be empty"
	case len(key) > maxIdempotencyKey:
		return "", fmt.Sprintf("must have at most %d characters", maxIdempotencyKey)
	case !printable(key):
		return "", "must be printable ASCII"
	}
	return key, ""
}

// unquote reads a structured field's string: only \" and \\ are escapes.
func unquote(s string) (string, bool) {
	if len(s) < 2 || !strings.HasSuffix(s, `"`) {
		return "", false
	}
	var out strings.Builder
	for in := s[1 : len(s)-1]; in != ""; in = in[1:] {
		switch in[0] {
		case '"':
			return "", false
		case '\\':
			in = in[1:]
			if in == "" || in[0] != '"' && in[0] != '\\' {
				return "", false
			}
		}
		out.WriteByte(in[0])
	}
	return out.String(), true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// idempotencyKey reads the header, "" when there is none.
func idempotencyKey(c echo.Context, header *string) string {
	if header == nil {
		return ""
	}
	key, fault := parseIdempotencyKey(*header)
	if fault != "" {
		callOf(c).faults.param(headerIdempotencyKey, fault)
	}
	return key
}

// fingerprint tells one request from another that uses the same key: method,
// path, query, the headers that say what to do, body. How long its caller
// waits is no part of it.
func fingerprint(r *http.Request, body []byte) string {
	h := sha256.New()
	query := r.URL.Query()
	query.Del("wait")
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n", r.Method, r.URL.Path, query.Encode(), r.Header.Get(echo.HeaderContentType))
	var names []string
	for name := range r.Header {
		if strings.HasPrefix(name, optionPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(h, "%s: %q\n", name, r.Header[name])
	}
	h.Write([]byte{0})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}
