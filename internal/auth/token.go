package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// A key's written form is tg_<id>_<secret>. Neither part has a "_" in it.
const (
	tokenPrefix = "tg_"
	idTime      = 6  // bytes: milliseconds, so that ids sort by age
	idRandom    = 5  // bytes
	secretBytes = 20 // 160 random bits
)

// base32hex keeps the order of what it encodes.
var encoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

var (
	idLen     = encoding.EncodedLen(idTime + idRandom)
	secretLen = encoding.EncodedLen(secretBytes)
)

// Token is a new key: its written form, to be shown once, and what is kept.
type Token struct {
	ID     string
	Digest []byte
	text   string
}

// NewToken makes a key at random.
func NewToken(now time.Time) Token {
	var id [2 + idTime + idRandom]byte // 8 bytes of time, of which 6 are kept
	binary.BigEndian.PutUint64(id[:], uint64(now.UnixMilli()))
	var secret [secretBytes]byte
	_, _ = rand.Read(id[2+idTime:]) // never fails (crypto/rand, since Go 1.24)
	_, _ = rand.Read(secret[:])
	t := Token{ID: encoding.EncodeToString(id[2:])}
	t.text = Shown(t.ID) + "_" + encoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(t.text))
	t.Digest = sum[:]
	return t
}

// Reveal returns the written form: for its owner, never for a log.
func (t Token) Reveal() string { return t.text }

// String hides the secret.
func (t Token) String() string { return Shown(t.ID) + "_(hidden)" }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

// Shown is the part of a key's written form that may be shown to anyone who
// may list keys.
func Shown(id string) string { return tokenPrefix + id }

// idOf returns the id in a key's written form; false for what cannot be one.
func idOf(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", false
	}
	id, secret, ok := strings.Cut(rest, "_")
	return id, ok && len(id) == idLen && len(secret) == secretLen && written(id) && written(secret)
}

func written(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// IsKeyID reports whether s can be the id of a key.
func IsKeyID(s string) bool { return len(s) == idLen && written(s) }
