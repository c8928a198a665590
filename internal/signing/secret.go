// Package signing signs what Taskgate sends, and verifies such signatures, by
// Standard Webhooks over "id.timestamp.body": v1 with HMAC-SHA256 and a secret
// that both sides know, v1a with ed25519 and a key that only the sender has.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package signing

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
)

// What begins the written form of a key (Standard Webhooks, "Signature scheme").
const (
	Prefix        = "whsec_" // of a secret for v1
	PrivatePrefix = "whsk_"  // of a private key for v1a
	PublicPrefix  = "whpk_"  // of a public key for v1a
)

// Bounds of a secret, in bytes (Standard Webhooks, "Signature scheme").
const (
	MinSecret     = 24
	MaxSecret     = 64
	defaultSecret = 32
)

// ErrSecret is the answer to every malformed secret. It never quotes it.
var ErrSecret = errors.New(`must be "whsec_" and the base64 of 24 to 64 bytes, or "whsk_" and the base64 of an ed25519 private key of 64 bytes`)

// ErrPublic is the answer to every malformed public key.
var ErrPublic = errors.New(`must be "whpk_" and the base64 of an ed25519 public key of 32 bytes`)

// Secret is a signing key, for v1 or v1a. It never prints itself; see
// [Secret.Reveal]. The key lies behind a function, since fmt looks into
// unexported fields of others, and behind pointers.
type Secret struct{ key func() *material }

func hide(m *material) Secret { return Secret{func() *material { return m }} }

// material is one of the two.
type material struct {
	shared  string             // v1
	private ed25519.PrivateKey // v1a
}

func shared(key []byte) Secret { return hide(&material{shared: string(key)}) }

// Generate makes a random secret of 32 bytes for v1.
func Generate() Secret {
	var b [defaultSecret]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return shared(b[:])
}

// GenerateKeyPair makes a private key for v1a; see [Secret.Public].
func GenerateKeyPair() Secret {
	_, private, _ := ed25519.GenerateKey(rand.Reader) // fails with its reader only
	return hide(&material{private: private})
}

// Parse reads the written form of either kind, padded standard base64. The
// error is [ErrSecret].
func Parse(s string) (Secret, error) {
	if text, ok := strings.CutPrefix(s, PrivatePrefix); ok {
		key, ok := decode(text, ed25519.PrivateKeySize, ed25519.PrivateKeySize)
		// The second half is the public key: a wrong one would sign what
		// nobody can verify, and give the private key away by doing so.
		if !ok || !ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(key)) {
			return Secret{}, ErrSecret
		}
		return hide(&material{private: key}), nil
	}
	text, ok := strings.CutPrefix(s, Prefix)
	if !ok {
		return Secret{}, ErrSecret
	}
	key, ok := decode(text, MinSecret, MaxSecret)
	if !ok {
		return Secret{}, ErrSecret
	}
	return shared(key), nil
}

// decode reads padded standard base64 of least to most bytes. The library's
// decoder skips line breaks; other libraries may not.
func decode(text string, least, most int) ([]byte, bool) {
	if len(text) > base64.StdEncoding.EncodedLen(most) || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return key, err == nil && len(key) >= least && len(key) <= most
}

// Reveal returns the written form: to be shown once to its owner, never
// logged.
func (s Secret) Reveal() string {
	switch {
	case !s.Valid():
		return ""
	case s.key().private != nil:
		return PrivatePrefix + base64.StdEncoding.EncodeToString(s.key().private)
	}
	return Prefix + base64.StdEncoding.EncodeToString([]byte(s.key().shared))
}

// Public returns the public key of a private one; ok is false for a secret of
// v1, which has none.
func (s Secret) Public() (p Public, ok bool) {
	if !s.Valid() || s.key().private == nil {
		return Public{}, false
	}
	key, _ := s.key().private.Public().(ed25519.PublicKey)
	return Public{key}, true
}

// Valid reports whether s was generated or parsed.
func (s Secret) Valid() bool { return s.key != nil }

const hidden = Prefix + "(hidden)"

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return hidden }

// LogValue hides the secret from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Public is a key that verifies v1a signatures. It is no secret.
type Public struct{ key ed25519.PublicKey }

// ParsePublic reads the written form. The error is [ErrPublic].
func ParsePublic(s string) (Public, error) {
	text, ok := strings.CutPrefix(s, PublicPrefix)
	if !ok {
		return Public{}, ErrPublic
	}
	key, ok := decode(text, ed25519.PublicKeySize, ed25519.PublicKeySize)
	if !ok {
		return Public{}, ErrPublic
	}
	return Public{key}, nil
}

// String is the written form.
func (p Public) String() string {
	if p.key == nil {
		return ""
	}
	return PublicPrefix + base64.StdEncoding.EncodeToString(p.key)
}
