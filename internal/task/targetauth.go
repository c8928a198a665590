package task

import "slices"

// AuthType says how an endpoint's target knows its callers.
type AuthType string

// The types.
const (
	AuthNone   AuthType = "none"
	AuthBasic  AuthType = "basic"                     // RFC 7617
	AuthBearer AuthType = "bearer"                    // RFC 6750
	AuthOAuth2 AuthType = "oauth2_client_credentials" // RFC 6749, section 4.4
	AuthMTLS   AuthType = "mtls"                      // a client certificate
)

// TargetAuth is how an endpoint's deliveries show who they are. What is secret
// of it lies in Sealed only.
type TargetAuth struct {
	Type     AuthType `json:"type"`
	Username string   `json:"username,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	TokenURL string   `json:"token_url,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Audience string   `json:"audience,omitempty"`
	// Certificate is the client's certificate chain (PEM), its own first.
	Certificate string `json:"certificate,omitempty"`
	// CA are certificates (PEM) to trust for this target besides the usual.
	CA string `json:"ca,omitempty"`
	// Sealed is an encoded [TargetSecret], encrypted for the endpoint's owner.
	Sealed []byte `json:"sealed,omitempty"`
}

// TargetSecret is the secret part of a [TargetAuth]; one field is set.
type TargetSecret struct {
	Password     string `json:"password,omitempty"`
	Token        string `json:"token,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	PrivateKey   string `json:"private_key,omitempty"` // PEM
}

// String hides the secret.
func (TargetSecret) String() string { return "(hidden)" }

// GoString hides the secret from %#v.
func (TargetSecret) GoString() string { return "(hidden)" }

// Clone shares nothing with a; nil stays nil.
func (a *TargetAuth) Clone() *TargetAuth {
	if a == nil {
		return nil
	}
	c := *a
	c.Scopes, c.Sealed = slices.Clone(a.Scopes), slices.Clone(a.Sealed)
	return &c
}
