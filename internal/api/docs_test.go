package api_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// docsScriptSum is that of what scripts/docs-bundle wrote, unpacked.
const docsScriptSum = "a3cc0b0a0380a574fe6545b8b1a68f91e3cd3737bd26e118eb8871cf74f25819"

func TestDocsPage(t *testing.T) {
	t.Parallel()
	c := newClient(t, newWorld().server(t))
	page := c.send(t, "GET", "/docs", "", "Authorization: ", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
	page.wantStatus(t, 200)
	if !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Errorf("Content-Type %q", page.Header().Get("Content-Type"))
	}
	policy := page.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("Content-Security-Policy %q lacks %q", policy, want)
		}
	}
	html := page.Body.String()
	if strings.Contains(html, "//") || strings.Contains(policy, "http") || strings.Contains(policy, "script-src 'self' 'unsafe") {
		t.Errorf("the page or its policy names another host: %s %s", policy, html)
	}
	// Whatever it loads is served here, without a key.
	for _, m := range regexp.MustCompile(`(?:src|href|spec-url)="([^":]+)"`).FindAllStringSubmatch(html, -1) {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/"+m[1], nil))
		if w.Code != 200 || w.Body.Len() == 0 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d, %v", m[1], w.Code, w.Header())
		}
	}
}

func TestDocsScript(t *testing.T) {
	t.Parallel()
	h := newWorld().server(t).Handler()
	get := func(path, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	packed, plain := get("/docs/redoc.js", "br, gzip"), get("/docs/redoc.js", "identity")
	if packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Errorf("encodings %v, %v", packed.Header(), plain.Header())
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(text, plain.Body.Bytes()) {
		t.Errorf("the two encodings differ: %v", err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != docsScriptSum {
		t.Errorf("the bundle is %x: run scripts/docs-bundle, and look at what changed", sum)
	}
	if bytes.Contains(text, []byte("//cdn.")) {
		t.Error("the bundle loads from a foreign host")
	}
	if licence := get("/docs/redoc.LICENSE.txt", ""); !strings.Contains(licence.Body.String(), "MIT") {
		t.Errorf("the licences: %d %s", licence.Code, licence.Body)
	}
}
