package api_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// as lets the caller be somebody else.
type as struct{ who auth.Principal }

func (a as) Authenticate(*http.Request, netip.Addr) (auth.Principal, error) { return a.who, nil }

func (w *world) client(t *testing.T, who auth.Principal) *client {
	t.Helper()
	return newClient(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Auth = as{who} }))
}

func keyOf(t *testing.T, a *answer) gen.Key {
	t.Helper()
	var k gen.Key
	decode(t, a.Body.Bytes(), &k)
	return k
}

func TestCreateKey(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "POST", "/v1/keys", `{"name":"worker","scopes":["tasks:write","keys:*"],"expires_in":"90d"}`)
	a.wantStatus(t, 201)
	k := keyOf(t, a)
	if k.Key == nil || !strings.HasPrefix(*k.Key, k.Prefix+"_") || k.Prefix != "tg_"+k.Id || a.Header().Get("Location") != "/v1/keys/"+k.Id {
		t.Fatalf("got %s", a.Body)
	}
	if in := time.Until(*k.ExpiresAt); in > 90*24*time.Hour || in < 90*24*time.Hour-time.Minute {
		t.Errorf("expires in %v", in)
	}
	kept := w.apiKeys[k.Id]
	sum := sha256.Sum256([]byte(*k.Key))
	if !slices.Equal(kept.Digest, sum[:]) || kept.Project != project || kept.CreatedBy != "admin" || kept.Name != "worker" ||
		!slices.Equal(kept.Scopes, []auth.Scope{"tasks:write", "keys:*"}) || strings.Contains(fmt.Sprintf("%+v", kept), *k.Key) {
		t.Errorf("kept %+v", kept)
	}
	if strings.Contains(w.logged.String(), *k.Key) {
		t.Error("the key is in the log")
	}

	// It is shown once.
	w.uses[k.Id] = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, target := range []string{"/v1/keys/" + k.Id, "/v1/keys"} {
		a = c.send(t, "GET", target, "")
		a.wantStatus(t, 200)
		if strings.Contains(a.Body.String(), *k.Key) || !strings.Contains(a.Body.String(), `"last_used_at":"2027-01-01T00:00:00Z"`) {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
	w.fail["key uses"] = task.Wrap(task.CodeUnavailable, errDown, "away")
	if k := keyOf(t, c.send(t, "GET", "/v1/keys/"+k.Id, "")); k.Name != "worker" {
		t.Errorf("without the store: %+v", k)
	}

	c.send(t, "DELETE", "/v1/keys/"+k.Id, "").wantStatus(t, 204)
	c.send(t, "DELETE", "/v1/keys/"+k.Id, "").want(t, 404, "not_found")
	c.send(t, "GET", "/v1/keys/"+k.Id, "").want(t, 404, "not_found")
}

func TestCreateKeyIsLimitedByItsMaker(t *testing.T) {
	w := newWorld()
	w.projects["acme"] = task.Project{Name: "acme"}
	who := auth.Principal{Project: project, KeyID: "k1", Scopes: []auth.Scope{auth.ScopeKeys, auth.ScopeTasks}, ExpiresAt: time.Now().Add(time.Hour)}
	c := w.client(t, who)
	for name, r := range map[string]struct {
		body     string
		status   int
		code     string
		pointers []string
	}{
		"a scope that it has not": {body: `{"name":"x","scopes":["tasks:read","endpoints:read"]}`, status: 403, code: "forbidden"},
		"a wider scope":           {body: `{"name":"x","scopes":["endpoints:*"]}`, status: 403, code: "forbidden"},
		"admin":                   {body: `{"name":"x","scopes":["admin"]}`, status: 403, code: "forbidden"},
		"another project":         {body: `{"name":"x","scopes":["tasks:read"],"project":"acme"}`, status: 403, code: "forbidden"},
		"no project":              {body: `{"name":"x","scopes":["tasks:read"],"project":"nope"}`, status: 403, code: "forbidden"},
		"a later end":             {body: `{"name":"x","scopes":["tasks:read"],"expires_in":"2h"}`, status: 422, code: "invalid", pointers: []string{"/expires_in"}},
	} {
		t.Run(name, func(t *testing.T) { c.send(t, "POST", "/v1/keys", r.body).want(t, r.status, r.code, r.pointers...) })
	}
	if len(w.apiKeys) > 0 {
		t.Errorf("kept %v", w.apiKeys)
	}
	for _, body := range []string{
		`{"name":"x","scopes":["tasks:*","keys:*"]}`, `{"name":"x","scopes":["tasks:write"],"project":"default","expires_in":"30m"}`,
	} {
		a := c.send(t, "POST", "/v1/keys", body)
		a.wantStatus(t, 201)
		if k := keyOf(t, a); k.ExpiresAt == nil || k.ExpiresAt.After(who.ExpiresAt) || *k.CreatedBy != "k1" {
			t.Errorf("got %s", a.Body)
		}
	}

	admin := w.client(t, auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeAdmin}})
	a := admin.send(t, "POST", "/v1/keys", `{"name":"x","scopes":["admin"],"project":"acme"}`)
	a.wantStatus(t, 201)
	made := keyOf(t, a)
	if made.Project != "acme" || made.ExpiresAt != nil {
		t.Errorf("got %s", a.Body)
	}
	admin.send(t, "POST", "/v1/keys", `{"name":"x","scopes":["admin"],"project":"nope"}`).want(t, 422, "invalid", "/project")

	// Only an admin ends an admin's key.
	acme := w.client(t, auth.Principal{Project: "acme", Scopes: []auth.Scope{auth.ScopeKeys}})
	acme.send(t, "DELETE", "/v1/keys/"+made.Id, "").want(t, 403, "forbidden")
	admin.send(t, "DELETE", "/v1/keys/"+made.Id, "").want(t, 404, "not_found")
	admin.send(t, "DELETE", "/v1/keys/"+made.Id, "", "Taskgate-Project: acme").wantStatus(t, 204)
}

