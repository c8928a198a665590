package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

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

// During a rotation both secrets verify a delivery; after it, the new one
// alone.
func TestRotateSecret(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, first := tg.register(t, h.URL, nil)
		rotate := func(body any) string {
			return tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/rotate-secret", body).obj.str("secret")
		}
		second := rotate(nil)
		if second == "" || second == first {
			t.Fatalf("the new secret is %q", second)
		}
		d := deliveredWith(t, tg, h, ep, 2)
		verify(t, first, d)
		verify(t, second, d)
		current, _, _ := strings.Cut(d.header.Get("Webhook-Signature"), " ")
		d.header.Set("Webhook-Signature", current)
		verify(t, second, d)

		third := rotate(obj{"overlap": "1s"})
		shown := tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil)
		if strings.Contains(string(shown.raw), "whsec_") {
			t.Errorf("a secret leaves: %s", shown.raw)
		}
		d = deliveredWith(t, tg, h, ep, 1)
		verify(t, third, d)
	})
}

// deliveredWith submits tasks until one is delivered with so many signatures.
func deliveredWith(t *testing.T, tg *target, h *handler, ep string, signatures int) (d delivery) {
	t.Helper()
	until(t, fmt.Sprintf("a delivery with %d signatures", signatures), func() bool {
		tg.submit(t, ep, nil)
		d = h.next(t)
		return len(strings.Fields(d.header.Get("Webhook-Signature"))) == signatures
	})
	return d
}
