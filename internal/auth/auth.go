// Package auth decides who calls and what they may do.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// The codes of refusals, beside those of package task.
const (
	CodeUnauthenticated task.Code = "unauthenticated" // no key, or an unknown one
	CodeForbidden       task.Code = "forbidden"       // known, but not allowed
	CodeAddress         task.Code = "address_not_allowed"
	CodeTooManyFailures task.Code = "too_many_failures" // refused unseen
)

// DefaultProject is the first project, which always exists.
const DefaultProject = "default"

// AdminKey is the bootstrap key, of which only the digest is kept. Alone it
// authenticates too.
type AdminKey struct{ digest [sha256.Size]byte }

// bootstrapID names the bootstrap key in logs and as the maker of others.
const bootstrapID = "admin"

// NewAdminKey takes the bootstrap key, which must not be empty.
func NewAdminKey(key string) (*AdminKey, error) {
	if key == "" {
		return nil, task.Errorf(task.CodeInvalid, "the admin key is empty")
	}
	return &AdminKey{digest: sha256.Sum256([]byte(key))}, nil
}

// Authenticate takes the key from "Authorization: Bearer". Errors carry
// [CodeUnauthenticated].
func (a *AdminKey) Authenticate(r *http.Request, _ netip.Addr) (Principal, error) {
	text, err := bearer(r.Header)
	if err != nil {
		return Principal{}, err
	}
	if !a.is(sha256.Sum256([]byte(text))) {
		return Principal{}, unknownKey()
	}
	return admin(bootstrapID), nil
}

// is takes the same time for every key.
func (a *AdminKey) is(digest [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(digest[:], a.digest[:]) == 1
}

// bearer reads RFC 6750, section 2.1.
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 1 {
		scheme, key, ok := strings.Cut(values[0], " ")
		key = strings.Trim(key, " ")
		if ok && strings.EqualFold(scheme, "Bearer") && key != "" {
			return key, nil
		}
	}
	return "", task.Errorf(CodeUnauthenticated, "send a key as Authorization: Bearer <key>")
}

// None lets every local caller be admin: for a loopback listener only.
type None struct{ origin *http.CrossOriginProtection }

// NewNone makes an authenticator without keys.
func NewNone() *None { return &None{origin: http.NewCrossOriginProtection()} }

// Authenticate refuses what a web page could make a browser send: another
// origin's writes, and requests for a host that is not local (DNS rebinding).
func (n *None) Authenticate(r *http.Request, _ netip.Addr) (Principal, error) {
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
