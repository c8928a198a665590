package signing

import (
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

const version = "v1,"

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

// Sign returns the signature header: one "v1,<base64>" for each secret,
// separated by spaces (several while a secret is rotated). id must not
// contain ".". Without secrets it is empty.
func Sign(id string, at time.Time, body []byte, secrets ...Secret) string {
	var b strings.Builder
	for _, s := range secrets {
		if !s.Valid() {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(version)
		b.WriteString(base64.StdEncoding.EncodeToString(s.mac(id, Timestamp(at), body)))
	}
	return b.String()
}

func (s Secret) mac(id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(*s.key))
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Verify checks that one signature of the list was made with one of the
// secrets, for exactly this id, timestamp and body, within [Tolerance] of now.
func Verify(id, timestamp, signatures string, body []byte, now time.Time, secrets ...Secret) error {
	sec, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || signatures == "" || err != nil || strconv.FormatInt(sec, 10) != timestamp {
		return ErrHeaders
	}
	if age := now.Sub(time.Unix(sec, 0)); age > Tolerance || age < -Tolerance {
		return ErrTimestamp
	}
	given := parse(signatures)
	for _, s := range secrets {
		if !s.Valid() {
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

// maxSignatures bounds the work that a header can ask for.
const maxSignatures = 16

// parse returns the v1 signatures of a header; others are not ours to judge.
func parse(signatures string) [][]byte {
	var macs [][]byte
	for field := range strings.FieldsSeq(signatures) {
		text, ok := strings.CutPrefix(field, version)
		if !ok || len(macs) == maxSignatures {
			continue
		}
		if mac, err := base64.StdEncoding.DecodeString(text); err == nil {
			macs = append(macs, mac)
		}
	}
	return macs
}
