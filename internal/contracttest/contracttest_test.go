package contracttest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/contracttest"
)

const (
	taskJSON = `{"id":"t","endpoint":"emails","state":"queued","attempts":0,"generation":1,"payload_size":2,
		"created_at":"2026-01-01T00:00:00Z","links":{"self":"/a","result":"/b","attempts":"/c"}}`
	problemJSON = `{"type":"urn:taskgate:problem:not_found","title":"Not found","status":404,"code":"not_found","instance":"r1"}`
)

// exchange is what a case changes one thing of.
type exchange struct {
	method, path, sent, kind string
	status                   int
	header                   []string
	body                     string
}

func TestBreachesAreTold(t *testing.T) {
	t.Parallel()
	get := exchange{"GET", "/v1/tasks/t", "", "application/json", 200, nil, taskJSON}
	submit := exchange{
		"POST", "/v1/tasks", `{"endpoint":"emails","payload":[1e400]}`, "application/json", 202,
		[]string{"Location", "/v1/tasks/t"},
		taskJSON,
	}
	missing := exchange{"GET", "/v1/tasks/t", "", "application/problem+json", 404, nil, problemJSON}
	cases := []struct {
		name   string
		base   exchange
		change func(*exchange)
		want   string // part of the breach; "": none
	}{
		{"an answer as declared", get, nil, ""},
		{"a submission as declared", submit, nil, ""},
		{"a problem as declared", missing, nil, ""},
		{"no path of ours", missing, func(x *exchange) { x.path = "/v2" }, ""},
		{"a name with a slash", missing, func(x *exchange) { x.path = "/v1/endpoints/a%2Fb" }, ""},
		{"answered where nothing is", get, func(x *exchange) { x.path = "/v2" }, "no operation"},
		{"undeclared status", get, func(x *exchange) { x.status = 206 }, "status: not declared"},
		{"undeclared status of a problem", missing, func(x *exchange) {
			x.status, x.body = 410, strings.Replace(problemJSON, "404", "410", 1)
		}, "status: not declared"},
		{"undeclared field", get, func(x *exchange) { x.body = strings.Replace(taskJSON, `{"id"`, `{"colour":1,"id"`, 1) }, `"colour"`},
		{"undeclared field within", get, func(x *exchange) { x.body = strings.Replace(taskJSON, `{"self"`, `{"colour":1,"self"`, 1) }, `/links`},
		{"wrong type", get, func(x *exchange) { x.body = strings.Replace(taskJSON, `"attempts":0`, `"attempts":"0"`, 1) }, "/attempts: "},
		{"not in the closed list", get, func(x *exchange) { x.body = strings.Replace(taskJSON, "queued", "lost", 1) }, "/state: "},
		{"missing field", get, func(x *exchange) { x.body = strings.Replace(taskJSON, `"generation":1,`, "", 1) }, `generation`},
		{"missing header", submit, func(x *exchange) { x.header = nil }, `"Location" missing`},
		{"undeclared header", get, func(x *exchange) { x.header = []string{"Taskgate-Colour", "red"} }, "header Taskgate-Colour: not declared"},
		{"wrong media type", get, func(x *exchange) { x.kind = "text/plain" }, `text/plain`},
		{"an error that is no problem", missing, func(x *exchange) { x.kind = "application/json" }, "an error answered as"},
		{"a code of no list", missing, func(x *exchange) { x.body = strings.ReplaceAll(problemJSON, "not_found", "gone") }, "/code: "},
		{"a problem about another request", missing, func(x *exchange) { x.body = strings.Replace(problemJSON, "r1", "r2", 1) }, "disagrees"},
		{"took an unknown field", submit, func(x *exchange) { x.sent = `{"endpoint":"emails","colour":1}` }, `request body`},
		{"took a wrong parameter", get, func(x *exchange) { x.path += "?wait=" + strings.Repeat("9", 40) }, `request parameter wait`},
	}
	for _, c := range cases {
		x := c.base
		x.header = slices.Clone(x.header)
		if c.change != nil {
			c.change(&x)
		}
		got := x.breach(t)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: told %q, want %q", c.name, got, c.want)
		}
	}
}

// breach makes the exchange over HTTP and returns what the transport reports.
func (x *exchange) breach(t *testing.T) string {
	t.Helper()
	checker, err := contracttest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) != x.sent {
			t.Errorf("the server got %q", b)
		}
		w.Header().Set("Content-Type", x.kind)
		w.Header().Set("X-Request-ID", "r1")
		for i := 0; i+1 < len(x.header); i += 2 {
			w.Header().Set(x.header[i], x.header[i+1])
		}
		w.WriteHeader(x.status)
		_, _ = io.WriteString(w, x.body)
	}))
	defer srv.Close()
	told := ""
	c := http.Client{Transport: checker.Transport(&http.Transport{DisableKeepAlives: true}, func(_ *http.Request, err error) { told += err.Error() })}
	req, err := http.NewRequestWithContext(t.Context(), x.method, srv.URL+x.path, strings.NewReader(x.sent))
	if err != nil {
		t.Fatal(err)
	}
	if x.sent != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != x.body {
		t.Errorf("the caller got %q", b)
	}
	return told
}

func BenchmarkCheck(b *testing.B) {
	checker, err := contracttest.Shared()
	if err != nil {
		b.Fatal(err)
	}
	sent := `{"endpoint":"emails","payload":{"n":1}}`
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/tasks", strings.NewReader(sent))
	r.Header.Set("Content-Type", "application/json")
	header := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"r1"}, "Location": {"/v1/tasks/t"}}
	b.ReportAllocs()
	for b.Loop() {
		x := &contracttest.Exchange{Request: r, Sent: []byte(sent), Status: 202, Header: header, Body: []byte(taskJSON)}
		if err := checker.Check(x); err != nil {
			b.Fatal(err)
		}
	}
}
