package contracttest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Transport sends by next and tells report of every exchange that breaks the
// contract. Answers are read whole before they are returned; streams of
// events pass as they are.
func (c *Checker) Transport(next http.RoundTripper, report func(*http.Request, error)) http.RoundTripper {
	return &transport{checker: c, next: next, report: report}
}

type transport struct {
	checker *Checker
	next    http.RoundTripper
	report  func(*http.Request, error)
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	sent, err := buffer(r)
	if err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if err := t.checker.Check(&Exchange{Request: r, Sent: sent, Status: resp.StatusCode, Header: resp.Header, Body: body}); err != nil {
		t.report(r, err)
	}
	return resp, nil
}

// buffer reads the request's body and puts a copy back.
func buffer(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	sent, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	return sent, nil
}
