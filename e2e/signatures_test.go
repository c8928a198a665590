package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/nodetest"
)

// verifyJS verifies a delivery as a receiver in Node would: v1 by the official
// package, which passes over the signatures of other schemes, and v1a, which
// the package does not know, by Node's own crypto. It prints what verified.
const verifyJS = `
import { createPublicKey, verify } from "node:crypto";
import { Webhook } from "standardwebhooks";

const { secret, publics, headers, body } = JSON.parse(process.argv[2]);
const bytes = Buffer.from(body, "base64");
const out = [];
try {
  if (secret) { new Webhook(secret).verify(bytes.toString("utf8"), headers); out.push("v1"); }
} catch (e) { out.push("not v1: " + e.message); }
const signed = Buffer.concat([Buffer.from(headers["webhook-id"] + "." + headers["webhook-timestamp"] + "."), bytes]);
for (const text of publics ?? []) {
  const raw = Buffer.from(text.replace(/^whpk_/, ""), "base64");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  const good = headers["webhook-signature"].split(" ").some((given) =>
    given.startsWith("v1a,") && verify(null, signed, key, Buffer.from(given.slice(4), "base64")));
  out.push(good ? "v1a" : "not v1a");
}
console.log(out.join(" "));
`

type jsVerifier struct{ program string }

func newJSVerifier(t *testing.T) jsVerifier {
	t.Helper()
	nodetest.Need(t)
	p, err := nodetest.NewProject(map[string]string{"verify.mjs": verifyJS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(p.Dir) })
	return jsVerifier{filepath.Join(p.Dir, "verify.mjs")}
}

func (v jsVerifier) says(t *testing.T, d delivery, secret string, publics ...string) string {
	t.Helper()
	text, err := json.Marshal(obj{
		"secret": secret, "publics": publics, "body": d.body, "headers": obj{
			"webhook-id": d.header.Get("Webhook-Id"), "webhook-timestamp": d.header.Get("Webhook-Timestamp"),
			"webhook-signature": d.header.Get("Webhook-Signature"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", v.program, string(text))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// A project's callbacks change from a shared secret to a key pair, and from
// that to another: while the secrets overlap both schemes stand side by side
// in one header, and receivers in Go and JavaScript take them by the official
// libraries, each by what it has.
func TestCallbackSignaturesWhileSchemesChange(t *testing.T) {
	t.Parallel()
	js := newJSVerifier(t)
	targets(t, func(t *testing.T, tg *target) {
		project := "p" + namespace()
		secret := tg.want(t, http.StatusCreated, "PUT", "/v1/projects/"+project, obj{}).obj.str("secret")
		_, own := tg.newKey(t, obj{"project": project, "scopes": []string{"tasks:*", "endpoints:*"}})
		work, hook := serve(t, status(200)), serve(t, status(204))
		ep, _ := own.register(t, work.URL, nil)
		called := func() delivery {
			own.submit(t, ep, obj{"callback": obj{"url": hook.URL}})
			return hook.next(t)
		}
		// signedAs waits for a callback that has these schemes: dispatchers
		// learn of a rotation in a moment.
		signedAs := func(what string, schemes ...string) (d delivery) {
			until(t, what, func() bool {
				d = called()
				var have []string
				for field := range strings.FieldsSeq(d.header.Get("Webhook-Signature")) {
					scheme, _, _ := strings.Cut(field, ",")
					have = append(have, scheme)
				}
				return slices.Equal(have, schemes)
			})
			return d
		}
		rotate := func(body obj) (publics []string) {
			shown := own.want(t, http.StatusOK, "POST", "/v1/callback-secret/rotate", body).obj
			list, _ := shown["public_keys"].([]any)
			for _, one := range list {
				text, _ := one.(string)
				publics = append(publics, text)
			}
			if shown.str("secret") != "" {
				t.Error("a generated private key is shown")
			}
			return publics
		}

		d := signedAs("v1 signs", "v1")
		verify(t, secret, d)
		if got := js.says(t, d, secret); got != "v1" {
			t.Errorf("v1 in JavaScript: %s", got)
		}

		first := rotate(obj{"signature": "v1a", "overlap": "1h"})
		if len(first) != 1 {
			t.Fatalf("public keys %v", first)
		}
		d = signedAs("both schemes sign", "v1a", "v1")
		verify(t, secret, d) // the official library passes over what it does not know
		if !signedBy(t, d, first[0]) {
			t.Errorf("v1a in Go: %q", d.header.Get("Webhook-Signature"))
		}
		if got := js.says(t, d, secret, first[0]); got != "v1 v1a" {
			t.Errorf("both in JavaScript: %s", got)
		}
		spoiled := d
		spoiled.body = append(slices.Clone(d.body), ' ')
		if got := js.says(t, spoiled, secret, first[0]); !strings.HasPrefix(got, "not v1: ") || !strings.HasSuffix(got, "not v1a") || signedBy(t, spoiled, first[0]) {
			t.Errorf("of a spoiled body: %s", got)
		}

		second := rotate(obj{"overlap": "1h"}) // as the present one
		if len(second) != 2 || second[1] != first[0] {
			t.Fatalf("public keys %v, before %v", second, first)
		}
		d = signedAs("both pairs sign", "v1a", "v1a")
		if got := js.says(t, d, "", second...); got != "v1a v1a" || !signedBy(t, d, second[0]) || !signedBy(t, d, second[1]) {
			t.Errorf("two pairs: %s", got)
		}

		// Whoever may see the project is served the keys.
		shown := tg.want(t, http.StatusOK, "GET", "/v1/projects/"+project, nil).obj
		if list, _ := shown["public_keys"].([]any); len(list) != 2 || list[0] != second[0] {
			t.Errorf("the project shows %v, want %v", shown["public_keys"], second)
		}

		last := rotate(obj{"signature": "v1a", "overlap": "0s"})
		d = signedAs("one pair signs", "v1a")
		if len(last) != 1 || !signedBy(t, d, last[0]) || signedBy(t, d, second[0]) {
			t.Errorf("without an overlap: %v", last)
		}
	})
}
