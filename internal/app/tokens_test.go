package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/app"
)

// issuer is an OpenID Connect issuer of one key, and may be away.
type issuer struct {
	*httptest.Server

	key  *ecdsa.PrivateKey
	away atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
		var doc any = map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL, "token_endpoint": i.URL}
		if r.URL.Path == "/keys" {
			doc = map[string]any{"keys": []any{map[string]string{
				"kty": "EC", "crv": "P-256", "use": "sig", "kid": "k", "x": number(i.key.X), "y": number(i.key.Y),
			}}}
		}
		if i.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(doc)
	}))
	t.Cleanup(i.Close)
	return i
}

// token is one of the issuer's for that project and these scopes.
func (i *issuer) token(t *testing.T, project, scopes string) string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	claims, err := json.Marshal(map[string]any{
		"iss": i.URL, "sub": "ada", "aud": "taskgate", "exp": time.Now().Add(time.Hour).Unix(), "taskgate_project": project, "scope": scopes,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := enc([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + enc(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + enc(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// TestTokensOfAnIssuer: that it is away stops neither the start nor keys; its
// tokens act in their project, and the audit log names whose they are.
func TestTokensOfAnIssuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.away.Store(true)
	log := newOutput()
	a, err := app.New(load(t, "TASKGATE_OIDC_ISSUER="+i.URL, "TASKGATE_OIDC_AUDIENCE=taskgate"), app.Options{Logs: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	base := "http://" + a.Addr() + "/v1/"
	good := i.token(t, "default", "tasks:read endpoints:write admin")
	if status, text := call(t, "GET", base+"tasks", good, "", nil); status != 503 {
		t.Errorf("a token while the issuer is away: %d %s", status, text)
	}
	if status, text := call(t, "GET", base+"tasks", bootstrapKey, "", nil); status != 200 {
		t.Errorf("a key while the issuer is away: %d %s", status, text)
	}
	i.away.Store(false)
	for deadline := time.After(limit); ; {
		if status, _ := call(t, "GET", base+"tasks", good, "", nil); status == 200 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the issuer is not found again")
		case <-time.After(50 * time.Millisecond):
		}
	}
	for path, want := range map[string]int{"tasks": 200, "projects": 403, "keys": 403} {
		if status, text := call(t, "GET", base+path, good, "", nil); status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text := call(t, "GET", base+"tasks", i.token(t, "nowhere", "tasks:read"), "", nil); status != 403 {
		t.Errorf("a project that is not there: %d %s", status, text)
	}
	if status, text := call(t, "PUT", base+"endpoints/e", good, `{"url":"https://a.example.com/"}`, nil); status != 201 {
		t.Errorf("a change: %d %s", status, text)
	}
	log.wait(t, `"operation":"putEndpoint"`)
	if !strings.Contains(log.String(), `"key":"oidc:ada"`) || strings.Contains(log.String(), good) {
		t.Errorf("log: %s", log)
	}
}
