package e2e_test

import "testing"

// patch changes an endpoint by a merge patch.
func (tg *target) patch(t *testing.T, ep string, change obj) obj {
	t.Helper()
	return tg.want(t, 200, "PATCH", "/v1/endpoints/"+ep, change, "Content-Type", "application/merge-patch+json").obj
}

// A patch takes effect for what waits already, without any restart.
func TestPatchTakesEffect(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		wrong, right := serve(t, status(503)), serve(t, status(200))
		ep, secret := tg.register(t, wrong.URL, obj{"headers": obj{"X-Old": "1", "X-Kept": "1"}})
		id := tg.submit(t, ep, nil).str("id")
		wrong.next(t)
		got := tg.patch(t, ep, obj{"url": right.URL, "headers": obj{"X-Old": nil}, "labels": obj{"team": "a"}})
		if got.obj("retry").str("min_backoff") != "200ms" || got.obj("labels").str("team") != "a" || got.str("secret") != "" {
			t.Errorf("got %v", got)
		}
		tg.ends(t, id, "succeeded", "")
		d := right.next(t)
		if d.header.Get("X-Old") != "" || d.header.Get("X-Kept") != "1" {
			t.Errorf("headers %v", d.header)
		}
		verify(t, secret, d)
		r := tg.want(t, 422, "PATCH", "/v1/endpoints/"+ep, obj{"retry": obj{"max_backoff": "100ms"}, "colour": nil},
			"Content-Type", "application/merge-patch+json")
		if faults, _ := r.obj["errors"].([]any); len(faults) != 2 {
			t.Errorf("problem %s", r.raw)
		}
	})
}
