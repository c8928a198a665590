// Package seal encrypts the secrets that Taskgate stores: AES-256-GCM with a
// key from the environment, bound to what the secret belongs to.
//
// A sealed value is one version byte, four bytes that name the key, and what
// the cipher makes (nonce, ciphertext, tag). Since it names its key, old keys
// can stay readable while a new one seals.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// KeySize is the size of a key in bytes.
const KeySize = 32

const (
	version   = 1
	keyIDSize = 4
	headSize  = 1 + keyIDSize
)

// Errors. None carries content.
var (
	ErrKey    = errors.New("a sealing key must be the base64 of 32 bytes")
	ErrNoKey  = errors.New("sealed with a key that is not configured")
	ErrOpen   = errors.New("cannot be opened: damaged, or sealed for something else")
	ErrNoRing = errors.New("no sealing key configured")
)

type keyID [keyIDSize]byte

// Ring seals with its first key and opens with any. It is safe for concurrent
// use.
type Ring struct {
	current keyID
	keys    map[keyID]cipher.AEAD
}

// GenerateKey makes a random key.
func GenerateKey() []byte {
	k := make([]byte, KeySize)
	_, _ = rand.Read(k) // never fails (crypto/rand, since Go 1.24)
	return k
}

// EncodeKey writes a key as it is configured.
func EncodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// ParseKey reads what [EncodeKey] wrote.
func ParseKey(s string) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(key) != KeySize {
		return nil, ErrKey
	}
	return key, nil
}

// NewRing makes a ring. The first key seals; the others only open what they
// sealed once.
func NewRing(keys ...[]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, ErrNoRing
	}
	r := &Ring{current: idOf(keys[0]), keys: make(map[keyID]cipher.AEAD, len(keys))}
	for _, k := range keys {
		aead, err := newAEAD(k)
		if err != nil {
			return nil, err
		}
		r.keys[idOf(k)] = aead
	}
	return r, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, ErrKey
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	// Random nonces bound one key to about 2^32 seals: secrets, not traffic.
	return cipher.NewGCMWithRandomNonce(block)
}

// idOf names a key without telling anything useful about it.
func idOf(key []byte) keyID {
	sum := sha256.Sum256(append([]byte("taskgate sealing key\x00"), key...))
	return keyID(sum[:keyIDSize])
}

// Seal encrypts plain for its owner (project, endpoint, …); only the same
// owner opens it.
func (r *Ring) Seal(plain []byte, owner ...string) []byte {
	head := append([]byte{version}, r.current[:]...)
	//nolint:gosec // G407: no nonce is given; the cipher draws a random one
	return r.keys[r.current].Seal(head, nil, plain, bind(head, owner))
}

// Open decrypts what [Ring.Seal] made for the same owner.
func (r *Ring) Open(sealed []byte, owner ...string) ([]byte, error) {
	if len(sealed) < headSize || sealed[0] != version {
		return nil, ErrOpen
	}
	head, text := sealed[:headSize], sealed[headSize:]
	aead, ok := r.keys[keyID(head[1:])]
	if !ok {
		return nil, fmt.Errorf("%w: its id is %x", ErrNoKey, head[1:])
	}
	plain, err := aead.Open(nil, nil, text, bind(head, owner))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Stale reports whether a value should be sealed again: it was sealed with a
// key that is no longer the current one.
func (r *Ring) Stale(sealed []byte) bool {
	return len(sealed) < headSize || sealed[0] != version || keyID(sealed[1:headSize]) != r.current
}

// bind makes the associated data. Lengths keep ("a", "bc") and ("ab", "c")
// apart.
func bind(head []byte, owner []string) []byte {
	out := append([]byte(nil), head...)
	for _, part := range owner {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// KeyID is how errors name a key: it tells nothing useful about it.
func KeyID(key []byte) string {
	id := idOf(key)
	return hex.EncodeToString(id[:])
}

// String hides the keys.
func (r *Ring) String() string { return "seal.Ring(hidden)" }

// GoString hides the keys from %#v.
func (r *Ring) GoString() string { return r.String() }
