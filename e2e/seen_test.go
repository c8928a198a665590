package e2e_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
)

// with gives an installation more settings.
func with(env ...string) func(*testing.T) []string {
	return func(*testing.T) []string { return env }
}

// lasting registers an endpoint that nobody removes: the installation ends
// with the case, or before.
func (in *installation) lasting(t *testing.T, url string) string {
	t.Helper()
	name := "e" + randomHex(6)
	in.want(t, http.StatusCreated, "PUT", "/v1/endpoints/"+name,
		obj{"url": url, "timeout": "5s", "retry": obj{"min_backoff": "200ms", "max_backoff": "1s", "jitter": 0}})
	return name
}

// lines are those of all logs so far.
func (in *installation) lines() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.log)
}

// get asks a process's admin address.
func (p *process) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := plain.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, p.admin+path, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, string(must(io.ReadAll(resp.Body)))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
