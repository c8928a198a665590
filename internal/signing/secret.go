// Package signing signs what Taskgate sends, and verifies such signatures, by
// Standard Webhooks v1: HMAC-SHA256 over "id.timestamp.body".
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package signing

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
)

// Prefix marks a symmetric secret in its written form.
const Prefix = "whsec_"

// Bounds of a secret, in bytes (Standard Webhooks, "Signature scheme").
const (
	MinSecret     = 24
	MaxSecret     = 64
	defaultSecret = 32
)

// ErrSecret is the answer to every malformed secret. It never quotes it.
var ErrSecret = errors.New(`must be "whsec_" and the base64 of 24 to 64 bytes`)

// Secret is a signing key. It never prints itself; see [Secret.Reveal]. The
// key lies behind a pointer, since fmt looks into unexported fields of others.
type Secret struct{ key *string }

func newSecret(key []byte) Secret {
	s := string(key)
	return Secret{&s}
}

// Generate makes a random secret of 32 bytes.
func Generate() Secret {
	var b [defaultSecret]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return newSecret(b[:])
}

// Parse reads the written form, padded standard base64. The error is
// [ErrSecret].
func Parse(s string) (Secret, error) {
	text, ok := strings.CutPrefix(s, Prefix)
	if !ok || len(text) > base64.StdEncoding.EncodedLen(MaxSecret) {
		return Secret{}, ErrSecret
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) < MinSecret || len(key) > MaxSecret {
		return Secret{}, ErrSecret
	}
	// The decoder skips line breaks; other libraries may not.
	if strings.ContainsAny(text, "\r\n") {
		return Secret{}, ErrSecret
	}
	return newSecret(key), nil
}

// Reveal returns the written form: to be shown once to its owner, never
// logged.
func (s Secret) Reveal() string {
	if !s.Valid() {
		return ""
	}
	return Prefix + base64.StdEncoding.EncodeToString([]byte(*s.key))
}

// Valid reports whether s came from [Generate] or [Parse].
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
