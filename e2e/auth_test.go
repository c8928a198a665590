package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestTargetsKnowTheirCallers: what a target asks for is sent, never shown,
// and a token that was refused is replaced within the attempt.
func TestTargetsKnowTheirCallers(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, echo, status(200), status(401), echo)
		issuer := serve(t, body(200, "application/json", `{"access_token":"the-token","token_type":"Bearer","expires_in":3600}`))
		ep, _ := tg.register(t, h.URL, obj{"auth": obj{"type": "basic", "username": "us", "password": "hunter2"}})
		if r := tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil); strings.Contains(string(r.raw), "hunter2") || r.obj.obj("auth").str("username") != "us" {
			t.Errorf("shown: %s", r.raw)
		}
		first := tg.submit(t, ep, nil).str("id")
		if user, password, _ := (&http.Request{Header: h.next(t).header}).BasicAuth(); user != "us" || password != "hunter2" {
			t.Errorf("basic: %q", user)
		}
		tg.ends(t, first, "succeeded", "")

		oauth := obj{"type": "oauth2_client_credentials", "client_id": "us", "client_secret": "hunter2", "token_url": issuer.URL}
		ep, _ = tg.register(t, h.URL, obj{"auth": oauth})
		for range 2 {
			id := tg.submit(t, ep, nil).str("id")
			tg.ends(t, id, "succeeded", "")
			if got := h.next(t).header.Get("Authorization"); got != "Bearer the-token" {
				t.Errorf("oauth2: %q", got)
			}
		}
		// The second of them met the 401 first.
		if n := len(h.deliveries()); n != 4 {
			t.Errorf("%d requests", n)
		}
		if r := tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil); strings.Contains(string(r.raw), "hunter2") {
			t.Errorf("shown: %s", r.raw)
		}
	})
}
