package api_test

import (
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
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
