package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/contracttest"
)

// client calls a handler and holds every exchange against the contract.
type client struct {
	handler http.Handler
	checker *contracttest.Checker
}

func newClient(tb testing.TB, s *api.Server) *client {
	tb.Helper()
	checker, err := contracttest.Shared()
	if err != nil {
		tb.Fatal(err)
	}
	return &client{handler: s.Handler(), checker: checker}
}

// answer is a response, with what it means as JSON.
type answer struct {
	*httptest.ResponseRecorder
	problem gen.Problem
	task    gen.Task
}

func (a *answer) pointers() []string {
	out := []string{}
	for _, f := range a.problem.Errors {
		out = append(out, f.Pointer)
	}
	return out
}

// send sends a request with the admin key. headers are "Name: value"; a body
// that begins with "{" is JSON unless a header says otherwise.
func (c *client) send(t *testing.T, method, target, body string, headers ...string) *answer {
	t.Helper()
	return c.do(t, requestOf(method, target, body, headers), body)
}

func requestOf(method, target, body string, headers []string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	clean := map[string]bool{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if !clean[name] {
			clean[name] = true
			r.Header.Del(name)
		}
		if value != "" {
			r.Header.Add(name, value)
		}
	}
	return r
}

func (c *client) do(t *testing.T, r *http.Request, sent string) *answer {
	t.Helper()
	a, err := c.exchange(r, sent)
	if err != nil {
		t.Errorf("%v\n%s", err, a.Body)
	}
	if a.Code >= http.StatusBadRequest {
		checkWords(t, a.Body.String())
	}
	return a
}

// exchange tells what is wrong with the answer.
func (c *client) exchange(r *http.Request, sent string) (*answer, error) {
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	a := &answer{ResponseRecorder: w}
	switch kind := w.Header().Get("Content-Type"); {
	case w.Code >= 400 && strings.HasPrefix(kind, "application/problem+json"):
		if err := json.Unmarshal(w.Body.Bytes(), &a.problem); err != nil {
			return a, err
		}
	case strings.Contains(r.URL.Path, "/tasks") && strings.HasPrefix(kind, "application/json"):
		_ = json.Unmarshal(w.Body.Bytes(), &a.task)
	}
	x := &contracttest.Exchange{Request: r, Sent: []byte(sent), Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
	return a, c.checker.Check(x)
}

// checkWords: no words of Go, its libraries and our insides.
func checkWords(t *testing.T, problem string) {
	t.Helper()
	for _, word := range []string{
		"json:", "strconv", "cannot unmarshal", "Schema:", "invalid character", "schema.", "goroutine", "dial tcp", "10.0.0.7", "doesn't match",
	} {
		if strings.Contains(problem, word) {
			t.Errorf("the problem says %q: %s", word, problem)
		}
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

// want fails unless the answer is the problem.
func (a *answer) want(t *testing.T, status int, code string, pointers ...string) {
	t.Helper()
	if a.Code != status || string(a.problem.Code) != code {
		t.Errorf("got %d %s, want %d %s: %s", a.Code, a.problem.Code, status, code, a.Body)
	}
	if got := a.pointers(); len(pointers)+len(got) > 0 && !slices.Equal(got, pointers) {
		t.Errorf("got faults at %q, want %q: %s", got, pointers, a.Body)
	}
}

func (a *answer) wantStatus(t *testing.T, status int) {
	t.Helper()
	if a.Code != status {
		t.Fatalf("got %d, want %d: %s", a.Code, status, a.Body)
	}
}
