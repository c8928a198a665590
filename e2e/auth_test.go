package e2e_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// TestTargetsKnowTheirCallers: what a target asks for is sent, never shown,
// and a token that was refused is replaced within the attempt.
func TestTargetsKnowTheirCallers(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		script := []answer{status(200), status(200), status(401), status(200)}
		h := serve(t, script...)
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

// TestKeyPairs: with v1a a handler needs nothing secret to know who calls.
func TestKeyPairs(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		ep, _ := tg.register(t, h.URL, obj{"signature": "v1a"})
		first := publicKeys(t, tg, ep)
		tg.submit(t, ep, obj{"payload": 1})
		d := h.next(t)
		if !signedBy(t, d, first[0]) {
			t.Errorf("signature %q", d.header.Get("Webhook-Signature"))
		}
		tg.want(t, 200, "POST", "/v1/endpoints/"+ep+"/rotate-secret", nil)
		both := publicKeys(t, tg, ep)
		if len(both) != 2 || both[1] != first[0] {
			t.Fatalf("after the rotation: %v", both)
		}
		until(t, "both keys sign", func() bool {
			tg.submit(t, ep, obj{"payload": 2})
			d := h.next(t)
			return signedBy(t, d, both[0]) && signedBy(t, d, both[1])
		})
	})
}

func publicKeys(t *testing.T, tg *target, ep string) (keys []string) {
	t.Helper()
	list, _ := tg.want(t, 200, "GET", "/v1/endpoints/"+ep, nil).obj["public_keys"].([]any)
	for _, k := range list {
		key, _ := k.(string)
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		t.Fatal("no public key")
	}
	return keys
}

func signedBy(t *testing.T, d delivery, public string) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		t.Fatalf("public key %q: %v", public, err)
	}
	signed := d.header.Get("Webhook-Id") + "." + d.header.Get("Webhook-Timestamp") + "." + string(d.body)
	for field := range strings.FieldsSeq(d.header.Get("Webhook-Signature")) {
		text, ok := strings.CutPrefix(field, "v1a,")
		sig, err := base64.StdEncoding.DecodeString(text)
		if ok && err == nil && ed25519.Verify(key, []byte(signed), sig) {
			return true
		}
	}
	return false
}
