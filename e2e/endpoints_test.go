package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/client"
)

func TestGoneDisablesTheEndpointAndHoldsItsTasks(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(410), status(200))
		ep, _ := tg.register(t, h.URL, nil)
		first := tg.submit(t, ep, nil).str("id")
		tg.ends(t, first, "failed", "endpoint_gone")
		until(t, "the endpoint is disabled", func() bool {
			reason := tg.endpoint(t, ep).DisabledReason
			return reason != nil && *reason == client.ReasonEndpointGone
		})
		held := tg.submit(t, ep, nil).str("id")
		if state := tg.stateAfter(t, held, "500ms"); state != client.TaskStateQueued {
			t.Errorf("held task is %s", state)
		}
		tg.resume(t, ep)
		tg.ends(t, held, "succeeded", "")
	})
}

func (tg *target) endpoint(t *testing.T, name string) *client.Endpoint {
	t.Helper()
	return got(tg.expect(t, 200).GetEndpointWithResponse(t.Context(), name)).JSON200
}

func (tg *target) pause(t *testing.T, name string) {
	t.Helper()
	got(tg.expect(t, 200).PauseEndpointWithResponse(t.Context(), name))
}

func (tg *target) resume(t *testing.T, name string) {
	t.Helper()
	got(tg.expect(t, 200).ResumeEndpointWithResponse(t.Context(), name))
}

// stateAfter waits for the task's end, and returns its state in any case.
func (tg *target) stateAfter(t *testing.T, id, wait string) client.TaskState {
	t.Helper()
	return got(tg.expect(t, 200).GetTaskWithResponse(t.Context(), id, &client.GetTaskParams{Wait: &wait})).JSON200.State
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		tg.pause(t, ep)
		// Every dispatcher has learned of it once a task stays.
		var id string
		until(t, "the pause holds", func() bool {
			id = tg.submit(t, ep, nil).str("id")
			return tg.stateAfter(t, id, "300ms") == client.TaskStateQueued
		})
		tg.resume(t, ep)
		tg.ends(t, id, "succeeded", "")
	})
}

func TestDeleteEndpoint(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		id := tg.submit(t, ep, obj{"delay": "2s"}).str("id")
		r := got(tg.expect(t, 409).DeleteEndpointWithResponse(t.Context(), ep, nil))
		if code := client.ProblemOf(r).Code; code != client.ProblemCodeEndpointHasTasks {
			t.Errorf("code %s", code)
		}
		force := client.DeleteEndpointParams{Force: new(client.DeleteEndpointParamsForceCancel)}
		got(tg.expect(t, 204).DeleteEndpointWithResponse(t.Context(), ep, &force))
		tg.ends(t, id, "cancelled", "cancelled")
		got(tg.expect(t, 404).GetEndpointWithResponse(t.Context(), ep))
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
