package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// unknownEvery is how often a token with an unknown key has the issuer's
	// keys read, whoever sends them and how many.
	unknownEvery = 10 * time.Second
	// failedEvery is the same after the keys could not be read.
	failedEvery = 2 * time.Second
	issuerTime  = 5 * time.Second // for both requests together
	maxIssuer   = 1 << 20         // bytes of one answer
	maxKeys     = 100
	// keysGood is how long the keys are used while they cannot be read again.
	keysGood = 24 * time.Hour
)

var errSignature = errors.New("not signed by a key of the issuer")

// keySet has the keys of an issuer. Unlike with the library's own, what
// anybody sends cannot make it ask the issuer at will.
type keySet struct {
	issuer string
	client *http.Client

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	readAt  time.Time // of keys
	from    string    // where they are, "" until the issuer has told
	reading *reading  // the latest, nil for none
}

// reading is one look at the issuer's keys, shared by all who want it.
type reading struct {
	begin time.Time
	done  chan struct{}
	err   error // once done
}

func newKeySet(issuer string, roots *x509.CertPool) *keySet {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: issuerTime}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: issuerTime, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}
	return &keySet{issuer: issuer, client: &http.Client{
		Transport: bounded{transport}, Timeout: issuerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// bounded cuts off what is longer than any good answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxIssuer), resp.Body}
	}
	return resp, err
}

// verified returns what a token says when a key of the issuer has signed it,
// errSignature when none has, or why that is not known.
func (k *keySet) verified(ctx context.Context, jwt string) ([]byte, error) {
	allowed := make([]jose.SignatureAlgorithm, len(signers))
	for i, alg := range signers {
		allowed[i] = jose.SignatureAlgorithm(alg)
	}
	jws, err := jose.ParseSigned(jwt, allowed)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errSignature
	}
	kid := jws.Signatures[0].Header.KeyID
	payload, known := k.verify(jws, kid)
	if payload != nil || known {
		return payload, unless(payload, errSignature)
	}
	if err := k.read(ctx, unknownEvery); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, issuerAway(err)
	}
	payload, _ = k.verify(jws, kid)
	return payload, unless(payload, errSignature)
}

func unless(payload []byte, err error) error {
	if payload != nil {
		return nil
	}
	return err
}

// verify returns what a key at hand has signed, or whether there is one of
// that name at all.
func (k *keySet) verify(jws *jose.JSONWebSignature, kid string) (payload []byte, known bool) {
	k.mu.Lock()
	keys, good := k.keys, time.Since(k.readAt) < keysGood
	k.mu.Unlock()
	for i := range keys {
		if !good || kid != "" && keys[i].KeyID != kid {
			continue
		}
		known = known || kid != ""
		if payload, err := jws.Verify(&keys[i]); err == nil && payload != nil {
			return payload, true
		}
	}
	return nil, known
}

// read reads the keys, or waits for who does. Keys that were read within the
// time fresh are good enough, and so is having failed a moment ago.
func (k *keySet) read(ctx context.Context, fresh time.Duration) error {
	k.mu.Lock()
	r := k.reading
	if r == nil || r.stale(fresh) {
		r = &reading{begin: time.Now(), done: make(chan struct{})}
		k.reading = r
		k.mu.Unlock()
		// Others wait for it: it goes on when its caller leaves.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issuerTime)
		defer cancel()
		r.err = k.fetch(ctx)
		close(r.done)
		return r.err
	}
	k.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stale reports whether a reading is over and too old to stand for a new one.
func (r *reading) stale(fresh time.Duration) bool {
	select {
	case <-r.done:
	default:
		return false
	}
	if r.err != nil {
		fresh = min(fresh, failedEvery)
	}
	return time.Since(r.begin) >= fresh
}

// fetch asks the issuer where its keys are, once, and reads them.
func (k *keySet) fetch(ctx context.Context) error {
	k.mu.Lock()
	from := k.from
	k.mu.Unlock()
	if from == "" {
		var err error
		if from, err = k.discover(ctx); err != nil {
			return err
		}
	}
	keys, err := k.fetchKeys(ctx, from)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.from = "" // they may have moved
		return err
	}
	k.keys, k.readAt, k.from = keys, time.Now(), from
	return nil
}

func (k *keySet) discover(ctx context.Context) (string, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return "", err
	}
	var found struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&found); err != nil {
		return "", err
	}
	issuer, _ := url.Parse(k.issuer)
	at, err := url.Parse(found.JWKS)
	if err != nil || issuer == nil || at.Host == "" || at.Scheme != "https" && at.Scheme != issuer.Scheme {
		return "", fmt.Errorf("its keys are at no good URL: %q", found.JWKS)
	}
	return found.JWKS, nil
}

func (k *keySet) fetchKeys(ctx context.Context, from string) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys are answered with status %d", resp.StatusCode)
	}
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, fmt.Errorf("read its keys: %w", err)
	}
	keys := slices.DeleteFunc(set.Keys, func(key jose.JSONWebKey) bool {
		return !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig"
	})
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys that can verify; want 1 to %d", len(keys), maxKeys)
	}
	return keys, nil
}
