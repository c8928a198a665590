package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
)

func TestRotateSecret(t *testing.T) {
	w := newWorld()
	now := time.Now().UTC().Truncate(time.Second)
	c := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) { o.Now = func() time.Time { return now } }))
	rotate := func(body, shown, current, previous string, until time.Time) {
		t.Helper()
		a := c.send(t, "POST", "/v1/endpoints/emails/rotate-secret", body)
		a.wantStatus(t, 200)
		ep, stored := endpointOf(t, a), w.endpoints["emails"].SealedSecret
		if ep.Secret == nil || *ep.Secret != shown || (ep.PreviousSecretUntil == nil) != until.IsZero() {
			t.Errorf("%s: got %s", body, a.Body)
		}
		if string(stored.Current) != current || string(stored.Previous) != previous || !stored.PreviousUntil.Equal(until) {
			t.Errorf("%s: stored %s, before it %s until %s", body, stored.Current, stored.Previous, stored.PreviousUntil)
		}
	}
	day := 24 * time.Hour
	rotate("", "whsec_generated", "sealed:whsec_generated", "sealed", now.Add(day))
	rotate(`{"secret":"whsec_mine","overlap":"7d"}`, "whsec_mine", "sealed:whsec_mine", "sealed:whsec_generated", now.Add(7*day))
	rotate(`{"secret":"whsec_mine"}`, "whsec_mine", "sealed:whsec_mine", "sealed:whsec_generated", now.Add(7*day)) // a repeat
	rotate(`{"secret":"whsec_last","overlap":"0s"}`, "whsec_last", "sealed:whsec_last", "", time.Time{})
	rotate(`{}`, "whsec_generated", "sealed:whsec_generated", "sealed:whsec_last", now.Add(day))

	now = now.Add(day)
	ep := endpointOf(t, c.send(t, "GET", "/v1/endpoints/emails", ""))
	if ep.Secret != nil || ep.PreviousSecretUntil != nil {
		t.Errorf("after the overlap: %+v", ep)
	}
}

// TestSignatureSchemes: a secret has one scheme; a generated private key is
// shown to nobody, its public part to all.
func TestSignatureSchemes(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	for _, step := range []struct {
		name, method, path, body string
		secret                   string // shown
		scheme                   gen.SignatureScheme
		public                   []string
	}{
		{"default", "PUT", "e", `{"url":"https://a.example/"}`, "whsec_generated", gen.V1, nil},
		{"change", "PUT", "e", `{"url":"https://a.example/","signature":"v1a"}`, "", gen.V1a, []string{"whpk_generated"}},
		{"stays", "PUT", "e", `{"url":"https://a.example/"}`, "", gen.V1a, []string{"whpk_generated"}},
		{"own", "PATCH", "e", `{"secret":"whsk_own"}`, "whsk_own", gen.V1a, []string{"whpk_own"}},
		{"rotated", "POST", "e/rotate-secret", `{}`, "", gen.V1a, []string{"whpk_generated", "whpk_own"}},
		{"rotated to v1", "POST", "e/rotate-secret", `{"signature":"v1"}`, "whsec_generated", gen.V1, []string{"whpk_generated"}},
		{"rotated back", "POST", "e/rotate-secret", `{"signature":"v1a","secret":"whsk_x"}`, "whsk_x", gen.V1a, []string{"whpk_x"}},
		{"new with v1a", "PUT", "f", `{"url":"https://a.example/","signature":"v1a"}`, "", gen.V1a, []string{"whpk_generated"}},
	} {
		var headers []string
		if step.method == "PATCH" {
			headers = append(headers, mergePatch)
		}
		a := c.send(t, step.method, "/v1/endpoints/"+step.path, step.body, headers...)
		if a.Code > 201 {
			t.Fatalf("%s: %s", step.name, a.Body)
		}
		ep := endpointOf(t, a)
		shown := ""
		if ep.Secret != nil {
			shown = *ep.Secret
		}
		if shown != step.secret || *ep.Signature != step.scheme || !slices.Equal(ep.PublicKeys, step.public) {
			t.Errorf("%s: %s", step.name, a.Body)
		}
	}
	c.send(t, "PUT", "/v1/endpoints/e", `{"url":"https://a.example/","signature":"v1","secret":"whsk_x"}`).want(t, 422, "invalid", "/signature")
	c.send(t, "POST", "/v1/endpoints/e/rotate-secret", `{"signature":"v2"}`).want(t, 422, "invalid", "/signature")
}
