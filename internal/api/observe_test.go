package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/task"
)

type line map[string]any

// lines decodes a log in JSON.
func lines(t *testing.T, log string) []line {
	t.Helper()
	var out []line
	for text := range strings.SplitSeq(strings.TrimSpace(log), "\n") {
		if text == "" {
			continue
		}
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		out = append(out, l)
	}
	return out
}

func logTo(w *world, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(&lockedWriter{w: w}, &slog.HandlerOptions{Level: level}))
}

func TestAccessLog(t *testing.T) {
	for name, c := range map[string]struct {
		wanted bool
		level  slog.Level
		lines  int
	}{
		"asked for":         {true, slog.LevelInfo, 3},
		"asked for, quiet":  {true, slog.LevelWarn, 0},
		"not asked for":     {false, slog.LevelInfo, 0},
		"debug":             {false, slog.LevelDebug, 4},
		"asked for, health": {true, slog.LevelDebug, 4},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			client := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) {
				o.Logger, o.Audit, o.AccessLog = logTo(w, c.level), slog.New(slog.DiscardHandler), c.wanted
			}))
			first := client.send(t, "GET", "/v1/endpoints/emails?x=QUERY-SECRET", "", "X-Some: HEADER-SECRET")
			client.send(t, "GET", "/v1/tasks?limit=bad", "")
			client.send(t, "GET", "/nowhere/PATH-SECRET", "", "Authorization: Bearer KEY-SECRET")
			client.send(t, "GET", "/livez", "", "Authorization: ")
			got := lines(t, w.logged.String())
			if len(got) != c.lines {
				t.Fatalf("%d lines, want %d: %s", len(got), c.lines, w.logged.String())
			}
			if strings.Contains(w.logged.String(), "SECRET") {
				t.Errorf("a secret is in %s", w.logged.String())
			}
			if len(got) == 0 {
				return
			}
			want := line{
				"msg": "request", "method": "GET", "route": "/v1/endpoints/{name}", "status": 400.0, "key": "admin",
				"project": project, "peer": "192.0.2.1", "request": first.Header().Get("X-Request-ID"), "bytes": float64(first.Body.Len()),
			}
			for field, v := range want {
				if got[0][field] != v {
					t.Errorf("%s: %v, want %v", field, got[0][field], v)
				}
			}
			if got[2]["route"] != "" || got[2]["status"] != 404.0 {
				t.Errorf("no such route: %v", got[2])
			}
		})
	}
}

func TestAuditLog(t *testing.T) {
	w := newWorld()
	s := w.server(t, func(_ *api.Deps, o *api.Options) {
		o.Logger, o.Audit = slog.New(slog.DiscardHandler), logTo(w, slog.LevelInfo)
	})
	c := newClient(t, s)
	c.send(t, "PUT", "/v1/endpoints/orders", `{"url": "https://app.example.com/URL-SECRET?URL-SECRET", "headers": {"X-A": "HEADER-SECRET"}}`)
	c.send(t, "POST", "/v1/endpoints/nobody/pause", "")
	c.send(t, "PUT", "/v1/endpoints/"+strings.Repeat("x", 500), `{`)
	c.send(t, "DELETE", "/v1/endpoints/orders", "", "Authorization: Bearer unknown")
	c.send(t, "GET", "/v1/endpoints/orders", "")
	c.send(t, "POST", "/v1/tasks", `{"endpoint": "emails", "payload": 1}`)
	c.send(t, "DELETE", "/v1/endpoints/orders", "")
	c.send(t, "POST", "/v1/tasks/cancel", `{"all": true, "dry_run": true}`)
	c.send(t, "POST", "/v1/tasks/cancel", `{"all": true}`)
	var got []string
	for _, l := range lines(t, w.logged.String()) {
		if l["audit"] != true || l["key"] != "admin" || l["project"] != project || l["peer"] != "192.0.2.1" || l["request"] == "" {
			t.Errorf("incomplete: %v", l)
		}
		got = append(got, strings.Join([]string{l["operation"].(string), l["target"].(string), l["outcome"].(string)}, " "))
	}
	want := []string{
		"putEndpoint orders done", "pauseEndpoint nobody not_found",
		"putEndpoint " + strings.Repeat("x", 200) + " malformed", "deleteEndpoint orders done",
		"cancelTasks dry run done", "cancelTasks " + w.jobs[0].ID + " done",
	}
	if !slices.Equal(got, want) {
		t.Errorf("audited %q, want %q", got, want)
	}
	if strings.Contains(w.logged.String(), "SECRET") {
		t.Errorf("a secret is in %s", w.logged.String())
	}
}

type spy struct {
	begun []string
	ended []api.Access
	ctx   []any
}

type spyKey struct{}

func (s *spy) Begin(r *http.Request, id, route string) context.Context {
	s.begun = append(s.begun, route)
	return context.WithValue(r.Context(), spyKey{}, id)
}

func (s *spy) End(ctx context.Context, a *api.Access) {
	s.ended = append(s.ended, *a)
	s.ctx = append(s.ctx, ctx.Value(spyKey{}))
}

// seesContext notes what the engine's context carries.
type seesContext struct {
	*world
	saw any
}

func (e *seesContext) Find(ctx context.Context, project string, id task.ID) (*task.Snapshot, error) {
	e.saw = ctx.Value(spyKey{})
	return e.world.Find(ctx, project, id)
}

func TestObserver(t *testing.T) {
	w := newWorld()
	var told spy
	engine := &seesContext{world: w}
	c := newClient(t, w.server(t, func(d *api.Deps, o *api.Options) { d.Engine, o.Observer = engine, &told }))
	a := c.send(t, "GET", "/v1/tasks/01kad2t5m6f0q9v3zj8y4w7xhc7", "")
	id := a.Header().Get("X-Request-ID")
	if engine.saw != id || told.ctx[0] != id {
		t.Errorf("the context carried %v below and %v at the end, want %s", engine.saw, told.ctx[0], id)
	}
	got := told.ended[0]
	if got.Took <= 0 || told.begun[0] != "/v1/tasks/{id}" {
		t.Errorf("began %q, ended %+v", told.begun, got)
	}
	got.Took = 0
	want := api.Access{
		ID: id, Method: "GET", Route: "/v1/tasks/{id}", Operation: "getTask", Status: 404, Code: task.CodeNotFound,
		Bytes: int64(a.Body.Len()), Key: "admin", Project: project, Peer: "192.0.2.1",
	}
	if got != want {
		t.Errorf("told of %+v, want %+v", got, want)
	}
	c.send(t, "BREW", "/coffee", "")
	if got := told.ended[1]; got.Route != "" || got.Operation != "" || got.Method != "BREW" {
		t.Errorf("told of %+v", got)
	}
}

// A caller that has left is no success.
func TestObserverCallerLeft(t *testing.T) {
	w := newWorld()
	var told spy
	s := w.server(t, func(_ *api.Deps, o *api.Options) { o.Observer = &told })
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/tasks/"+string(w.put(task.Running, nil).ID)+"?wait=60s", nil)
	r.Header.Set("Authorization", "Bearer "+adminKey)
	w2 := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				t.Errorf("it ended with %v", v)
			}
		}()
		s.Handler().ServeHTTP(w2, r)
	}()
	if w2.Body.Len() > 0 {
		t.Errorf("answered %s", w2.Body)
	}
	if len(told.ended) != 1 || told.ended[0].Status != 499 {
		t.Errorf("told of %+v", told.ended)
	}
}
