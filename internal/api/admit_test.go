package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// counted gives out what it has, by name.
type counted struct {
	mu    sync.Mutex
	left  map[string]int
	asked []string
}

func (c *counted) Take(_ context.Context, name string, _ task.Rate) admission.Pass {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, name)
	if c.left[name] == 0 {
		return admission.Pass{Wait: 2500 * time.Millisecond}
	}
	c.left[name]--
	return admission.Pass{OK: true, Left: c.left[name]}
}

func TestKeyRateIsHeld(t *testing.T) {
	w := newWorld()
	rates := &counted{left: map[string]int{"k:limited": 2}}
	who := auth.Principal{
		Project: project, Scopes: []auth.Scope{auth.ScopeTasks}, KeyID: "limited", Rate: task.Rate{PerSecond: 20, Burst: 40},
	}
	c := newClient(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Auth, d.Rates = as{who}, rates }))
	a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
	a.wantStatus(t, 202)
	a.wantHeader(t, "RateLimit-Policy", `"key";q=40;w=2`)
	a.wantHeader(t, "RateLimit", `"key";r=1;t=2`)
	// What is read counts, too; and what is not found.
	a = c.send(t, "GET", "/v1/tasks/"+a.task.Id, "")
	a.wantStatus(t, 200)
	a.wantHeader(t, "RateLimit", `"key";r=0;t=2`)

	accepted := len(w.submitted)
	a = c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
	a.want(t, 429, "rate_limited")
	a.wantHeader(t, "Retry-After", "3")
	a.wantHeader(t, "RateLimit-Policy", `"key";q=40;w=2`)
	a.wantHeader(t, "RateLimit", `"key";r=0;t=2`)
	if !strings.Contains(*a.problem.Detail, "20 requests a second") {
		t.Errorf("got %s", a.Body)
	}
	if len(w.submitted) != accepted {
		t.Error("accepted, and refused")
	}
	for _, name := range []string{"RateLimit-Policy", "RateLimit"} {
		if _, err := httpsfv.UnmarshalList(a.Header().Values(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (a *answer) wantHeader(t *testing.T, name, want string) {
	t.Helper()
	if got := a.Header().Get(name); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

// A project's rate counts what comes in, by whichever key; that of a key all
// that it asks.
func TestProjectRateIsHeld(t *testing.T) {
	w := newWorld()
	w.projects[project] = task.Project{Name: project, Quotas: task.Quotas{Rate: task.Rate{PerSecond: 1, Burst: 2}}}
	rates := &counted{left: map[string]int{"p:" + project: 3}}
	c := newClient(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Rates = rates }))
	first := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
	first.wantStatus(t, 202)
	first.wantHeader(t, "RateLimit-Policy", `"project";q=2;w=2`)
	c.send(t, "POST", "/v1/endpoints/emails/tasks", `raw`, "Content-Type: text/plain").wantStatus(t, 202)
	c.send(t, "GET", "/v1/tasks/"+first.task.Id, "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/tasks/"+first.task.Id+"/cancel", "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/tasks/"+first.task.Id+"/retry", "").wantStatus(t, 202)
	if n := len(rates.asked); n != 3 {
		t.Errorf("counted %d: %v", n, rates.asked)
	}
	for _, target := range []string{"/v1/tasks", "/v1/endpoints/emails/tasks", "/v1/tasks/" + first.task.Id + "/retry"} {
		body := ""
		if !strings.HasSuffix(target, "retry") {
			body = `{"endpoint":"emails"}`
		}
		c.send(t, "POST", target, body).want(t, 429, "rate_limited")
	}
	a := c.send(t, "GET", "/v1/tasks", "")
	a.wantStatus(t, 200)
	a.wantHeader(t, "RateLimit", "")
}

// stuck is an engine whose acceptances wait until they are let go.
type stuck struct {
	*world

	entered chan struct{}
	let     chan struct{}
}

func (s *stuck) Accept(ctx context.Context, sub lifecycle.Submission) (lifecycle.Receipt, error) {
	s.entered <- struct{}{}
	<-s.let
	return s.world.Accept(ctx, sub)
}

// byHeader says who calls by a header.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request, _ netip.Addr) (auth.Principal, error) {
	return auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeAdmin}, KeyID: r.Header.Get("X-Who")}, nil
}

// untouched is a body that must not be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body of a refused request is read")
	return 0, io.EOF
}

