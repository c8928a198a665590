package dispatch

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/taskgate/taskgate/internal/task"
)

// maxTargets bounds how many endpoints' certificates and tokens are held.
const maxTargets = 1000

// tokenLeeway is how long before its end an access token is replaced.
const tokenLeeway = 30 * time.Second

// targets are the endpoints whose targets want to know their callers, each
// with what it takes, opened once and kept until its endpoint changes.
type targets struct {
	open   func(ep *task.Endpoint) (task.TargetSecret, error)
	shared *target // of all others
	base   *http.Transport

	mu   sync.Mutex
	byID map[task.EndpointID]*target
}

// target is how one endpoint's requests are made.
type target struct {
	version   [sha256.Size]byte // of the configuration it was made of
	client    *http.Client
	transport *http.Transport // its own; nil when it shares the usual one
	header    string          // of Authorization, "" for none
	tokens    *tokens         // of OAuth 2; nil without
}

// of returns the target of an endpoint.
func (ts *targets) of(ep *task.Endpoint) (*target, error) {
	if ep.Auth == nil || ep.Auth.Type == task.AuthNone && ep.Auth.CA == "" {
		return ts.shared, nil
	}
	text, err := json.Marshal(ep.Auth)
	if err != nil {
		return nil, fmt.Errorf("encode endpoint's auth: %w", err)
	}
	version := sha256.Sum256(text)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.byID[ep.ID()]; t != nil && t.version == version {
		return t, nil
	}
	t, err := ts.make(ep)
	if err != nil {
		return nil, err
	}
	t.version = version
	ts.forget(ep.ID())
	if len(ts.byID) >= maxTargets {
		for id := range ts.byID { // any: it is made again when it is needed
			ts.forget(id)
			break
		}
	}
	ts.byID[ep.ID()] = t
	return t, nil
}

func (ts *targets) forget(id task.EndpointID) {
	if t := ts.byID[id]; t != nil && t.transport != nil {
		t.transport.CloseIdleConnections()
	}
	delete(ts.byID, id)
}

func (ts *targets) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for id := range ts.byID {
		ts.forget(id)
	}
}

var errNoOpener = errors.New("nothing opens the secrets of endpoints")

func (ts *targets) make(ep *task.Endpoint) (*target, error) {
	a := ep.Auth
	var secret task.TargetSecret
	if a.Type != task.AuthNone {
		if ts.open == nil {
			return nil, errNoOpener
		}
		var err error
		if secret, err = ts.open(ep); err != nil {
			return nil, err
		}
	}
	t := &target{client: ts.shared.client}
	if err := ts.connect(t, a, secret); err != nil {
		return nil, err
	}
	switch a.Type {
	case task.AuthNone, task.AuthMTLS:
	case task.AuthBasic:
		t.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+secret.Password))
	case task.AuthBearer:
		t.header = "Bearer " + secret.Token
	case task.AuthOAuth2:
		t.tokens = newTokens(a, secret, t.client)
	default:
		return nil, fmt.Errorf("unknown type of auth %q", a.Type)
	}
	return t, nil
}

// connect gives the target a transport of its own if its certificates differ
// from the usual.
func (ts *targets) connect(t *target, a *task.TargetAuth, secret task.TargetSecret) error {
	if a.CA == "" && a.Type != task.AuthMTLS {
		return nil
	}
	own := ts.base.Clone()
	if a.CA != "" {
		roots, err := withRoots(own.TLSClientConfig.RootCAs, a.CA)
		if err != nil {
			return err
		}
		own.TLSClientConfig.RootCAs = roots
	}
	if a.Type == task.AuthMTLS {
		pair, err := tls.X509KeyPair([]byte(a.Certificate), []byte(secret.PrivateKey))
		if err != nil {
			return errors.New("the client certificate and its key do not fit") // its text may quote the key
		}
		own.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	t.transport, t.client = own, newClient(own)
	return nil
}

func withRoots(roots *x509.CertPool, pem string) (*x509.CertPool, error) {
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
	} else {
		roots = roots.Clone()
	}
	if !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, errNoCertificate
	}
	return roots, nil
}

// authorize sets what the target wants to see. fresh asks for a new token.
func (t *target) authorize(ctx context.Context, h http.Header, fresh bool) error {
	value := t.header
	if t.tokens != nil {
		token, err := t.tokens.get(ctx, fresh)
		if err != nil {
			return err
		}
		value = token
	}
	if value != "" {
		h.Set("Authorization", value)
	}
	return nil
}

// renews reports whether a new token may help.
func (t *target) renews() bool { return t.tokens != nil }

// tokens are one endpoint's access tokens, by client credentials (RFC 6749,
// section 4.4). One is asked for at a time; all attempts share it.
type tokens struct {
	config clientcredentials.Config
	client *http.Client

	turn    chan struct{} // held by who asks
	mu      sync.Mutex
	present *oauth2.Token
}

func newTokens(a *task.TargetAuth, secret task.TargetSecret, client *http.Client) *tokens {
	more := url.Values{}
	if a.Audience != "" {
		more.Set("audience", a.Audience)
	}
	return &tokens{
		config: clientcredentials.Config{
			ClientID: a.ClientID, ClientSecret: secret.ClientSecret, TokenURL: a.TokenURL, Scopes: a.Scopes, EndpointParams: more,
		},
		client: client, turn: make(chan struct{}, 1),
	}
}

// get returns the header's value. fresh: the present token was refused.
func (ts *tokens) get(ctx context.Context, fresh bool) (string, error) {
	refused := ts.current()
	if refused != nil && !fresh {
		return credential(refused), nil
	}
	select {
	case ts.turn <- struct{}{}:
		defer func() { <-ts.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if now := ts.current(); now != nil && now != refused {
		return credential(now), nil // another attempt was faster
	}
	token, err := ts.config.Token(context.WithValue(ctx, oauth2.HTTPClient, ts.client))
	if err != nil {
		return "", err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.present = token
	return credential(token), nil
}

func credential(t *oauth2.Token) string { return t.Type() + " " + t.AccessToken }

// current is the token in use, nil when there is none or it ends soon.
func (ts *tokens) current() *oauth2.Token {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.present == nil || !ts.present.Expiry.IsZero() && time.Until(ts.present.Expiry) < tokenLeeway {
		return nil
	}
	return ts.present
}

// tokenReason is why there is no token: what stops every request says so.
func tokenReason(ctx context.Context, err error) task.Reason {
	switch why := classify(err, context.Cause(ctx), nil); why {
	case task.ReasonBlockedAddress, task.ReasonCancelled, task.ReasonShutdown, task.ReasonTimeout:
		return why
	default:
		return task.ReasonTargetAuth
	}
}

// withoutBody drops the token endpoint's answer from an error: it may hold
// anything.
func withoutBody(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil {
		return fmt.Errorf("the token endpoint answered %d", refused.Response.StatusCode)
	}
	if is[*url.Error](err) {
		return bare(err)
	}
	return errors.New("the token endpoint's answer has no token")
}
