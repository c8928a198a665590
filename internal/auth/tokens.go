package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/taskgate/taskgate/internal/task"
)

const (
	// maxToken is the longest token that is looked at.
	maxToken = 8 << 10
	// skew is how far the issuer's clock may be ahead of ours, or behind.
	skew = 30 * time.Second
	// maxSubject is how much of a subject is kept, for logs and as the maker
	// of keys.
	maxSubject = 128
)

// signers are the signatures that are taken: those of public keys.
var signers = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// TokenOptions say which tokens are taken, and what they mean.
type TokenOptions struct {
	// Issuer is the URL of an OpenID Connect issuer; its keys are looked up.
	Issuer string
	// Audience: a token must have one of these.
	Audience []string
	// ProjectClaim and ScopesClaim are names of claims, or paths with dots.
	ProjectClaim, ScopesClaim string
	// ScopesPrefix stands before our scopes; others are passed over.
	ScopesPrefix string
	// Admin: [ScopeAdmin] is taken from tokens too.
	Admin bool
	// Roots are whom to trust besides the system's; nil: nobody.
	Roots  *x509.CertPool
	Logger *slog.Logger // nil: nowhere
}

// Tokens authenticates by the JWTs of one issuer (OpenID Connect Core 1.0,
// section 2; RFC 7519).
type Tokens struct {
	opt    TokenOptions
	keys   *keySet
	checks *oidc.Config
}

// NewTokens makes an authenticator. It asks nobody: see [Tokens.Run].
func NewTokens(opt TokenOptions) *Tokens {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Tokens{opt: opt, keys: newKeySet(opt.Issuer, opt.Roots), checks: &oidc.Config{
		SkipClientIDCheck:    true, // the audience may be one of several: see below
		SupportedSigningAlgs: signers,
		Now:                  func() time.Time { return time.Now().Add(-skew) }, // it gives nbf a leeway of its own
	}}
}

// verification is the key set for one token: the library's error does not
// carry the one of the key set.
type verification struct {
	*keySet
	err error
}

func (v *verification) VerifySignature(ctx context.Context, jwt string) (payload []byte, err error) {
	payload, v.err = v.verified(ctx, jwt)
	return payload, v.err
}

// isToken reports whether a bearer token has the shape of a JWT.
func isToken(text string) bool { return strings.Count(text, ".") == 2 }

func badToken(detail string) error { return task.Errorf(CodeUnauthenticated, "the token %s", detail) }

// authenticate returns whom a token stands for. What it says in words of its
// own is never told: it may be somebody's.
func (t *Tokens) authenticate(ctx context.Context, text string) (Principal, error) {
	if len(text) > maxToken {
		return Principal{}, badToken("is too long")
	}
	keys := &verification{keySet: t.keys}
	token, err := oidc.NewVerifier(t.opt.Issuer, keys, t.checks).Verify(ctx, text)
	if err != nil {
		return Principal{}, refusalOf(err, keys.err)
	}
	if !slices.ContainsFunc(token.Audience, func(a string) bool { return slices.Contains(t.opt.Audience, a) }) {
		return Principal{}, badToken("is not for this service")
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil || token.Subject == "" {
		return Principal{}, badToken("says not whose it is")
	}
	p := Principal{KeyID: "oidc:" + readable(token.Subject), Token: true, ExpiresAt: token.Expiry}
	project, ok := claim(claims, t.opt.ProjectClaim).(string)
	if !ok || project == "" {
		return p, task.Errorf(CodeForbidden, "the token names no project")
	}
	p.Project, p.Scopes = project, t.scopes(claim(claims, t.opt.ScopesClaim))
	return p, nil
}

// refusalOf sorts what the library has against a token.
func refusalOf(err, ofKeys error) error {
	if ofKeys != nil && !errors.Is(ofKeys, errSignature) {
		return ofKeys
	}
	if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return badToken("has expired")
	}
	return badToken("is not one that the issuer trusted here has signed, or not valid yet")
}

// claim finds a claim by its name, or by a path with dots.
func claim(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	first, rest, deeper := strings.Cut(path, ".")
	if within, ok := claims[first].(map[string]any); ok && deeper {
		return claim(within, rest)
	}
	return nil
}

// scopes are those of ours that a claim names.
func (t *Tokens) scopes(claim any) []Scope {
	var words []string
	switch v := claim.(type) {
	case string:
		words = strings.Fields(v)
	case []any:
		for _, one := range v {
			if word, ok := one.(string); ok {
				words = append(words, word)
			}
		}
	}
	var out []Scope
	for _, word := range words {
		name, ours := strings.CutPrefix(word, t.opt.ScopesPrefix)
		scope := Scope(name)
		if !ours || !slices.Contains(Scopes(), scope) || scope == ScopeAdmin && !t.opt.Admin {
			continue
		}
		out = append(out, scope)
	}
	return out
}

// readable is a subject as logs may show it.
func readable(subject string) string {
	subject = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, subject)
	return strings.ToValidUTF8(subject[:min(len(subject), maxSubject)], "")
}

const (
	keysEvery = 5 * time.Minute // the issuer's keys are read again
	keysAgain = 5 * time.Second // after they could not be
	keysSlow  = time.Minute     // at most, while they cannot be
)

// Run keeps the issuer's keys fresh until ctx ends.
func (t *Tokens) Run(ctx context.Context) error {
	again := keysAgain
	for failing := false; ; {
		wait := keysEvery
		if err := t.keys.read(ctx, 0); err != nil && ctx.Err() == nil {
			if wait, again = again, min(2*again, keysSlow); !failing {
				t.opt.Logger.WarnContext(ctx, "the keys of the issuer of tokens cannot be read; tokens that they are needed for get 503", "issuer", t.opt.Issuer, "error", err)
			}
			failing = true
		} else {
			if again = keysAgain; failing {
				t.opt.Logger.InfoContext(ctx, "the keys of the issuer of tokens are read again", "issuer", t.opt.Issuer)
			}
			failing = false
		}
		if err := pause(ctx, wait, nil); err != nil {
			return nil //nolint:nilerr // it ends when it is told to
		}
	}
}

func issuerAway(err error) error {
	return task.Wrap(task.CodeUnavailable, fmt.Errorf("issuer of tokens: %w", err), "the issuer of this token cannot be asked now; keys work")
}
