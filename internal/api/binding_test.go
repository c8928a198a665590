package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/task"
)

func boundTo(endpoints ...string) auth.Principal {
	return auth.Principal{
		Project: project, KeyID: "k1", Endpoints: endpoints,
		Scopes: []auth.Scope{auth.ScopeTasks, auth.ScopeEndpoints, auth.ScopeKeys},
	}
}

// TestBoundKeySubmits: a task, raw or not, and its callback, for what the key
// is bound to only.
func TestBoundKeySubmits(t *testing.T) {
	w := newWorld()
	for _, name := range []string{"mail-a", "mail-b", "audit"} {
		w.endpoints[name] = someEndpoint(name)
	}
	c := w.client(t, boundTo("mail-*"))
	c.send(t, "POST", "/v1/tasks", `{"endpoint":"mail-a","callback":{"endpoint":"mail-b"}}`).wantStatus(t, 202)
	c.send(t, "POST", "/v1/endpoints/mail-b/tasks", "x").wantStatus(t, 202)
	c.send(t, "POST", "/v1/endpoints/mail%2Db/tasks", "x").wantStatus(t, 202)
	accepted := len(w.submitted)
	for _, name := range []string{"audit", "nobodys"} {
		c.send(t, "POST", "/v1/tasks", `{"endpoint":"`+name+`"}`).want(t, 422, "invalid", "/endpoint")
		c.send(t, "POST", "/v1/tasks", `{"endpoint":"mail-a","callback":{"endpoint":"`+name+`"}}`).want(t, 422, "invalid", "/callback/endpoint")
		c.send(t, "POST", "/v1/endpoints/mail-a/tasks?callback_endpoint="+name, "x").want(t, 400, "invalid_parameter", "callback_endpoint")
		c.send(t, "POST", "/v1/endpoints/"+name+"/tasks", "x").want(t, 404, "not_found")
	}
	if len(w.submitted) != accepted {
		t.Error("a task was accepted for an endpoint that the key is not bound to")
	}
}

// TestBoundKeyLists: lists have what the key is bound to, page by page.
func TestBoundKeyLists(t *testing.T) {
	w := newWorld()
	for i := range 9 {
		name := fmt.Sprintf("%s-%d", []string{"mail", "audit", "zoo"}[i%3], i)
		w.endpoints[name] = someEndpoint(name)
	}
	c := w.client(t, boundTo("mail-*", "zoo-2"))
	var names []string
	for target := "/v1/endpoints?limit=2"; target != ""; {
		var page gen.EndpointList
		decode(t, c.send(t, "GET", target, "").Body.Bytes(), &page)
		for _, ep := range page.Data {
			names = append(names, ep.Name)
		}
		if target = ""; page.NextCursor != nil {
			target = "/v1/endpoints?limit=2&cursor=" + *page.NextCursor
		}
	}
	if want := []string{"mail-0", "mail-3", "mail-6", "zoo-2"}; !slices.Equal(names, want) {
		t.Errorf("endpoints %v", names)
	}

	c.send(t, "GET", "/v1/tasks?endpoint=audit-1", "").wantStatus(t, 200)
	if got := w.lastQuery; !slices.Equal(got.Within, []string{"mail-*", "zoo-2"}) || got.Endpoint != "audit-1" {
		t.Errorf("asked the store for %+v", got)
	}

	for _, bound := range [][]string{nil, {"mail-1"}, {"mail-1", "zoo-3"}, {"mail-*"}} {
		id := fmt.Sprintf("id%d", len(w.apiKeys))
		w.apiKeys[id] = task.APIKey{ID: id, Project: project, Scopes: []auth.Scope{auth.ScopeTasksRead}, Endpoints: bound}
	}
	var keys gen.KeyList
	decode(t, c.send(t, "GET", "/v1/keys", "").Body.Bytes(), &keys)
	if len(keys.Data) != 2 || keys.Data[0].Id != "id1" || keys.Data[1].Id != "id3" {
		t.Errorf("keys %+v", keys.Data)
	}
	for id, status := range map[string]int{"id0": 404, "id1": 204, "id2": 404, "id3": 204} {
		if got := c.send(t, "GET", "/v1/keys/"+id, ""); (got.Code == http.StatusOK) != (status == 204) {
			t.Errorf("%s is shown: %d", id, got.Code)
		}
		c.send(t, "DELETE", "/v1/keys/"+id, "").wantStatus(t, status)
	}
}