// TestOverload: what is above capacity is refused before its body is read, the
// caller that floods first; health is never refused.
func TestOverload(t *testing.T) {
	w := newWorld()
	engine := &stuck{world: w, entered: make(chan struct{}, 100), let: make(chan struct{})}
	srv := w.server(t, func(d *api.Deps, o *api.Options) {
		d.Engine, d.Auth, o.MaxInflight = engine, byHeader{}, 4
	})
	c := newClient(t, srv)
	var wg sync.WaitGroup
	defer wg.Wait()
	results := make(chan *answer, 100)
	submit := func(who string) {
		wg.Go(func() {
			results <- c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, "X-Who: "+who)
		})
	}
	release := sync.OnceFunc(func() { close(engine.let) })
	defer release()
	for range 4 {
		submit("flood")
		<-engine.entered
	}
	for range 4 {
		submit("flood")
	}
	waitFor(t, "four wait", func() bool { l := srv.Load(); return l.Working == 4 && l.Queued >= 1 })
	refused := make(chan *answer, 1)
	waitFor(t, "the flood is refused at once", func() bool {
		if srv.Load().Queued < 4 {
			submit("flood")
			return false
		}
		r := requestOf("POST", "/v1/tasks", "{", []string{"X-Who: flood"})
		r.Body, r.ContentLength = io.NopCloser(untouched{t}), 30
		a, err := c.exchange(r, "")
		if err != nil || a.Code != http.StatusServiceUnavailable {
			t.Fatalf("%v: %d %s", err, a.Code, a.Body)
		}
		refused <- a
		return true
	})
	a := <-refused
	if s, err := strconv.Atoi(a.Header().Get("Retry-After")); err != nil || s < 1 || s > 4 {
		t.Errorf("Retry-After %q", a.Header().Get("Retry-After"))
	}
	c.send(t, "GET", "/livez", "").wantStatus(t, 200)
	c.send(t, "GET", "/readyz", "").wantStatus(t, 200)
	release()
	wg.Wait()
	close(results)
	for a := range results {
		if a.Code != http.StatusAccepted && a.problem.Code != "overloaded" {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	if l := srv.Load(); l.Working != 0 || l.Queued != 0 || l.BodyBytes != 0 || l.Polls != 0 {
		t.Errorf("left behind: %+v", l)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestTooManyPolls: who would wait is refused, or answered at once when the
// task was accepted; who does not wait is served.
func TestTooManyPolls(t *testing.T) {
	w := newWorld()
	srv := w.server(t, func(_ *api.Deps, o *api.Options) { o.MaxPolls = 2 })
	c := newClient(t, srv)
	id := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`).task.Id
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(w.ends)
	for i := range 2 {
		wg.Go(func() { c.send(t, "GET", "/v1/tasks/"+id+"?wait=60s", "").wantStatus(t, 200) })
		waitFor(t, fmt.Sprintf("%d polls wait", i+1), func() bool { return srv.Load().Polls == int64(i+1) })
	}
	a := c.send(t, "GET", "/v1/tasks/"+id+"?wait=1s", "")
	a.want(t, 503, "overloaded")
	if !strings.Contains(*a.problem.Detail, "long-polls") || a.Header().Get("Retry-After") == "" {
		t.Errorf("got %s", a.Body)
	}
	c.send(t, "GET", "/v1/tasks/"+id+"/result?wait=1s", "").want(t, 503, "overloaded")
	c.send(t, "GET", "/v1/tasks/"+id, "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/tasks?wait=30s", `{"endpoint":"emails"}`).wantStatus(t, 202)
	if l := srv.Load(); l.Working != 0 {
		t.Errorf("polls hold %d places", l.Working)
	}
}

// TestBodiesAreBounded: a caller whose bodies come slowly does not make others
// wait, nor the server hold more than it may.
func TestBodiesAreBounded(t *testing.T) {
	w := newWorld()
	srv := w.server(t, func(d *api.Deps, o *api.Options) {
		d.Auth, o.MaxPayload, o.MaxBodies, o.MaxInflight = byHeader{}, 1<<20, 1, 4
	})
	c := newClient(t, srv)
	var wg sync.WaitGroup
	defer wg.Wait()
	body, feed := io.Pipe()
	defer feed.Close()
	for i := range 3 {
		wg.Go(func() {
			r := requestOf("POST", "/v1/endpoints/emails/tasks", "", []string{"X-Who: slow", "Content-Type: text/plain"})
			r.Body, r.ContentLength = body, 1<<20
			_, _ = c.exchange(r, "")
		})
		waitFor(t, "a body is held", func() bool { return srv.Load().BodyBytes == int64(i+1)<<20 })
	}
	if l := srv.Load(); l.Working != 0 {
		t.Errorf("bodies on their way hold %d places", l.Working)
	}
	big := strings.Repeat("x", 1<<20)
	a := c.send(t, "POST", "/v1/endpoints/emails/tasks", big, "X-Who: slow", "Content-Type: text/plain")
	a.want(t, 503, "overloaded")
	c.send(t, "POST", "/v1/endpoints/emails/tasks", big, "X-Who: other", "Content-Type: text/plain").wantStatus(t, 202)
}