func TestListKeys(t *testing.T) {
	w := newWorld()
	w.projects["acme"] = task.Project{Name: "acme"}
	for i := range 5 {
		id := fmt.Sprintf("id%d", i)
		w.apiKeys[id] = task.APIKey{ID: id, Project: project, Name: "n", Scopes: []auth.Scope{auth.ScopeAdmin}, Digest: []byte("hush")}
	}
	w.apiKeys["id00"] = task.APIKey{ID: "id00", Project: "acme"}
	c := newClient(t, w.server(t))
	var ids []string
	for target := "/v1/keys?limit=2"; target != ""; {
		a := c.send(t, "GET", target, "")
		a.wantStatus(t, 200)
		var page gen.KeyList
		decode(t, a.Body.Bytes(), &page)
		for _, k := range page.Data {
			ids = append(ids, k.Id)
		}
		target = ""
		if page.NextCursor != nil {
			target = "/v1/keys?limit=2&cursor=" + *page.NextCursor
			c.send(t, "GET", "/v1/projects?cursor="+*page.NextCursor, "").want(t, 400, "invalid_parameter", "cursor")
		}
	}
	if !slices.Equal(ids, []string{"id0", "id1", "id2", "id3", "id4"}) {
		t.Errorf("got %v", ids)
	}
}

