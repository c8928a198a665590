package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// issuer is an OpenID Connect issuer on a real socket.
type issuer struct {
	*httptest.Server

	mu    sync.Mutex
	keys  map[string]crypto.Signer
	away  bool
	asked int // for keys
	tried int // in vain
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{keys: map[string]crypto.Signer{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if !i.here(w, 0) {
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		if !i.here(w, 1) {
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		var set jose.JSONWebKeySet
		for kid, key := range i.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"})
		}
		// Nobody's business: what is symmetric, or for something else.
		set.Keys = append(set.Keys,
			jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "shared"},
			jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "enc", Use: "enc"})
		_ = json.NewEncoder(w).Encode(set)
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) here(w http.ResponseWriter, n int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked += n; i.away {
		i.tried++
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return !i.away
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

var (
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _    = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	otherKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
)

// claims of a good token, with changes; nil takes a claim out.
func (i *issuer) claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": i.URL, "sub": "worker@acme", "aud": "taskgate", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"taskgate_project": "acme", "scope": "openid tasks:read tasks:write",
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newTokens(t *testing.T, i *issuer, change ...func(*auth.TokenOptions)) *auth.Keys {
	t.Helper()
	opt := auth.TokenOptions{Issuer: i.URL, Audience: []string{"taskgate", "tasks"}, ProjectClaim: "taskgate_project", ScopesClaim: "scope"}
	for _, f := range change {
		f(&opt)
	}
	bootstrap, err := auth.NewAdminKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return auth.NewKeys(newStore(), bootstrap, auth.Options{Tokens: auth.NewTokens(opt)})
}

// unsigned is a token of "alg": "none".
func unsigned(t *testing.T, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","kid":"a"}`)) + "." + enc(text) + "."
}

func TestTokens(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"], i.keys["b"] = rsaKey, ecKey
	a := newTokens(t, i)
	rs := func(changes map[string]any) string { return sign(t, jose.RS256, rsaKey, "a", i.claims(changes)) }
	good := rs(nil)
	parts := strings.Split(good, ".")
	public := []byte(fmt.Sprint(rsaKey.PublicKey))
	for n, c := range []struct {
		name, token string
		code        task.Code
	}{
		{"good", good, ""},
		{"of another key of the issuer", sign(t, jose.ES256, ecKey, "b", i.claims(nil)), ""},
		{"one audience of several", rs(map[string]any{"aud": []string{"x", "tasks"}}), ""},
		{"just expired, by a clock ahead", rs(map[string]any{"exp": time.Now().Add(-10 * time.Second).Unix()}), ""},
		{"good from soon on, by a clock behind", rs(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()}), ""},

		{"unsigned", unsigned(t, i.claims(nil)), auth.CodeUnauthenticated},
		{"signature cut off", parts[0] + "." + parts[1] + ".", auth.CodeUnauthenticated},
		{"by a shared secret", sign(t, jose.HS256, []byte("0123456789abcdef0123456789abcdef"), "shared", i.claims(nil)), auth.CodeUnauthenticated},
		{"by the public key as a secret", sign(t, jose.HS256, append(public, make([]byte, 64)...), "a", i.claims(nil)), auth.CodeUnauthenticated},
		{"by a stranger under a known name", sign(t, jose.ES256, otherKey, "b", i.claims(nil)), auth.CodeUnauthenticated},
		{"by a stranger", sign(t, jose.ES256, otherKey, "c", i.claims(nil)), auth.CodeUnauthenticated},
		{"by a key for something else", sign(t, jose.RS256, rsaKey, "enc", i.claims(nil)), auth.CodeUnauthenticated},
		{"changed", parts[0] + "." + strings.Split(rs(map[string]any{"sub": "x"}), ".")[1] + "." + parts[2], auth.CodeUnauthenticated},
		{"of another issuer", rs(map[string]any{"iss": "https://login.example.com"}), auth.CodeUnauthenticated},
		{"of no issuer", rs(map[string]any{"iss": nil}), auth.CodeUnauthenticated},
		{"for another service", rs(map[string]any{"aud": "other"}), auth.CodeUnauthenticated},
		{"for nobody", rs(map[string]any{"aud": nil}), auth.CodeUnauthenticated},
		{"expired", rs(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), auth.CodeUnauthenticated},
		{"without an end", rs(map[string]any{"exp": nil}), auth.CodeUnauthenticated},
		{"not good yet", rs(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), auth.CodeUnauthenticated},
		{"of nobody", rs(map[string]any{"sub": nil}), auth.CodeUnauthenticated},
		{"too long", rs(map[string]any{"more": strings.Repeat("x", 8<<10)}), auth.CodeUnauthenticated},
		{"no token", "a.b.c", auth.CodeUnauthenticated},
		{"dots", "..", auth.CodeUnauthenticated},

		{"without a project", rs(map[string]any{"taskgate_project": nil}), auth.CodeForbidden},
		{"with two projects", rs(map[string]any{"taskgate_project": []string{"a", "b"}}), auth.CodeForbidden},
	} {
		p, err := a.Authenticate(request(t.Context(), c.token), client(n))
		if task.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "acme") {
			t.Errorf("%s: tells what is in the token: %v", c.name, err)
		}
		if c.code == "" && (p.Project != "acme" || !p.Can("tasks:read") || p.Can("endpoints:read") || p.Admin() || p.KeyID != "oidc:worker@acme" || p.ExpiresAt.IsZero()) {
			t.Errorf("%s: %+v", c.name, p)
		}
		if c.code != "" && len(p.Scopes) > 0 {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	if _, err := a.Authenticate(request(t.Context(), key), client(1000)); err != nil {
		t.Errorf("keys work beside tokens: %v", err)
	}
	if i.asked > 2 {
		t.Errorf("the issuer was asked %d times", i.asked)
	}
}

// A bootstrap key that looks like a token is the bootstrap key all the same.
func TestBootstrapKeyWithDots(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"] = rsaKey
	const dotted = "tg_people.choose.such-keys"
	bootstrap, err := auth.NewAdminKey(dotted)
	if err != nil {
		t.Fatal(err)
	}
	a := auth.NewKeys(newStore(), bootstrap, auth.Options{Tokens: auth.NewTokens(auth.TokenOptions{Issuer: i.URL, Audience: []string{"taskgate"}})})
	if p, err := a.Authenticate(request(t.Context(), dotted), netip.Addr{}); err != nil || !p.Admin() {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := a.Authenticate(request(t.Context(), dotted+"x"), netip.Addr{}); task.CodeOf(err) != auth.CodeUnauthenticated {
		t.Error(err)
	}
}

func TestTokensWithoutIssuer(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"] = rsaKey
	a := newKeys(t, newStore())
	if _, err := a.Authenticate(request(t.Context(), sign(t, jose.RS256, rsaKey, "a", i.claims(nil))), netip.Addr{}); task.CodeOf(err) != auth.CodeUnauthenticated {
		t.Errorf("a token where none are taken: %v", err)
	}
}

func TestTokenScopes(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"] = rsaKey
	for name, c := range map[string]struct {
		scopes any
		claim  string
		prefix string
		admin  bool
		want   []auth.Scope
	}{
		"words":             {"tasks:read  keys:*", "scope", "", false, []auth.Scope{"tasks:read", "keys:*"}},
		"a list":            {[]any{"tasks:read", 7, "endpoints:*"}, "scope", "", false, []auth.Scope{"tasks:read", "endpoints:*"}},
		"unknown ones":      {"openid tasks:delete * tasks: TASKS:READ", "scope", "", false, nil},
		"a prefix":          {"tasks:write taskgate:tasks:read", "scope", "taskgate:", false, []auth.Scope{"tasks:read"}},
		"admin":             {"admin tasks:read", "scope", "", false, []auth.Scope{"tasks:read"}},
		"admin, prefixed":   {"taskgate:admin", "scope", "taskgate:", false, nil},
		"admin, allowed":    {"admin", "scope", "", true, []auth.Scope{"admin"}},
		"none":              {nil, "scope", "", true, nil},
		"an object":         {map[string]any{"admin": true}, "scope", "", true, nil},
		"a path":            {map[string]any{"taskgate": map[string]any{"roles": []any{"tasks:read"}}}, "scope.taskgate.roles", "", false, []auth.Scope{"tasks:read"}},
		"a path to nowhere": {map[string]any{"taskgate": "tasks:read"}, "scope.taskgate.roles", "", false, nil},
	} {
		a := newTokens(t, i, func(o *auth.TokenOptions) { o.ScopesClaim, o.ScopesPrefix, o.Admin = c.claim, c.prefix, c.admin })
		p, err := a.Authenticate(request(t.Context(), sign(t, jose.RS256, rsaKey, "a", i.claims(map[string]any{"scope": c.scopes}))), netip.Addr{})
		if err != nil || !slices.Equal(p.Scopes, c.want) {
			t.Errorf("%s: %v, %v", name, p.Scopes, err)
		}
	}
	a := newTokens(t, i, func(o *auth.TokenOptions) { o.ProjectClaim = "https://taskgate.example.com/project" })
	p, err := a.Authenticate(request(t.Context(), sign(t, jose.RS256, rsaKey, "a", i.claims(map[string]any{
		"https://taskgate.example.com/project": "other", "sub": "a\nb" + strings.Repeat("x", 300),
	}))), netip.Addr{})
	if err != nil || p.Project != "other" || strings.ContainsAny(p.KeyID, "\n") || len(p.KeyID) > 140 {
		t.Errorf("a claim with dots in its name: %+v, %v", p, err)
	}
}

// TestTokensOfRotatedKeys: a new key of the issuer is found, and whoever sends
// tokens of unknown ones cannot have the issuer asked at will.
func TestTokensOfRotatedKeys(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"] = rsaKey
	a := newTokens(t, i)
	try := func(kid string, key crypto.Signer, from int) error {
		alg := jose.ES256
		if key == crypto.Signer(rsaKey) {
			alg = jose.RS256
		}
		_, err := a.Authenticate(request(t.Context(), sign(t, alg, key, kid, i.claims(nil))), client(from))
		return err
	}
	if err := try("a", rsaKey, 0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			if err := try(fmt.Sprintf("unknown-%d", n), otherKey, n); task.CodeOf(err) != auth.CodeUnauthenticated {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	i.set(func() {
		if i.asked > 2 { // one more if ten seconds have passed meanwhile
			t.Errorf("the issuer was asked %d times", i.asked)
		}
		delete(i.keys, "a")
		i.keys["b"] = ecKey
	})
	// The next look, by whoever makes it, finds the new key.
	for deadline := time.Now().Add(time.Minute); ; {
		err := try("b", ecKey, 1000)
		if err == nil {
			break
		}
		if code := task.CodeOf(err); code != auth.CodeUnauthenticated && code != auth.CodeTooManyFailures || time.Now().After(deadline) {
			t.Fatal(err)
		}
		pauseFor(t, 100*time.Millisecond)
	}
	if err := try("a", rsaKey, 2000); task.CodeOf(err) != auth.CodeUnauthenticated {
		t.Errorf("a key that the issuer has no more: %v", err)
	}
}

func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// TestTokensWhileTheIssuerIsAway: keys work, tokens get 503 until the issuer
// answers; after that they are good without it.
func TestTokensWhileTheIssuerIsAway(t *testing.T) {
	i := newIssuer(t)
	i.keys["a"], i.away = rsaKey, true
	tokens := auth.NewTokens(auth.TokenOptions{Issuer: i.URL, Audience: []string{"taskgate"}, ProjectClaim: "taskgate_project", ScopesClaim: "scope"})
	bootstrap, _ := auth.NewAdminKey(key)
	a := auth.NewKeys(newStore(), bootstrap, auth.Options{Tokens: tokens})
	token := sign(t, jose.RS256, rsaKey, "a", i.claims(nil))
	try := func(text string) task.Code {
		_, err := a.Authenticate(request(t.Context(), text), netip.MustParseAddr("192.0.2.1"))
		return task.CodeOf(err)
	}
	for range 100 {
		if got := try(token); got != task.CodeUnavailable {
			t.Fatalf("a token while the issuer is away: %s", got)
		}
	}
	if got := try(key); got != "" {
		t.Errorf("a key while the issuer is away: %s", got)
	}
	i.set(func() {
		if i.away = false; i.tried > 3 { // one each two seconds
			t.Errorf("100 tokens had the issuer asked %d times in vain", i.tried)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tokens.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); try(token) != ""; pauseFor(t, 10*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("tokens are not taken again")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	i.Close()
	if got := try(token); got != "" {
		t.Errorf("a token of a known key while the issuer is away: %s", got)
	}
}
