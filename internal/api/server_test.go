package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHealth(t *testing.T) {
	w := newWorld()
	s := w.server(t)
	c := newClient(t, s)
	get := func(target string) *answer { return c.send(t, "GET", target, "", "Authorization: ") }
	body := func(a *answer) string { return strings.TrimSpace(a.Body.String()) }

	get("/livez").wantStatus(t, 200)
	if a := get("/readyz"); a.Code != 200 || body(a) != `{"status":"ok"}` {
		t.Errorf("got %d %s", a.Code, a.Body)
	}
	w.fail["store"] = errDown
	const verbose = `{"checks":[{"name":"store","status":"unavailable"},{"name":"broker","status":"ok"},{"name":"registry","status":"ok"}],"status":"unavailable"}`
	for _, query := range []string{"?verbose", "?verbose=", "?verbose=true", "?verbose=1"} {
		if a := get("/readyz" + query); a.Code != 503 || body(a) != verbose {
			t.Errorf("%s: got %d %s", query, a.Code, a.Body)
		}
	}
	if a := get("/readyz?verbose=false"); body(a) != `{"status":"unavailable"}` {
		t.Errorf("got %s", a.Body)
	}
	get("/readyz?verbose=maybe").want(t, 400, "invalid_parameter", "verbose")
	delete(w.fail, "store")
	w.fail["registry"] = errDown
	const degraded = `{"checks":[{"name":"store","status":"ok"},{"name":"broker","status":"ok"},{"name":"registry","status":"unavailable"}],"status":"degraded"}`
	if a := get("/readyz?verbose"); a.Code != 200 || body(a) != degraded {
		t.Errorf("got %d %s", a.Code, a.Body)
	}
	delete(w.fail, "registry")
	s.Drain()
	get("/readyz").wantStatus(t, 503)
	get("/livez").wantStatus(t, 200)
}

func TestContractServed(t *testing.T) {
	c := newClient(t, newWorld().server(t))
	a := c.send(t, "GET", "/openapi.yaml", "", "Authorization: ")
	if a.Code != 200 || !strings.HasPrefix(a.Body.String(), "openapi: 3.0.3") || a.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("got %d %v", a.Code, a.Header())
	}
	a = c.send(t, "GET", "/openapi.json", "", "Authorization: ")
	var v struct{ Openapi string }
	decode(t, a.Body.Bytes(), &v)
	if v.Openapi != "3.0.3" {
		t.Errorf("got %+v", v)
	}
	c.send(t, "GET", "/openapi.json", "", "Accept: text/html").want(t, 406, "not_acceptable")
}

type panics struct{ *world }

func (panics) Find(context.Context, string, task.ID) (*task.Snapshot, error) { panic("at the disco") }

func TestPanic(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Engine = panics{w} }))
	a := c.send(t, "GET", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7", "")
	a.want(t, 500, "internal")
	if log := w.logged.String(); !strings.Contains(log, "at the disco") || !strings.Contains(log, a.problem.Instance) {
		t.Errorf("the log does not tell: %s", log)
	}
	if strings.Contains(a.Body.String(), "disco") {
		t.Errorf("the caller is told: %s", a.Body)
	}
}

// What is no path of the contract is none, whoever asks.
func TestStrayPaths(t *testing.T) {
	c := newClient(t, newWorld().server(t))
	for _, path := range []string{"/v1/endpoints/a/b", "/v1/endpoints//emails", "/v1/endpoints//resume", "/v1/tasks//", "/v1/keys/x/", "/v1/keys/"} {
		for _, key := range []string{"Authorization: Bearer " + adminKey, "Authorization: Bearer nobody", "Authorization: "} {
			method := "GET"
			if strings.HasSuffix(path, "resume") {
				method = "POST"
			}
			c.send(t, method, path, "", key).want(t, 404, "not_found")
		}
	}
}

func TestScopes(t *testing.T) {
	w := newWorld()
	c := w.client(t, auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeTasksRead}})
	c.send(t, "GET", "/v1/tasks", "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`).want(t, 403, "forbidden")
	c.send(t, "GET", "/v1/endpoints", "").want(t, 403, "forbidden")
	c.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://a.example"}`).want(t, 403, "forbidden")
}

// listen serves s as it is served in production.
func listen(t *testing.T, s *api.Server) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = s.HTTPServer()
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func dial(t *testing.T, srv *httptest.Server, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func post(path string, length int, rest string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, adminKey, length, rest)
}

func TestSlowBody(t *testing.T) {
	s := newWorld().server(t, func(_ *api.Deps, o *api.Options) { o.BodyTimeout = 50 * time.Millisecond })
	_, r := dial(t, listen(t, s), post("/v1/tasks", 100, `{"endpoint":`))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %d", res.StatusCode)
	}
}

func TestHugeBodyIsNotRead(t *testing.T) {
	_, r := dial(t, listen(t, newWorld().server(t)), post("/v1/tasks", 1<<40, `{`))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d", res.StatusCode)
	}
}

// The body's deadline and the server's write timeout end long before the wait.
func TestWaitOutlastsDeadlines(t *testing.T) {
	w := newWorld()
	s := w.server(t, func(_ *api.Deps, o *api.Options) {
		o.BodyTimeout, o.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	})
	body := `{"endpoint":"emails"}`
	_, r := dial(t, listen(t, s), post("/v1/tasks?wait=1500ms", len(body), body))
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Errorf("got %d", res.StatusCode)
	}
}

type waiter struct{ ended chan error }

func (w waiter) Wait(ctx context.Context, _ task.ID, _ time.Time) (*task.Snapshot, error) {
	<-ctx.Done()
	w.ended <- ctx.Err()
	return nil, ctx.Err()
}

func TestWaiterWhoLeaves(t *testing.T) {
	w := newWorld()
	ended := make(chan error, 1)
	stored := w.put(task.Running, nil)
	srv := listen(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Waiter = waiter{ended} }))
	conn, _ := dial(t, srv, fmt.Sprintf("GET /v1/tasks/%s?wait=50s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", stored.ID, adminKey))
	w.waitFor(t, "find")
	conn.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
