package e2e_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// as is the target as another key sees it.
func (tg *target) as(key string) *target {
	own := *tg
	own.key = key
	return &own
}

// at is the target's gateway of that number.
func (tg *target) at(i int) *target {
	own := *tg
	own.bases = tg.bases[i : i+1]
	return &own
}

// newKey makes a key that ends with the case.
func (tg *target) newKey(t *testing.T, fields obj) (id string, as *target) {
	t.Helper()
	config := obj{"name": t.Name()}
	maps.Copy(config, fields)
	k := got(tg.expect(t, http.StatusCreated).CreateKeyWithResponse(t.Context(), typed[client.KeyConfig](t, config))).JSON201
	t.Cleanup(func() { tg.do(t, "DELETE", "/v1/keys/"+k.Id, nil, "Taskgate-Project", k.Project) })
	return k.Id, tg.as(*k.Key)
}

// newProject makes a project that ends with the case, after what the case
// makes in it.
func (tg *target) newProject(t *testing.T) string {
	t.Helper()
	name := "p" + namespace()
	got(tg.expect(t, http.StatusCreated).PutProjectWithResponse(t.Context(), name, client.ProjectConfig{}))
	t.Cleanup(func() { tg.do(t, "DELETE", "/v1/projects/"+name, nil) })
	return name
}

func TestKeyOpensWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		id, worker := tg.newKey(t, obj{"scopes": []string{"tasks:*"}})
		if strings.Contains(string(tg.want(t, 200, "GET", "/v1/keys/"+id, nil).raw), worker.key) {
			t.Error("the key is shown again")
		}
		sent := worker.submit(t, ep, nil).str("id")
		worker.ends(t, sent, "succeeded", "")
		for range tg.bases {
			for path, want := range map[string]int{
				"/v1/tasks/" + sent: 200, "/v1/tasks": 200, "/v1/endpoints/" + ep: 403, "/v1/keys": 403, "/v1/projects": 403,
			} {
				worker.want(t, want, "GET", path, nil)
			}
		}
		used := tg.want(t, 200, "GET", "/v1/keys/"+id, nil).obj
		if _, ok := used["last_used_at"]; len(tg.bases) == 1 && (!ok || time.Since(used.time(t, "last_used_at")) > time.Minute) {
			t.Errorf("last use: %v", used)
		}
		for key, want := range map[string]int{
			worker.key[:len(worker.key)-1] + "x": 401, worker.key + "0": 401, "tg_" + id: 401, "": 401,
			strings.Repeat("k", 5000): 401, "tg_" + strings.Repeat("0", 18) + "_" + strings.Repeat("0", 32): 401,
		} {
			tg.as(key).want(t, want, "GET", "/v1/tasks", nil)
		}
	})
}

// revokedEverywhere is how long a revoked key may work on another gateway:
// the registry looks every 5 s when it has heard nothing, and takes a moment.
const revokedEverywhere = 6 * time.Second

func TestRevokedKeyOpensNothing(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		for i := range tg.bases {
			id, worker := tg.newKey(t, obj{"scopes": []string{"tasks:read"}})
			for j := range tg.bases {
				worker.at(j).want(t, 200, "GET", "/v1/tasks", nil) // works everywhere at once
			}
			tg.at(i).want(t, 204, "DELETE", "/v1/keys/"+id, nil)
			revoked := time.Now()
			worker.at(i).want(t, 401, "GET", "/v1/tasks", nil)
			for j := range tg.bases {
				until(t, "it is revoked on the other gateways", func() bool {
					return worker.at(j).do(t, "GET", "/v1/tasks", nil).status == http.StatusUnauthorized
				})
			}
			if took := time.Since(revoked); took > revokedEverywhere {
				t.Errorf("revoked everywhere after %v", took)
			} else {
				t.Logf("revoked everywhere after %v", took)
			}
			tg.want(t, 404, "DELETE", "/v1/keys/"+id, nil)
		}
	})
}

func TestKeyExpires(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		end := time.Now().Add(2 * time.Second) // at the earliest: the key is made after this
		_, worker := tg.newKey(t, obj{"scopes": []string{"tasks:read", "keys:*"}, "expires_in": "2s"})
		worker.want(t, 200, "GET", "/v1/tasks", nil)
		worker.want(t, 422, "POST", "/v1/keys", obj{"name": "longer", "scopes": []string{"tasks:read"}, "expires_in": "1h"})
		var r reply
		until(t, "it expires", func() bool {
			r = worker.do(t, "GET", "/v1/tasks", nil)
			return r.status == http.StatusUnauthorized
		})
		if early := time.Until(end); early > 0 || !strings.Contains(r.obj.str("detail"), "expired") {
			t.Errorf("%v early: %s", early, r.raw)
		}
	})
}

func TestKeyGivesOnlyWhatItHas(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		acme := tg.newProject(t)
		_, keeper := tg.newKey(t, obj{"scopes": []string{"keys:*", "tasks:read"}, "project": acme})
		id, reader := keeper.newKey(t, obj{"scopes": []string{"tasks:read"}})
		reader.want(t, 200, "GET", "/v1/tasks", nil)
		for _, scope := range []string{"tasks:write", "tasks:*", "endpoints:read", "admin"} {
			keeper.want(t, 403, "POST", "/v1/keys", obj{"name": "more", "scopes": []string{scope}})
		}
		reader.want(t, 403, "POST", "/v1/keys", obj{"name": "more", "scopes": []string{"tasks:read"}})
		list := keeper.want(t, 200, "GET", "/v1/keys", nil).obj
		if ids := idsOf(list); len(ids) != 2 || ids[1] != id {
			t.Errorf("keys of the project: %v", list)
		}
		keeper.want(t, 204, "DELETE", "/v1/keys/"+id, nil)
		// It may end itself, too.
		keeper.want(t, 204, "DELETE", "/v1/keys/"+idsOf(list)[0], nil)
	})
}

