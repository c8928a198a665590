package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/taskgate/taskgate/client"
)

func TestProblemOf(t *testing.T) {
	t.Parallel()
	const problem = `{"type":"urn:taskgate:problem:not_found","title":"Not found","status":404,"code":"not_found","instance":"r1"}`
	for _, c := range []struct {
		name, kind, body string
		status           int
		want             client.ProblemCode
	}{
		{"a problem", "application/problem+json", problem, 404, client.ProblemCodeNotFound},
		{"with a parameter", "application/problem+json; charset=utf-8", problem, 404, client.ProblemCodeNotFound},
		{"a gateway in between", "text/html", "<h1>Bad gateway</h1>", 502, ""},
		{"no code", "application/problem+json", "{}", 500, ""},
		{"broken", "application/problem+json", "{", 500, ""},
		{"an undeclared status", "application/problem+json", problem, 410, client.ProblemCodeNotFound},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer tg_key" {
				t.Errorf("Authorization %q", got)
			}
			w.Header().Set("Content-Type", c.kind)
			w.Header().Set("X-Request-ID", "r1")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		api, err := client.NewClientWithResponses(srv.URL, client.WithKey("tg_key"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := api.GetTaskWithResponse(t.Context(), "t", nil)
		srv.Close()
		if err != nil { // a declared problem that is no JSON
			if c.name != "broken" {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		p := client.ProblemOf(r)
		if (p == nil) != (c.want == "") || p != nil && p.Code != c.want {
			t.Errorf("%s: got %+v", c.name, p)
		}
	}
}
