// Package auth decides who calls and what they may do.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// The codes of refusals, beside those of package task.
const (
	CodeUnauthenticated task.Code = "unauthenticated" // no key, or an unknown one
	CodeForbidden       task.Code = "forbidden"       // known, but not allowed
)

// DefaultProject is the first project. Others exist in every key, queue and
// record name from the start; keys for them come later.
const DefaultProject = "default"

// Scope is a right that a key may have.
type Scope string

// The scopes. [ScopeAdmin] holds all others.
const (
	ScopeTasksWrite     Scope = "tasks:write"
	ScopeTasksRead      Scope = "tasks:read"
	ScopeEndpointsWrite Scope = "endpoints:write"
	ScopeEndpointsRead  Scope = "endpoints:read"
	ScopeAdmin          Scope = "admin"
)

// Principal is an authenticated caller.
type Principal struct {
	Project string
	Scopes  []Scope
	// KeyID names the key in logs; it is no secret.
	KeyID string
}

// Can reports whether the caller has the scope.
func (p Principal) Can(s Scope) bool {
	return slices.Contains(p.Scopes, s) || slices.Contains(p.Scopes, ScopeAdmin)
}

// Require returns an error with [CodeForbidden] when the caller lacks the
// scope.
func (p Principal) Require(s Scope) error {
	if p.Can(s) {
		return nil
	}
	return task.Errorf(CodeForbidden, "this key lacks the scope %s", s)
}

func admin(keyID string) Principal {
	return Principal{Project: DefaultProject, Scopes: []Scope{ScopeAdmin}, KeyID: keyID}
}

// AdminKey authenticates by the bootstrap key. It keeps the key's digest only.
type AdminKey struct{ digest [sha256.Size]byte }

// NewAdminKey makes an authenticator for one key, which must not be empty.
func NewAdminKey(key string) (*AdminKey, error) {
	if key == "" {
		return nil, task.Errorf(task.CodeInvalid, "the admin key is empty")
	}
	return &AdminKey{digest: sha256.Sum256([]byte(key))}, nil
}

// Authenticate takes the key from "Authorization: Bearer". Errors carry
// [CodeUnauthenticated]. The comparison takes the same time for every key.
func (a *AdminKey) Authenticate(r *http.Request) (Principal, error) {
	key, ok := bearer(r.Header)
	if !ok {
		return Principal{}, task.Errorf(CodeUnauthenticated, "send a key as Authorization: Bearer <key>")
	}
	digest := sha256.Sum256([]byte(key))
	if subtle.ConstantTimeCompare(digest[:], a.digest[:]) != 1 {
		return Principal{}, task.Errorf(CodeUnauthenticated, "the key is not known")
	}
	return admin("admin"), nil
}

// bearer reads RFC 6750, section 2.1.
func bearer(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, key, ok := strings.Cut(values[0], " ")
	key = strings.Trim(key, " ")
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}

// None lets every local caller be admin: for a loopback listener only.
type None struct{ origin *http.CrossOriginProtection }

// NewNone makes an authenticator without keys.
func NewNone() *None { return &None{origin: http.NewCrossOriginProtection()} }

// Authenticate refuses what a web page could make a browser send: another
// origin's writes, and requests for a host that is not local (DNS rebinding).
func (n *None) Authenticate(r *http.Request) (Principal, error) {
	if !localHost(r.Host) {
		return Principal{}, task.Errorf(CodeForbidden, "without keys only requests to localhost are taken")
	}
	if err := n.origin.Check(r); err != nil {
		return Principal{}, task.Wrap(CodeForbidden, err, "without keys no requests of other origins are taken")
	}
	return admin("none"), nil
}

func localHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
