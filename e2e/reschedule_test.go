package e2e_test

import (
	"bytes"
	"testing"
	"time"
)

func TestReschedule(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)

		sooner := tg.submit(t, ep, obj{"delay": "1h"}).str("id")
		got := tg.want(t, 200, "POST", "/v1/tasks/"+sooner+"/reschedule", obj{"delay": "500ms"}).obj
		if got.str("state") != "scheduled" || got.str("reason") != "rescheduled" || got.num("generation") != 2 {
			t.Errorf("answer: %v", got)
		}
		tg.ends(t, sooner, "succeeded", "")
		if d := h.next(t); d.at.Before(got.time(t, "next_attempt_at")) {
			t.Errorf("ran at %s, before %s", d.at, got.str("next_attempt_at"))
		}

		// Later: neither the message of its first time nor that of its second
		// runs it.
		later := tg.submit(t, ep, obj{"delay": "400ms"}).str("id")
		tg.want(t, 200, "POST", "/v1/tasks/"+later+"/reschedule", obj{"delay": "700ms"})
		due := tg.want(t, 200, "POST", "/v1/tasks/"+later+"/reschedule", obj{"delay": "2s"}).obj.time(t, "next_attempt_at")
		tg.ends(t, later, "succeeded", "")
		if d := h.next(t); d.at.Before(due) || d.header.Get("Taskgate-Attempt") != "1" {
			t.Errorf("attempt %s at %s, due at %s", d.header.Get("Taskgate-Attempt"), d.at, due)
		}
		if n := len(h.deliveries()); n != 2 {
			t.Errorf("%d deliveries", n)
		}
		tg.want(t, 409, "POST", "/v1/tasks/"+later+"/reschedule", obj{"delay": "1s"})
	})
}

func TestRescheduleARetry(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(500))
		ep, _ := tg.register(t, h.URL, obj{"retry": obj{"schedule": []string{"1h"}, "max_attempts": 2}})
		id := tg.submit(t, ep, nil).str("id")
		h.next(t)
		until(t, "it waits for its second attempt", func() bool {
			return tg.want(t, 200, "GET", "/v1/tasks/"+id, nil).obj.str("state") == "retrying"
		})
		tg.want(t, 200, "POST", "/v1/tasks/"+id+"/reschedule", obj{"run_at": time.Now().Add(-time.Minute).Format(time.RFC3339)})
		// The first attempt still counts: the second is the last.
		tg.ends(t, id, "failed", "attempts_exhausted")
		if n := len(h.deliveries()); n != 2 {
			t.Errorf("%d deliveries", n)
		}
	})
}

func TestRescheduleBeyondItsEnd(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, serve(t, status(200)).URL, nil)
		id := tg.submit(t, ep, obj{"delay": "1h", "expires_in": "2h"}).str("id")
		before := tg.want(t, 200, "GET", "/v1/tasks/"+id, nil)
		tg.want(t, 422, "POST", "/v1/tasks/"+id+"/reschedule", obj{"delay": "3h"})
		if after := tg.want(t, 200, "GET", "/v1/tasks/"+id, nil); !bytes.Equal(after.raw, before.raw) {
			t.Errorf("it changed: %s, then %s", before.raw, after.raw)
		}
	})
}
