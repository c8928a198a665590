package e2e_test

import (
	"testing"

	"github.com/taskgate/taskgate/client"
)

// Live figures are those of all dispatchers, about a second behind.
func TestLiveFigures(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		let := make(chan struct{})
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, nil)
		live := func() *client.EndpointLive {
			r := got(tg.expect(t, 200).GetEndpointWithResponse(t.Context(), ep))
			if r.JSON200.Live == nil {
				return &client.EndpointLive{}
			}
			return r.JSON200.Live
		}
		if l := live(); l.InFlight != 0 || l.SuccessRatio != nil || l.P50Ms != nil || l.OldestWaitingMs != nil {
			t.Errorf("new: %+v", l)
		}
		for range 12 {
			tg.ends(t, tg.submit(t, ep, nil).str("id"), "succeeded", "")
		}
		bad := serve(t, status(500))
		tg.patch(t, ep, obj{"url": bad.URL, "retry": obj{"min_backoff": "1h", "max_backoff": "1h"}})
		until(t, "four failures", func() bool { // some may still go to the first handler
			tg.submit(t, ep, nil)
			return len(bad.deliveries()) >= 4
		})
		until(t, "attempts are counted", func() bool {
			l := live()
			return l.Depth.Retrying >= 4 && l.SuccessRatio != nil && *l.SuccessRatio > 0.5 && *l.SuccessRatio < 1 &&
				l.AttemptsPerSecond > 0 && *l.P50Ms > 0 && *l.P99Ms >= *l.P50Ms && l.InFlight == 0
		})

		slow := serve(t, answerWhen(let))
		tg.patch(t, ep, obj{"url": slow.URL, "timeout": "30s", "max_concurrency": 1})
		until(t, "one runs and others wait", func() bool {
			tg.submit(t, ep, nil)
			l := live()
			return l.InFlight == 1 && l.Depth.Running == 1 && l.Depth.Queued > 0 && l.OldestWaitingMs != nil
		})
		tg.submit(t, ep, obj{"delay": "1h"})
		if l := live(); l.Depth.Scheduled != 1 {
			t.Errorf("depth %+v", l.Depth)
		}
		r := got(tg.expect(t, 200).ListEndpointsWithResponse(t.Context(), &client.ListEndpointsParams{Limit: new(500)}))
		for _, listed := range r.JSON200.Data {
			if listed.Name == ep && (listed.Live == nil || listed.Live.Depth.Scheduled != 1 || listed.Live.SuccessRatio == nil) {
				t.Errorf("listed as %+v", listed.Live)
			}
		}
		close(let)
		until(t, "nothing runs any more", func() bool {
			l := live()
			return l.InFlight == 0 && l.Depth.Queued == 0
		})
	})
}
