package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/apitest"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	readerKey  = "tg_test_reader_0123456789"
	foreignKey = "tg_test_foreign_0123456789"

	mergePatch = "Content-Type: application/merge-patch+json"
)

// callers knows the three callers of the table.
type callers struct{}

func (callers) Authenticate(r *http.Request, _ netip.Addr) (auth.Principal, error) {
	switch r.Header.Get("Authorization") {
	case "Bearer " + adminKey:
		return auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeAdmin}, KeyID: "admin"}, nil
	case "Bearer " + readerKey:
		return auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeTasksRead}, KeyID: "reader"}, nil
	case "Bearer " + foreignKey:
		return auth.Principal{Project: "other", Scopes: []auth.Scope{auth.ScopeTasks, auth.ScopeEndpoints}, KeyID: "foreign"}, nil
	}
	return auth.Principal{}, task.Errorf(auth.CodeUnauthenticated, "send a key as Authorization: Bearer <key>")
}

// state is everything that a request could change.
func (w *world) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tasks []task.Snapshot
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		tasks = append(tasks, w.tasks[id].Snapshot)
	}
	return fmt.Sprintf("%d submissions, tasks %v, endpoints %v, projects %v, keys %v, jobs %v",
		len(w.submitted), tasks, w.endpoints, w.projects, w.apiKeys, w.jobs)
}

// TestRefusals sends the whole table over TCP.
func TestRefusals(t *testing.T) {
	w := newWorld()
	s := w.server(t, func(d *api.Deps, o *api.Options) {
		d.Auth = callers{}
		o.BodyTimeout = 300 * time.Millisecond
	})
	env := apitest.Env{Key: adminKey, ReaderKey: readerKey, ForeignKey: foreignKey, SlowBodies: true}
	env.Task = string(w.put(task.Cancelled, nil).ID)
	foreign := w.put(task.Queued, nil)
	foreign.Project, foreign.Endpoint = "other", "theirs"
	env.ForeignTask, env.ForeignJob = string(foreign.ID), "01kad2t5m6f0q9v3zj8y4w7xhc"
	w.jobs = append(w.jobs, bulk.Job{ID: env.ForeignJob, Request: bulk.Request{Project: "other"}, State: bulk.Running})
	apitest.Run(t, listen(t, s).Listener.Addr().String(), env, w.state)
}

func TestRefusalHeaders(t *testing.T) {
	c := newClient(t, newWorld().server(t))
	for _, r := range []struct{ method, target, body, header, name, want string }{
		{"GET", "/v1/tasks", "", "Authorization: ", "WWW-Authenticate", `Bearer realm="taskgate"`},
		{"POST", "/v1/tasks", "x", "Content-Type: text/plain", "Accept", "application/json"},
		{"DELETE", "/v1/tasks", "", "X: y", "Allow", "OPTIONS, GET, POST"},
		{"GET", "/v1/tasks", "", "X: y", "Cache-Control", "no-store"},
		{"GET", "/v1/tasks", "", "X: y", "Server", ""},
	} {
		if got := c.send(t, r.method, r.target, r.body, r.header).Header().Get(r.name); got != r.want {
			t.Errorf("%s %s: %s is %q, want %q", r.method, r.target, r.name, got, r.want)
		}
	}
}
