package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/client"
)

// audited counts the audit lines with all of these texts.
func (in *installation) audited(texts ...string) (n int) {
lines:
	for _, line := range in.lines() {
		for _, text := range append(texts, `"audit":true`) {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// What operators decide is audited: who, what, about what, and how it ended;
// also when a handler decides it, and when it is refused.
func TestAudit(t *testing.T) {
	t.Parallel()
	installations(t, with(), func(t *testing.T, in *installation) {
		ep := in.lasting(t, serve(t, status(410)).URL)
		in.want(t, http.StatusUnprocessableEntity, "PUT", "/v1/endpoints/"+ep, obj{"url": "nowhere"})
		in.ends(t, in.submit(t, ep, nil).str("id"), "failed", "endpoint_gone")
		made := got(in.expect(t, http.StatusCreated).CreateKeyWithResponse(t.Context(), client.KeyConfig{
			Name: "a key", Scopes: []client.Scope{"endpoints:*"},
		})).JSON201
		weak := in.as(*made.Key)
		until(t, "the key is known", func() bool { return weak.do(t, "DELETE", "/v1/endpoints/"+ep, nil).status == http.StatusNoContent })
		weak.want(t, http.StatusForbidden, "DELETE", "/v1/keys/"+made.Id, nil)
		for what, texts := range map[string][]string{
			"made":              {`"operation":"putEndpoint"`, `"target":"` + ep + `"`, `"outcome":"done"`, `"status":201`, `"project":"default"`, `"peer":"127.0.0.1"`},
			"refused":           {`"operation":"putEndpoint"`, `"target":"` + ep + `"`, `"outcome":"invalid"`, `"status":422`},
			"disabled":          {`"operation":"disableEndpoint"`, `"target":"` + ep + `"`, `"key":"handler"`, `"reason":"endpoint_gone"`},
			"a key":             {`"operation":"createKey"`, `"target":"` + made.Id + `"`, `"outcome":"done"`},
			"deleted":           {`"operation":"deleteEndpoint"`, `"target":"` + ep + `"`, `"key":"` + made.Id + `"`, `"outcome":"done"`},
			"without the right": {`"operation":"deleteKey"`, `"target":"` + made.Id + `"`, `"key":"` + made.Id + `"`, `"outcome":"forbidden"`},
		} {
			until(t, what, func() bool { return in.audited(texts...) == 1 })
		}
		if n := in.audited(`"operation":"submitTask"`); n != 0 {
			t.Errorf("%d submissions were audited", n)
		}
	})
}
