package signing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/signing"
)

func FuzzParsePublic(f *testing.F) {
	public, _ := signing.GenerateKeyPair().Public()
	for _, s := range []string{public.String(), "whpk_", public.String() + "=", vectorSecret} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p, err := signing.ParsePublic(in)
		switch {
		case err == nil && p.String() != in:
			t.Fatalf("%q reads as %q", in, p)
		case err != nil && (!errors.Is(err, signing.ErrPublic) || p.String() != ""):
			t.Fatalf("%q: %q, %v", in, p, err)
		}
	})
}

// FuzzVerify: headers of others never verify, and are never taken for ours
// with anything added to or taken from what was signed.
func FuzzVerify(f *testing.F) {
	secret, pair := mustParseF(f, vectorSecret), signing.GenerateKeyPair()
	public, _ := pair.Public()
	at := time.Unix(vectorTime, 0)
	good := signing.Sign(vectorID, at, []byte(vectorBody), secret)
	both := signing.Sign(vectorID, at, []byte(vectorBody), secret, pair)
	f.Add(vectorID, "1614265330", good, []byte(vectorBody))
	f.Add(vectorID, "1614265330", both, []byte(vectorBody))
	f.Add(vectorID+".1614265330", "1614265330", "v1, "+good, []byte(vectorBody))
	f.Add("", "+1614265330", strings.Repeat(good+" ", 20), []byte{})
	f.Add("a", "99999999999999999999", "v1a,AAAA v1,====", []byte("."))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		exact := id == vectorID && timestamp == "1614265330" && string(body) == vectorBody
		if err := signing.Verify(id, timestamp, signatures, body, at, secret); err == nil && !exact {
			t.Fatalf("%q %q %q %q verifies", id, timestamp, signatures, body)
		}
		if err := signing.VerifyPublic(id, timestamp, signatures, body, at, public); err == nil && !exact {
			t.Fatalf("%q %q %q %q verifies by ed25519", id, timestamp, signatures, body)
		}
		if signing.Verify(id, timestamp, signatures, body, at.Add(signing.Tolerance+time.Second), secret) == nil {
			t.Fatalf("%q is fresh for ever", timestamp)
		}
	})
}

func mustParseF(f *testing.F, s string) signing.Secret {
	f.Helper()
	secret, err := signing.Parse(s)
	if err != nil {
		f.Fatal(err)
	}
	return secret
}