func TestProject(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "PUT", "/v1/projects/acme", `{}`)
	a.wantStatus(t, 201)
	var p gen.Project
	decode(t, a.Body.Bytes(), &p)
	if p.Name != "acme" || *p.Secret != "whsec_generated" || a.Header().Get("Location") != "/v1/projects/acme" {
		t.Errorf("got %s", a.Body)
	}
	if i, j := slices.Index(w.log, "declare queue"), slices.Index(w.log, "update project"); i < 0 || j < i {
		t.Errorf("the queue must be there first: %v", w.log)
	}
	for body, want := range map[string]string{`{}`: "", `{"secret":"whsec_mine"}`: "whsec_mine"} {
		a = c.send(t, "PUT", "/v1/projects/acme", body)
		a.wantStatus(t, 200)
		if strings.Contains(a.Body.String(), "whsec_") != (want != "") || !strings.Contains(a.Body.String(), want) {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	if got := string(w.projects["acme"].CallbackSecret.Current); got != "sealed:whsec_mine" {
		t.Errorf("kept %s", got)
	}
	a = c.send(t, "GET", "/v1/projects/acme", "")
	a.wantStatus(t, 200)
	if strings.Contains(a.Body.String(), "whsec") || strings.Contains(a.Body.String(), "sealed") {
		t.Errorf("a secret leaves: %s", a.Body)
	}
	var page gen.ProjectList
	decode(t, c.send(t, "GET", "/v1/projects?limit=1", "").Body.Bytes(), &page)
	if len(page.Data) != 1 || page.Data[0].Name != "acme" || page.NextCursor == nil {
		t.Errorf("got %+v", page)
	}
	decode(t, c.send(t, "GET", "/v1/projects?limit=1&cursor="+*page.NextCursor, "").Body.Bytes(), &page)
	if len(page.Data) != 1 || page.Data[0].Name != "default" {
		t.Errorf("got %+v", page)
	}
	c.send(t, "GET", "/v1/projects/nope", "").want(t, 404, "not_found")
}

func TestDeleteProject(t *testing.T) {
	w := newWorld()
	w.projects["acme"] = task.Project{Name: "acme"}
	c := newClient(t, w.server(t))
	c.send(t, "DELETE", "/v1/projects/default", "").want(t, 409, "conflict")
	c.send(t, "DELETE", "/v1/projects/nope", "").want(t, 404, "not_found")
	live := w.put(task.Queued, nil)
	live.Project = "acme"
	for _, ep := range []string{"emails", task.CallbackEndpoint} {
		live.Endpoint = ep
		c.send(t, "DELETE", "/v1/projects/acme", "").want(t, 409, "conflict")
	}
	live.State = task.Succeeded
	w.fail["delete project"] = task.Errorf(task.CodeConflict, "the project has 3 keys")
	c.send(t, "DELETE", "/v1/projects/acme", "").want(t, 409, "conflict")
	delete(w.fail, "delete project")
	w.projects["acme"] = task.Project{Name: "acme"}
	w.log = nil
	c.send(t, "DELETE", "/v1/projects/acme", "").wantStatus(t, 204)
	if !slices.Equal(w.log, []string{"count", "count", "delete project", "delete queue"}) {
		t.Errorf("did %v", w.log)
	}
}

func TestRotateCallbackSecret(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "POST", "/v1/callback-secret/rotate", "")
	a.wantStatus(t, 200)
	var out gen.CallbackSecret
	decode(t, a.Body.Bytes(), &out)
	kept := w.projects[project].CallbackSecret
	if *out.Secret != "whsec_generated" || string(kept.Current) != "sealed:whsec_generated" || string(kept.Previous) != "sealed" {
		t.Errorf("%s, kept %+v", a.Body, kept)
	}
	if in := time.Until(*out.PreviousSecretUntil); in > 24*time.Hour || in < 24*time.Hour-time.Minute {
		t.Errorf("overlap %v", in)
	}
	c.send(t, "POST", "/v1/callback-secret/rotate", `{"secret":"whsec_b","overlap":"0s"}`).wantStatus(t, 200)
	if kept = w.projects[project].CallbackSecret; string(kept.Current) != "sealed:whsec_b" || len(kept.At(time.Now())) != 1 {
		t.Errorf("kept %+v", kept)
	}
	c.send(t, "POST", "/v1/callback-secret/rotate", `{"secret":"hush","overlap":"31d"}`).want(t, 422, "invalid", "/overlap", "/secret")
}

// TestProjectHeader: an admin acts in the project that the header names;
// others in their own.
func TestProjectHeader(t *testing.T) {
	w := newWorld()
	w.projects["acme"], w.everywhere = task.Project{Name: "acme"}, true
	admin := newClient(t, w.server(t))
	post := func(c *client, header ...string) *answer {
		return c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, header...)
	}
	for header, want := range map[string]string{"": project, "Taskgate-Project: default": project, "Taskgate-Project: acme": "acme"} {
		post(admin, header).wantStatus(t, 202)
		if got := w.submitted[len(w.submitted)-1].Project; got != want {
			t.Errorf("%q: in project %s", header, got)
		}
	}
	admin.send(t, "POST", "/v1/endpoints/emails/tasks", "x", "Taskgate-Project: acme").wantStatus(t, 202)
	post(admin, "Taskgate-Project: nope").want(t, 400, "invalid_parameter", "Taskgate-Project")
	post(admin, "Taskgate-Project: acme", "Taskgate-Project: acme").want(t, 400, "invalid_parameter", "Taskgate-Project")

	other := w.client(t, auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeTasks}})
	post(other, "Taskgate-Project: default").wantStatus(t, 202)
	one, none := post(other, "Taskgate-Project: acme"), post(other, "Taskgate-Project: nope")
	for _, a := range []*answer{one, none} {
		a.want(t, 403, "forbidden")
	}
	if strings.ReplaceAll(one.Body.String(), one.problem.Instance, "") != strings.ReplaceAll(none.Body.String(), none.problem.Instance, "") {
		t.Errorf("the answer tells whether there is such a project: %s %s", one.Body, none.Body)
	}
}
