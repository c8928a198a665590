package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

// newPair makes a certificate and its key, in PEM as they stand in JSON.
func newPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		j, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(string(j), `"`)
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", keyDER)
}

func TestEndpointAuth(t *testing.T) {
	cert, key := newPair(t)
	_, foreignKey := newPair(t)
	for _, c := range []struct {
		name, auth string
		faults     []string // none: it is taken
	}{
		{"none", `{"type":"none"}`, nil},
		{"basic", `{"type":"basic","username":"u","password":"hunter2"}`, nil},
		{"bearer", `{"type":"bearer","token":"hunter2=="}`, nil},
		{"oauth2", `{"type":"oauth2_client_credentials","client_id":"c","client_secret":"hunter2","token_url":"https://a.example/t","scopes":["a"],"audience":"x"}`, nil},
		{"mtls", `{"type":"mtls","certificate":"` + cert + `","private_key":"` + key + `","ca":"` + cert + `"}`, nil},
		{"none with its own ca", `{"type":"none","ca":"` + cert + `"}`, nil},

		{"no type", `{}`, []string{"/auth/type"}},
		{"unknown type", `{"type":"digest"}`, []string{"/auth/type"}},
		{"unknown field", `{"type":"none","realm":"x"}`, []string{"/auth/realm"}},
		{"nothing given", `{"type":"basic"}`, []string{"/auth/username"}},
		{"no secret", `{"type":"basic","username":"u"}`, []string{"/auth/password"}},
		{"no token", `{"type":"bearer"}`, []string{"/auth/token"}},
		{"of another type", `{"type":"bearer","token":"x","username":"u","scopes":["a"]}`, []string{"/auth/scopes", "/auth/username"}},
		{"bad basic", `{"type":"basic","username":"a:b","password":"a\nb"}`, []string{"/auth/password", "/auth/username"}},
		{"bad token", `{"type":"bearer","token":"hunter2\r\nX: y"}`, []string{"/auth/token"}},
		{"bad oauth2", `{"type":"oauth2_client_credentials","client_id":"c","client_secret":"s","token_url":"http://127.0.0.1/","scopes":["a b"]}`, []string{"/auth/scopes", "/auth/token_url"}},
		{"bad pem", `{"type":"mtls","certificate":"x","private_key":"hunter2","ca":"x"}`, []string{"/auth/ca", "/auth/certificate"}},
		{"foreign key", `{"type":"mtls","certificate":"` + cert + `","private_key":"` + foreignKey + `"}`, []string{"/auth/private_key"}},
		{"key as certificate", `{"type":"mtls","certificate":"` + key + `","private_key":"` + key + `"}`, []string{"/auth/certificate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			cl := newClient(t, w.server(t))
			a := cl.send(t, "PUT", "/v1/endpoints/new", `{"url":"https://a.example/","auth":`+c.auth+`}`)
			if len(c.faults) > 0 {
				a.want(t, 422, "invalid", c.faults...)
				if _, made := w.endpoints["new"]; made {
					t.Error("made all the same")
				}
			} else {
				a.wantStatus(t, 201)
			}
			for _, secret := range []string{"hunter2", key, foreignKey} {
				if strings.Contains(a.Body.String(), secret) || strings.Contains(w.logged.String(), secret) {
					t.Errorf("a secret is shown: %s", a.Body)
				}
			}
		})
	}
}

// TestEndpointAuthIsKept: what is not shown need not be given again.
func TestEndpointAuthIsKept(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	basic := func(user, sealed string) *task.TargetAuth {
		return &task.TargetAuth{Type: task.AuthBasic, Username: user, Sealed: []byte("sealed:" + sealed)}
	}
	for _, step := range []struct {
		name, method, body string
		want               *task.TargetAuth
	}{
		{"made", "PUT", `{"url":"https://a.example/","auth":{"type":"basic","username":"u","password":"one"}}`, basic("u", "one")},
		{"put as shown", "PUT", `{"url":"https://a.example/","auth":{"type":"basic","username":"v"}}`, basic("v", "one")},
		{"another field", "PATCH", `{"timeout":"5s"}`, basic("v", "one")},
		{"new password", "PATCH", `{"auth":{"password":"two"}}`, basic("v", "two")},
		{"new name", "PATCH", `{"auth":{"username":"w"}}`, basic("w", "two")},
		{"same type", "PATCH", `{"auth":{"type":"basic"}}`, basic("w", "two")},
		{"another type", "PATCH", `{"auth":{"type":"bearer","token":"t"}}`, &task.TargetAuth{Type: task.AuthBearer, Sealed: []byte("sealed:t")}},
		{"none", "PATCH", `{"auth":null}`, nil},
		{"put without", "PUT", `{"url":"https://a.example/"}`, nil},
	} {
		if step.method == "PATCH" {
			c.send(t, step.method, "/v1/endpoints/e", step.body, mergePatch).wantStatus(t, 200)
		} else if a := c.send(t, step.method, "/v1/endpoints/e", step.body); a.Code > 201 {
			t.Fatalf("%s: %s", step.name, a.Body)
		}
		if diff := cmp.Diff(step.want, w.endpoints["e"].Auth); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
	c.send(t, "PATCH", "/v1/endpoints/e", `{"auth":{"type":"basic","username":"u"}}`, mergePatch).want(t, 422, "invalid", "/auth/password")
}
