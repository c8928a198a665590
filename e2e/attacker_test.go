package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What somebody can do with a stolen key of scope tasks:write, and what not:
// docs/security.md says the same.
func TestStolenKeyOfTasksWrite(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		project := "p" + namespace()
		tg.want(t, 201, "PUT", "/v1/projects/"+project, obj{})
		_, owner := tg.newKey(t, obj{"project": project, "scopes": []string{"tasks:*", "endpoints:*"}})
		_, thief := tg.newKey(t, obj{"project": project, "scopes": []string{"tasks:write"}})
		foreign, _ := tg.register(t, "https://elsewhere.example/", nil) // of the default project
		work, hook := serve(t, body(200, "text/plain", "the answer")), serve(t, status(204))
		open, _ := owner.register(t, work.URL, nil)
		closed, _ := owner.register(t, work.URL, obj{"auth": obj{"type": "bearer", "token": "the-owners"}, "headers": obj{"X-Tenant": "the-owners"}})
		waiting := owner.submit(t, open, obj{"payload": "the owner's", "delay": "1h"}).str("id")

		// It reads nothing, and changes nothing that operators decide.
		for _, r := range [][2]string{
			{"GET", "/v1/tasks"},
			{"GET", "/v1/tasks/" + waiting},
			{"GET", "/v1/tasks/" + waiting + "/result"},
			{"GET", "/v1/tasks/" + waiting + "/attempts"},
			{"GET", "/v1/endpoints"},
			{"GET", "/v1/endpoints/" + open},
			{"DELETE", "/v1/endpoints/" + open},
			{"POST", "/v1/endpoints/" + open + "/pause"},
			{"POST", "/v1/endpoints/" + open + "/test"},
			{"POST", "/v1/endpoints/" + open + "/rotate-secret"},
			{"POST", "/v1/callback-secret/rotate"},
			{"GET", "/v1/keys"},
			{"GET", "/v1/projects"},
		} {
			thief.want(t, http.StatusForbidden, r[0], r[1], nil)
		}
		thief.want(t, http.StatusForbidden, "POST", "/v1/keys", obj{"name": "more", "scopes": []string{"tasks:read"}})
		thief.want(t, http.StatusForbidden, "POST", "/v1/tasks", obj{"endpoint": open}, "Taskgate-Project", "default")
		thief.want(t, http.StatusUnprocessableEntity, "POST", "/v1/tasks", obj{"endpoint": foreign})

		// It sends anything to every endpoint of the project, and learns the
		// answer by waiting for it.
		r := thief.want(t, http.StatusOK, "POST", "/v1/tasks?wait=30s", obj{"endpoint": open, "payload": "forged", "headers": obj{"Authorization": "Bearer forged", "X-Tenant": "forged"}})
		if !strings.Contains(string(r.raw), `"state":"succeeded"`) {
			t.Errorf("waited for: %s", r.raw)
		}
		if h := work.next(t).header; h.Get("Authorization") != "Bearer forged" || h.Get("X-Tenant") != "forged" || h.Get("Webhook-Signature") == "" {
			t.Errorf("an endpoint without auth got %v", h)
		}
		// What the endpoint itself says to its handler cannot be said for it.
		thief.want(t, http.StatusOK, "POST", "/v1/tasks?wait=30s", obj{"endpoint": closed, "headers": obj{"authorization": "Bearer forged", "x-tenant": "forged"}})
		if h := work.next(t).header; !slices.Equal(h.Values("Authorization"), []string{"Bearer the-owners"}) || !slices.Equal(h.Values("X-Tenant"), []string{"the-owners"}) {
			t.Errorf("an endpoint with auth got %v", h)
		}
		for _, name := range []string{"Host", "Webhook-Id", "webhook-signature", "Taskgate-Attempt", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Authorization", "Idempotency-Key", "User-Agent"} {
			thief.want(t, http.StatusUnprocessableEntity, "POST", "/v1/tasks", obj{"endpoint": open, "headers": obj{name: "x"}})
		}

		// By a callback it has the project sign what it likes to anybody
		// outside, and to nobody inside.
		thief.want(t, http.StatusAccepted, "POST", "/v1/tasks", obj{"endpoint": open, "payload": "forged", "callback": obj{"url": hook.URL}})
		if d := hook.next(t); d.header.Get("Webhook-Signature") == "" || d.header.Get("Taskgate-Endpoint") != "$callbacks" {
			t.Errorf("the callback: %v", d.header)
		}
		thief.want(t, http.StatusUnprocessableEntity, "POST", "/v1/tasks", obj{"endpoint": open, "callback": obj{"url": "http://169.254.169.254/"}})

		// It cancels, runs and replays what others submitted, if it knows the
		// id, and by a filter without one.
		thief.want(t, http.StatusOK, "POST", "/v1/tasks/"+waiting+"/cancel", nil)
		thief.want(t, http.StatusAccepted, "POST", "/v1/tasks/"+waiting+"/retry", nil)
		job := thief.want(t, http.StatusAccepted, "POST", "/v1/tasks/cancel", obj{"filter": obj{"endpoint": open}}).obj.str("id")
		thief.want(t, http.StatusForbidden, "GET", "/v1/jobs/"+job, nil)
	})
}