// TestBoundKeyChanges: bulk changes are limited to what the key is bound to,
// and jobs are known by that.
func TestBoundKeyChanges(t *testing.T) {
	w := newWorld()
	c, whole := w.client(t, boundTo("mail-a")), w.client(t, boundTo())
	c.send(t, "POST", "/v1/tasks/cancel", `{"all":true}`).wantStatus(t, 202)
	c.send(t, "POST", "/v1/tasks/retry", `{"filter":{"endpoint":"audit"}}`).wantStatus(t, 202)
	for _, job := range w.jobs {
		if !slices.Equal(job.Filter.Within, []string{"mail-a"}) {
			t.Errorf("a job for %+v", job.Filter)
		}
	}
	for _, body := range []string{`{"all":true}`, `{"filter":{"endpoint":"audit"}}`, `{"filter":{"endpoint":"mail-a"}}`} {
		whole.send(t, "POST", "/v1/tasks/cancel", body).wantStatus(t, 202)
	}
	// The newest first: for mail-a by anybody, then its own two.
	visible := []bulk.Job{w.jobs[4], w.jobs[1], w.jobs[0]}
	var list []string
	for target := "/v1/jobs?limit=1"; target != ""; {
		var page gen.JobList
		decode(t, c.send(t, "GET", target, "").Body.Bytes(), &page)
		for _, job := range page.Data {
			list = append(list, job.Id)
		}
		if target = ""; page.NextCursor != nil {
			target = "/v1/jobs?limit=1&cursor=" + *page.NextCursor
		}
	}
	if len(list) != 3 || list[0] != visible[0].ID || list[1] != visible[1].ID || list[2] != visible[2].ID {
		t.Errorf("jobs %v", list)
	}
	for _, job := range w.jobs {
		want := 404
		if slices.Contains(list, job.ID) {
			want = 200
		}
		c.send(t, "GET", "/v1/jobs/"+job.ID, "").wantStatus(t, want)
		c.send(t, "POST", "/v1/jobs/"+job.ID+"/cancel", "").wantStatus(t, want)
	}
	c.send(t, "POST", "/v1/callback-secret/rotate", "{}").want(t, 403, "forbidden")
}

// TestBoundKeyMakesKeys: nobody gives away what they do not have.
func TestBoundKeyMakesKeys(t *testing.T) {
	w := newWorld()
	who := boundTo("mail-*", "audit")
	for _, text := range []string{"192.0.2.0/24", "2001:db8::/32"} {
		p, _ := task.ParseAddress(text)
		who.Addresses = append(who.Addresses, p)
	}
	c := w.client(t, who)
	made := func(rest string) gen.Key {
		a := c.send(t, "POST", "/v1/keys", `{"name":"x","scopes":["tasks:read"]`+rest+`}`)
		a.wantStatus(t, 201)
		return keyOf(t, a)
	}
	like := func(k gen.Key, endpoints, addresses string) {
		t.Helper()
		if strings.Join(k.Endpoints, " ") != endpoints || strings.Join(k.Addresses, " ") != addresses {
			t.Errorf("bound to %v and %v", k.Endpoints, k.Addresses)
		}
		if kept := w.apiKeys[k.Id]; strings.Join(kept.Endpoints, " ") != endpoints || len(kept.Addresses) != len(k.Addresses) {
			t.Errorf("kept %+v", kept)
		}
	}
	like(made(""), "mail-* audit", "192.0.2.0/24 2001:db8::/32")
	like(made(`,"endpoints":["mail-a*","audit"],"addresses":["192.0.2.130/25","2001:db8::7"]`), "mail-a* audit", "192.0.2.128/25 2001:db8::7/128")
	for _, rest := range []string{
		`"endpoints":["mail-a","zoo"]`, `"endpoints":["m*"]`, `"endpoints":["audit*"]`,
		`"addresses":["192.0.2.0/23"]`, `"addresses":["0.0.0.0/0"]`, `"addresses":["198.51.100.7"]`, `"addresses":["::/0"]`,
	} {
		c.send(t, "POST", "/v1/keys", `{"name":"x","scopes":["tasks:read"],`+rest+`}`).want(t, 403, "forbidden")
	}
	c.send(t, "PUT", "/v1/endpoints/zoo", `{"url":"https://app.example.com/"}`).want(t, 403, "forbidden")
	c.send(t, "PUT", "/v1/endpoints/mail-x", `{"url":"https://app.example.com/"}`).wantStatus(t, 201)
}

// TestBoundKeyCallbacks: what tells of a task is known by that task.
func TestBoundKeyCallbacks(t *testing.T) {
	w := newWorld()
	mine, other := w.put(task.Scheduled, nil), w.put(task.Scheduled, nil)
	other.Endpoint = "audit"
	for _, of := range []*stored{mine, other} {
		callback := w.put(task.Scheduled, nil)
		callback.CallbackOf, callback.Endpoint = of.ID, task.CallbackEndpoint
		want := map[bool]int{true: 200, false: 404}[of == mine]
		c := w.client(t, boundTo("emails"))
		for _, s := range []*stored{of, callback} {
			c.send(t, "GET", "/v1/tasks/"+string(s.ID), "").wantStatus(t, want)
			c.send(t, "POST", "/v1/tasks/"+string(s.ID)+"/reschedule", `{"delay":"1h"}`).wantStatus(t, want)
			c.send(t, "POST", "/v1/tasks/"+string(s.ID)+"/cancel", "").wantStatus(t, want)
		}
		c.send(t, "GET", "/v1/tasks/"+string(of.ID)+"/callbacks", "").wantStatus(t, want)
	}
	if other.State != task.Scheduled || other.RunAt.After(time.Now().Add(30*time.Minute)) && other.Gen > 1 {
		t.Errorf("a task of another endpoint was changed: %+v", other.Snapshot)
	}
}

func someEndpoint(name string) task.Endpoint {
	now := time.Now()
	return task.Endpoint{
		Project: project, Name: name, URL: "https://app.example.com/", Method: "POST", Result: task.ResultPolicy{MaxBytes: 1000},
		SealedSecret: task.SealedSecret{Current: []byte("sealed")}, CreatedAt: now, UpdatedAt: now,
	}
}
