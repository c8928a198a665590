package signing

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed request.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// What begins a signature of each scheme.
const (
	version  = "v1,"
	versionA = "v1a,"
)

// Tolerance is how far a timestamp may lie from the receiver's clock.
const Tolerance = 5 * time.Minute

// Errors of [Verify].
var (
	ErrHeaders   = errors.New("signature headers are missing or malformed")
	ErrTimestamp = errors.New("timestamp is too old or too new")
	ErrSignature = errors.New("no signature matches")
)

// Timestamp is the header form of the moment of signing, in Unix seconds.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Sign returns the signature header: one "v1,<base64>" or "v1a,<base64>" for
// each key, separated by spaces (several while a key is rotated). id must not
// contain ".". Without keys it is empty.
func Sign(id string, at time.Time, body []byte, secrets ...Secret) string {
	var b strings.Builder
	for _, s := range secrets {
		if !s.Valid() {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if s.key().private != nil {
			b.WriteString(versionA)
			b.WriteString(base64.StdEncoding.EncodeToString(ed25519.Sign(s.key().private, content(id, Timestamp(at), body))))
			continue
		}
		b.WriteString(version)
		b.WriteString(base64.StdEncoding.EncodeToString(s.mac(id, Timestamp(at), body)))
	}
	return b.String()
}

// content is what is signed, for a scheme that needs it in one piece.
func content(id, timestamp string, body []byte) []byte {
	out := make([]byte, 0, len(id)+len(timestamp)+len(body)+2)
	out = append(out, id...)
	out = append(out, '.')
	out = append(out, timestamp...)
	out = append(out, '.')
	return append(out, body...)
}

func (s Secret) mac(id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(s.key().shared))
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Verify checks that one v1 signature of the list was made with one of the
// secrets, for exactly this id, timestamp and body, within [Tolerance] of now.
func Verify(id, timestamp, signatures string, body []byte, now time.Time, secrets ...Secret) error {
	if err := fresh(id, timestamp, signatures, now); err != nil {
		return err
	}
	given := parse(signatures, version)
	for _, s := range secrets {
		if !s.Valid() || s.key().private != nil {
			continue
		}
		want := s.mac(id, timestamp, body)
		for _, mac := range given {
			if hmac.Equal(mac, want) {
				return nil
			}
		}
	}
	return ErrSignature
}

// VerifyPublic is [Verify] for the v1a signatures of the list.
func VerifyPublic(id, timestamp, signatures string, body []byte, now time.Time, keys ...Public) error {
	if err := fresh(id, timestamp, signatures, now); err != nil {
		return err
	}
	signed := content(id, timestamp, body)
	for _, sig := range parse(signatures, versionA) {
		for _, p := range keys {
			if p.key != nil && ed25519.Verify(p.key, signed, sig) {
				return nil
			}
		}
	}
	return ErrSignature
}

func fresh(id, timestamp, signatures string, now time.Time) error {
	sec, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || signatures == "" || err != nil || strconv.FormatInt(sec, 10) != timestamp {
		return ErrHeaders
	}
	if age := now.Sub(time.Unix(sec, 0)); age > Tolerance || age < -Tolerance {
		return ErrTimestamp
	}
	return nil
}

// maxSignatures bounds the work that a header can ask for.
const maxSignatures = 16

// parse returns a header's signatures of one scheme.
func parse(signatures, scheme string) [][]byte {
	var out [][]byte
	for field := range strings.FieldsSeq(signatures) {
		text, ok := strings.CutPrefix(field, scheme)
		if !ok || len(out) == maxSignatures {
			continue
		}
		if sig, err := base64.StdEncoding.DecodeString(text); err == nil {
			out = append(out, sig)
		}
	}
	return out
}
