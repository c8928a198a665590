package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestGoneDisablesTheEndpointAndHoldsItsTasks(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(410), status(200))
		ep, _ := tg.register(t, h.URL, nil)
		first := tg.submit(t, ep, nil).str("id")
		tg.ends(t, first, "failed", "endpoint_gone")
		until(t, "the endpoint is disabled", func() bool {
			return tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil).obj.str("disabled_reason") == "endpoint_gone"
		})
		held := tg.submit(t, ep, nil).str("id")
		if got := tg.want(t, 200, "GET", "/v1/tasks/"+held+"?wait=500ms", nil).obj.str("state"); got != "queued" {
			t.Errorf("held task is %s", got)
		}
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/resume", nil)
		tg.ends(t, held, "succeeded", "")
	})
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/pause", nil)
		// Every dispatcher has learned of it once a task stays.
		var id string
		until(t, "the pause holds", func() bool {
			id = tg.submit(t, ep, nil).str("id")
			return tg.want(t, 200, "GET", "/v1/tasks/"+id+"?wait=300ms", nil).obj.str("state") == "queued"
		})
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/resume", nil)
		tg.ends(t, id, "succeeded", "")
	})
}

func TestDeleteEndpoint(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, obj{"delay": "2s"}).str("id")
		r := tg.want(t, 409, "DELETE", "/v1/endpoints/"+ep, nil)
		if r.obj.str("code") != "endpoint_has_tasks" {
			t.Errorf("code %s", r.obj.str("code"))
		}
		tg.want(t, 204, "DELETE", "/v1/endpoints/"+ep+"?force=cancel", nil)
		tg.ends(t, id, "cancelled", "cancelled")
		tg.want(t, 404, "GET", "/v1/endpoints/"+ep, nil)
		until(t, "submissions are refused everywhere", func() bool {
			for range tg.bases {
				if tg.do(t, "POST", "/v1/tasks", obj{"endpoint": ep, "payload": 1}).status != http.StatusUnprocessableEntity {
					return false
				}
			}
			return true
		})
	})
}

func TestTheInsideIsNotReached(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		if tg.name == "url" {
			t.Skip("needs this suite's own name resolution")
		}
		for _, url := range []string{"http://169.254.169.254/latest", "http://" + blockedHost + "/"} {
			r := tg.want(t, 422, "PUT", "/v1/endpoints/inside", obj{"url": url})
			var problem struct {
				Errors []struct{ Pointer string }
			}
			if err := json.Unmarshal(r.raw, &problem); err != nil || len(problem.Errors) != 1 || problem.Errors[0].Pointer != "/url" {
				t.Errorf("problem: %s", r.raw)
			}
			if strings.Contains(string(r.raw), "10.0.0.1") {
				t.Errorf("the answer tells about the inside: %s", r.raw)
			}
		}
	})
}
