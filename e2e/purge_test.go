package e2e_test

import (
	"testing"

	"github.com/taskgate/taskgate/client"
)

// A purge ends what waits, with its callbacks; what runs goes on unless it is
// named.
func TestPurge(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		let := make(chan struct{})
		h, told := serve(t, answerWhen(let)), serve(t, status(200))
		ep, _ := tg.register(t, h.URL, obj{"max_concurrency": 1, "timeout": "30s"})
		other, _ := tg.register(t, h.URL, obj{"paused": true})
		running := tg.submit(t, ep, nil).str("id")
		h.next(t)
		var waiting []string
		for range 5 {
			waiting = append(waiting, tg.submit(t, ep, obj{"callback": obj{"url": told.URL}}).str("id"))
		}
		waiting = append(waiting, tg.submit(t, ep, obj{"delay": "1h", "callback": obj{"url": told.URL}}).str("id"))
		spared := tg.submit(t, other, nil).str("id")
		purge := func(body client.EndpointPurge) client.EndpointPurged {
			return *got(tg.expect(t, 200).PurgeEndpointWithResponse(t.Context(), ep, body)).JSON200
		}
		if p := purge(client.EndpointPurge{States: []client.EndpointPurgeStates{"scheduled"}}); p.Cancelled != 1 || p.NextCursor != nil {
			t.Errorf("scheduled: %+v", p)
		}
		if p := purge(client.EndpointPurge{}); p.Cancelled != 5 || p.NextCursor != nil {
			t.Errorf("waiting: %+v", p)
		}
		for _, id := range waiting {
			tg.ends(t, id, "cancelled", "cancelled")
			told.next(t)
		}
		if n := len(h.deliveries()); n != 1 {
			t.Errorf("%d deliveries", n)
		}
		if p := purge(client.EndpointPurge{States: []client.EndpointPurgeStates{"running", "queued"}}); p.Cancelled != 1 {
			t.Errorf("running: %+v", p)
		}
		tg.ends(t, running, "cancelled", "cancelled")
		until(t, "the request was interrupted", h.idle)
		if p := purge(client.EndpointPurge{}); p.Cancelled != 0 || p.NextCursor != nil {
			t.Errorf("nothing: %+v", p)
		}
		if got := tg.want(t, 200, "GET", "/v1/tasks/"+spared, nil).obj.str("state"); got != "queued" {
			t.Errorf("another endpoint's task is %s", got)
		}
		close(let)
	})
}

// A purge of many tasks is one call, and none of them runs afterwards.
func TestPurgeMany(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, obj{"paused": true})
		const n = 1200
		for range n {
			tg.submit(t, ep, nil)
		}
		cancelled := 0
		body := client.EndpointPurge{}
		for more := true; more; {
			p := got(tg.expect(t, 200).PurgeEndpointWithResponse(t.Context(), ep, body)).JSON200
			cancelled += p.Cancelled
			body.Cursor, more = p.NextCursor, p.NextCursor != nil
		}
		if cancelled != n {
			t.Errorf("%d cancelled of %d", cancelled, n)
		}
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/resume", nil)
		tg.ends(t, tg.submit(t, ep, nil).str("id"), "succeeded", "")
		if got := len(h.deliveries()); got != 1 {
			t.Errorf("%d deliveries", got)
		}
	})
}