// TestProjectsAreApart: the same names, ids and keys in two projects are
// different things.
func TestProjectsAreApart(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		name := "e" + namespace()
		var projects, ids []string
		var whose []*target
		for range 2 {
			project := tg.newProject(t)
			h := serve(t, body(200, "text/plain", project))
			_, as := tg.newKey(t, obj{"scopes": []string{"tasks:*", "endpoints:*"}, "project": project})
			got(as.expect(t, http.StatusCreated).PutEndpointWithResponse(t.Context(), name, client.EndpointConfig{Url: h.URL}))
			t.Cleanup(func() { as.do(t, "DELETE", "/v1/endpoints/"+name+"?force=cancel", nil) })
			r := as.want(t, 202, "POST", "/v1/tasks", obj{"endpoint": name, "payload": 1}, "Idempotency-Key", "same")
			id := r.obj.str("id")
			as.ends(t, id, "succeeded", "")
			projects, ids, whose = append(projects, project), append(ids, id), append(whose, as)
		}
		for i, as := range whose {
			if got := string(as.want(t, 200, "GET", "/v1/tasks/"+ids[i]+"/result", nil).raw); got != projects[i] {
				t.Errorf("delivered to the endpoint of %s", got)
			}
			as.want(t, 404, "GET", "/v1/tasks/"+ids[1-i]+"/result?wait=1s", nil)
			if list := idsOf(as.want(t, 200, "GET", "/v1/tasks", nil).obj); len(list) != 1 || list[0] != ids[i] {
				t.Errorf("tasks: %v, want %s", list, ids[i])
			}
			// An admin sees each where it is.
			for j := range projects {
				want := 404
				if i == j {
					want = 200
				}
				tg.want(t, want, "GET", "/v1/tasks/"+ids[i], nil, "Taskgate-Project", projects[j])
			}
			tg.want(t, 404, "GET", "/v1/tasks/"+ids[i], nil)
			tg.want(t, 409, "DELETE", "/v1/projects/"+projects[i], nil)
		}
		whose[0].want(t, 200, "POST", "/v1/endpoints/"+name+"/pause", nil)
		if whose[1].want(t, 200, "GET", "/v1/endpoints/"+name, nil).obj["paused"] != false {
			t.Error("paused in both projects")
		}
	})
}

func TestDeletedProject(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg.want(t, 409, "DELETE", "/v1/projects/default", nil)
		name := "p" + namespace()
		r := got(tg.expect(t, http.StatusCreated).PutProjectWithResponse(t.Context(), name, client.ProjectConfig{}))
		if r.JSON201.Secret == nil || !strings.HasPrefix(*r.JSON201.Secret, "whsec_") {
			t.Errorf("no secret: %s", r.Body)
		}
		again := got(tg.expect(t, http.StatusOK).PutProjectWithResponse(t.Context(), name, client.ProjectConfig{}))
		if again.JSON200.Secret != nil {
			t.Error("the secret is shown again")
		}
		tg.want(t, 204, "DELETE", "/v1/projects/"+name, nil)
		for i := range tg.bases {
			tg.at(i).want(t, 404, "GET", "/v1/projects/"+name, nil)
		}
		until(t, "nobody acts in it", func() bool {
			for i := range tg.bases {
				if tg.at(i).do(t, "GET", "/v1/tasks", nil, "Taskgate-Project", name).status != http.StatusBadRequest {
					return false
				}
			}
			return true
		})
		got(tg.expect(t, http.StatusCreated).PutProjectWithResponse(t.Context(), name, client.ProjectConfig{}))
		tg.want(t, 204, "DELETE", "/v1/projects/"+name, nil)
	})
}

// While a project's callback secret is rotated, both sign.
func TestCallbackSecretRotation(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, first := tg.own(t)
		work, hook := serve(t, status(200)), serve(t, status(204))
		ep, _ := tg.register(t, work.URL, nil)
		told := func() delivery {
			t.Helper()
			tg.submit(t, ep, obj{"callback": obj{"url": hook.URL}})
			return hook.next(t)
		}
		verify(t, first, told())
		second := tg.want(t, 200, "POST", "/v1/callback-secret/rotate", obj{"overlap": "1h"}).obj.str("secret")
		var d delivery
		until(t, "two secrets sign", func() bool {
			d = told()
			return len(strings.Fields(d.header.Get("Webhook-Signature"))) == 2
		})
		verify(t, first, d)
		verify(t, second, d)
		third := tg.want(t, 200, "POST", "/v1/callback-secret/rotate", obj{"overlap": "0s"}).obj.str("secret")
		until(t, "one secret signs", func() bool {
			d = told()
			return len(strings.Fields(d.header.Get("Webhook-Signature"))) == 1
		})
		verify(t, third, d)
	})
}
