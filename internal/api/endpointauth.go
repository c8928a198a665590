package api

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// authField is one field of an auth and the types that have it.
type authField struct {
	name     string
	value    func(a *gen.EndpointAuth) *string
	of       task.AuthType
	required bool
	secret   bool
}

var authFields = []authField{
	{"username", func(a *gen.EndpointAuth) *string { return a.Username }, task.AuthBasic, true, false},
	{"password", func(a *gen.EndpointAuth) *string { return a.Password }, task.AuthBasic, true, true},
	{"token", func(a *gen.EndpointAuth) *string { return a.Token }, task.AuthBearer, true, true},
	{"client_id", func(a *gen.EndpointAuth) *string { return a.ClientId }, task.AuthOAuth2, true, false},
	{"client_secret", func(a *gen.EndpointAuth) *string { return a.ClientSecret }, task.AuthOAuth2, true, true},
	{"token_url", func(a *gen.EndpointAuth) *string { return a.TokenUrl }, task.AuthOAuth2, true, false},
	{"audience", func(a *gen.EndpointAuth) *string { return a.Audience }, task.AuthOAuth2, false, false},
	{"certificate", func(a *gen.EndpointAuth) *string { return a.Certificate }, task.AuthMTLS, true, false},
	{"private_key", func(a *gen.EndpointAuth) *string { return a.PrivateKey }, task.AuthMTLS, true, true},
}

// targetAuth reads an auth, without its secret; faults are noted. A secret
// that is absent may be kept from the endpoint's present one: see keepSecret.
func (s *Server) targetAuth(in *gen.EndpointAuth, f *faults) *task.TargetAuth {
	if in == nil || in.Type == "none" && in.Ca == nil {
		return nil
	}
	out := &task.TargetAuth{
		Type: task.AuthType(in.Type), Username: text(in.Username), ClientID: text(in.ClientId), TokenURL: text(in.TokenUrl),
		Scopes: in.Scopes, Audience: text(in.Audience), Certificate: text(in.Certificate), CA: text(in.Ca),
	}
	note := func(field, detail string) { f.inBody("/auth/"+field, detail) }
	for _, field := range authFields {
		given := field.value(in) != nil
		switch {
		case given && field.of != out.Type:
			note(field.name, "belongs to another type")
		case !given && field.of == out.Type && field.required && !field.secret:
			note(field.name, "is required for the type "+string(in.Type))
		}
	}
	if len(in.Scopes) > 0 && out.Type != task.AuthOAuth2 {
		note("scopes", "belongs to another type")
	}
	s.checkAuth(in, note)
	return out
}

// checkAuth notes what is wrong with single fields, quoting none of them.
func (s *Server) checkAuth(in *gen.EndpointAuth, note func(field, detail string)) {
	if in.Username != nil && (strings.Contains(*in.Username, ":") || !visible(*in.Username)) {
		note("username", `must not contain ":" or control characters (RFC 7617, section 2)`)
	}
	if in.Password != nil && !visible(*in.Password) {
		note("password", "must not contain control characters (RFC 7617, section 2)")
	}
	if in.Token != nil && !isBearer(*in.Token) {
		note("token", "must be letters, digits and -._~+/ with = at the end only (RFC 6750, section 2.1)")
	}
	for i := range in.Scopes {
		if strings.ContainsAny(in.Scopes[i], ` "\`) || !printable(in.Scopes[i]) {
			note("scopes", "must be printable ASCII without spaces, quotes and backslashes (RFC 6749, section 3.3)")
			break
		}
	}
	if in.TokenUrl != nil {
		if detail, ok := s.CheckURL(*in.TokenUrl); !ok {
			note("token_url", detail)
		}
	}
	checkCertificates(in, note)
}

func checkCertificates(in *gen.EndpointAuth, note func(field, detail string)) {
	if in.Ca != nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(*in.Ca)) {
		note("ca", "must be certificates in PEM")
	}
	if in.Certificate != nil && !isCertificate(*in.Certificate) {
		note("certificate", "must be certificates in PEM")
	} else if in.Certificate != nil && in.PrivateKey != nil {
		if _, err := tls.X509KeyPair([]byte(*in.Certificate), []byte(*in.PrivateKey)); err != nil {
			note("private_key", "must be the key (PEM) of the certificate")
		}
	}
}

// keepSecret seals the secret that is given, or takes over the present one.
func (p *replacement) keepSecret(next *task.Endpoint, old *task.Endpoint) error {
	auth := next.Auth
	if auth == nil || auth.Type == task.AuthNone {
		return nil
	}
	auth = auth.Clone() // wanted is used again when somebody was faster
	next.Auth = auth
	in := p.in.Auth
	secret := targetSecret(in)
	if secret != (task.TargetSecret{}) {
		sealed, err := p.s.Secrets.SealTarget(p.project, p.name, secret)
		auth.Sealed = sealed
		return err
	}
	if old != nil && old.Auth != nil && old.Auth.Type == auth.Type && old.Auth.Certificate == auth.Certificate {
		auth.Sealed = old.Auth.Sealed
		return nil
	}
	var f faults
	for _, field := range authFields {
		if field.of == auth.Type && field.secret {
			f.inBody("/auth/"+field.name, "is required: there is none to keep")
		}
	}
	return f.err()
}

func targetSecret(in *gen.EndpointAuth) task.TargetSecret {
	return task.TargetSecret{
		Password: text(in.Password), Token: text(in.Token), ClientSecret: text(in.ClientSecret), PrivateKey: text(in.PrivateKey),
	}
}

func withoutSecret(in gen.EndpointAuth) *gen.EndpointAuth {
	in.Password, in.Token, in.ClientSecret, in.PrivateKey = nil, nil, nil, nil
	return &in
}

// viewAuth shows an auth without its secret.
func viewAuth(a *task.TargetAuth) *gen.EndpointAuth {
	if a == nil {
		return nil
	}
	return &gen.EndpointAuth{
		Type: gen.EndpointAuthType(a.Type), Username: unlessZero(a.Username), ClientId: unlessZero(a.ClientID),
		TokenUrl: unlessZero(a.TokenURL), Scopes: a.Scopes, Audience: unlessZero(a.Audience),
		Certificate: unlessZero(a.Certificate), Ca: unlessZero(a.CA),
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// visible: no control characters.
func visible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// isBearer is the syntax b64token.
func isBearer(s string) bool {
	s = strings.TrimRight(s, "=")
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
	}) < 0
}

func isCertificate(text string) bool {
	rest, found := []byte(text), false
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found && len(bytes.TrimSpace(rest)) == 0
		}
		if _, err := x509.ParseCertificate(block.Bytes); block.Type != "CERTIFICATE" || err != nil {
			return false
		}
		found = true
	}
}
