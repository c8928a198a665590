package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/taskgate/taskgate"
	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
)

// client calls a handler and holds every answer against the contract, with
// the library's own router and validator.
type client struct {
	handler http.Handler
	doc     *openapi3.T
	router  routers.Router
}

func newClient(t *testing.T, s *api.Server) *client {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(taskgate.Contract)
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &client{handler: s.Handler(), doc: doc, router: router}
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
	return c.do(t, r)
}

func (c *client) do(t *testing.T, r *http.Request) *answer {
	t.Helper()
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	a := &answer{ResponseRecorder: w}
	switch {
	case w.Code >= 400 && strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json"):
		decode(t, w.Body.Bytes(), &a.problem)
		c.checkProblem(t, a)
	case strings.Contains(r.URL.Path, "/tasks") && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json"):
		_ = json.Unmarshal(w.Body.Bytes(), &a.task)
	}
	c.conforms(t, r, w)
	return a
}

// conforms validates the answer against the contract.
func (c *client) conforms(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return // no operation: the problem itself was checked
	}
	raw := route.Operation.OperationID == "getTaskResult" && w.Code == http.StatusOK ||
		route.Operation.OperationID == "getContractYaml"
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.Code, Header: w.Header(),
		Body:    noClose{bytes.NewReader(w.Body.Bytes())},
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: raw, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s %s: the answer breaks the contract: %v\n%s", r.Method, r.URL, err, w.Body)
	}
}

type noClose struct{ *bytes.Reader }

func (noClose) Close() error { return nil }

// checkProblem holds what every problem promises.
func (c *client) checkProblem(t *testing.T, a *answer) {
	t.Helper()
	var v any
	decode(t, a.Body.Bytes(), &v)
	if err := c.doc.Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		t.Errorf("not a problem: %v", err)
	}
	p := a.problem
	if p.Status != a.Code || p.Instance != a.Header().Get("X-Request-ID") || p.Instance == "" ||
		p.Type != "urn:taskgate:problem:"+string(p.Code) {
		t.Errorf("inconsistent problem: %s", a.Body)
	}
	// Words of Go, its libraries and our insides.
	for _, word := range []string{
		"json:", "strconv", "cannot unmarshal", "Schema:", "invalid character", "schema.", "goroutine", "dial tcp", "10.0.0.7", "doesn't match",
	} {
		if strings.Contains(a.Body.String(), word) {
			t.Errorf("the problem says %q: %s", word, a.Body)
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
