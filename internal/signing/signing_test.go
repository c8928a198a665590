package signing_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/taskgate/taskgate/internal/signing"
)

// The check vector of the standard.
const (
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime   = 1614265330
	vectorBody   = `{"test": 2432232314}`
	vectorSig    = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func mustParse(t *testing.T, s string) signing.Secret {
	t.Helper()
	secret, err := signing.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestVector(t *testing.T) {
	at := time.Unix(vectorTime, 0)
	secret := mustParse(t, vectorSecret)
	if got := signing.Sign(vectorID, at, []byte(vectorBody), secret); got != vectorSig {
		t.Fatalf("got %q, want %q", got, vectorSig)
	}
	if err := signing.Verify(vectorID, "1614265330", vectorSig, []byte(vectorBody), at, secret); err != nil {
		t.Fatal(err)
	}
	if got := secret.Reveal(); got != vectorSecret {
		t.Fatalf("the secret does not survive: %q", got)
	}
}

// What we send, the official library takes; what it signs, we take.
func TestOfficialLibrary(t *testing.T) {
	bodies := [][]byte{nil, []byte("{}"), []byte("a.b.c"), {0, 0xff, '\n', 0x80}, bytes.Repeat([]byte("x"), 1<<20)}
	for _, body := range bodies {
		old, cur, now := signing.Generate(), signing.Generate(), time.Now()
		list := signing.Sign("id1", now, body, cur, old)
		if n := len(strings.Fields(list)); n != 2 {
			t.Fatalf("%d signatures in %q", n, list)
		}
		for _, s := range []signing.Secret{old, cur} {
			wh, err := standardwebhooks.NewWebhook(s.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			h.Set(signing.HeaderID, "id1")
			h.Set(signing.HeaderTimestamp, signing.Timestamp(now))
			h.Set(signing.HeaderSignature, list)
			if err := wh.Verify(body, h); err != nil {
				t.Errorf("official library: %v", err)
			}
			sig, err := wh.Sign("id2", now, body)
			if err != nil {
				t.Fatal(err)
			}
			if err := signing.Verify("id2", signing.Timestamp(now), sig, body, now, s); err != nil {
				t.Errorf("its signature: %v", err)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, other := signing.Generate(), signing.Generate()
	now := time.Unix(1_700_000_000, 0)
	ts, body := signing.Timestamp(now), []byte("body")
	sig := signing.Sign("id", now, body, s)
	cases := []struct {
		name, id, ts, sig string
		body              string
		now               time.Time
		secret            signing.Secret
		want              error
	}{
		{"good", "id", ts, sig, "body", now, s, nil},
		{"good among others", "id", ts, "v1a,AAAA v1,!! v1, " + sig, "body", now, s, nil},
		{"edge of tolerance", "id", ts, sig, "body", now.Add(signing.Tolerance), s, nil},
		{"other id", "id2", ts, sig, "body", now, s, signing.ErrSignature},
		{"other body", "id", ts, sig, "body ", now, s, signing.ErrSignature},
		{"other secret", "id", ts, sig, "body", now, other, signing.ErrSignature},
		{"no secret", "id", ts, sig, "body", now, signing.Secret{}, signing.ErrSignature},
		{"other version", "id", ts, "v2" + sig[2:], "body", now, s, signing.ErrSignature},
		{"other time", "id", signing.Timestamp(now.Add(time.Second)), sig, "body", now, s, signing.ErrSignature},
		{"too old", "id", ts, sig, "body", now.Add(signing.Tolerance + time.Second), s, signing.ErrTimestamp},
		{"too new", "id", ts, sig, "body", now.Add(-signing.Tolerance - time.Second), s, signing.ErrTimestamp},
		{"no id", "", ts, sig, "body", now, s, signing.ErrHeaders},
		{"no signature", "id", ts, "", "body", now, s, signing.ErrHeaders},
		{"time with sign", "id", "+" + ts, sig, "body", now, s, signing.ErrHeaders},
		{"no time", "id", "", sig, "body", now, s, signing.ErrHeaders},
		{"too many before it", "id", ts, strings.Repeat("v1,AAAA ", 16) + sig, "body", now, s, signing.ErrSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := signing.Verify(c.id, c.ts, c.sig, []byte(c.body), c.now, c.secret); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	if signing.Sign("id", now, body) != "" || signing.Sign("id", now, body, signing.Secret{}) != "" {
		t.Error("a signature without a secret")
	}
}

func TestParse(t *testing.T) {
	cases := map[string]bool{
		vectorSecret:                                    true,
		signing.Generate().Reveal():                     true,
		"whsec_" + strings.Repeat("AAAA", 8):            true,  // 24 bytes
		"whsec_" + strings.Repeat("AAAA", 7):            false, // 21
		"whsec_" + strings.Repeat("AAAA", 21):           true,  // 63
		"whsec_" + strings.Repeat("AAAA", 22):           false, // 66
		strings.Repeat("AAAA", 8):                       false, // no prefix
		"WHSEC_" + strings.Repeat("AAAA", 8):            false,
		vectorSecret + "\n":                             false,
		vectorSecret[:20] + "\n" + vectorSecret[20:]:    false,
		"whsec_" + strings.Repeat("A", 33):              false,
		"whsec_" + strings.Repeat("AAAA", 8) + "AB==":   false, // bits beyond the end
		"whsec_" + strings.Repeat("AAAA", 8) + "AA==":   true,
		"whsec_" + strings.Repeat("-_AA", 8):            false, // URL alphabet
		"":                                              false,
		"whsec_":                                        false,
		"whsec_" + strings.Repeat("\n", 1000) + "AAAA":  false,
		"whsec_" + strings.Repeat("AAAA", 1_000_000/4):  false,
		" whsec_" + strings.Repeat("AAAA", 8):           false,
		"whpk_" + strings.Repeat("AAAA", 8):             false,
		"whsec_" + strings.Repeat("ÄAAA", 8):            false,
		"whsec_" + strings.Repeat("AAAA", 8) + "\x00AA": false,
	}
	for in, ok := range cases {
		if _, err := signing.Parse(in); (err == nil) != ok {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	for _, s := range []signing.Secret{signing.Generate(), signing.GenerateKeyPair()} {
		neverPrints(t, s)
	}
}

func neverPrints(t *testing.T, s signing.Secret) {
	t.Helper()
	_, text, _ := strings.Cut(s.Reveal(), "_")
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, format, s)
		fmt.Fprintf(&out, format, []signing.Secret{s})
		fmt.Fprintf(&out, format, struct{ s signing.Secret }{s})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "list", []signing.Secret{s})
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": s}); err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(text)
	if strings.Contains(out.String(), text) || bytes.Contains(out.Bytes(), raw) {
		t.Fatalf("printed: %s", out.String())
	}
	if s.Reveal() == signing.Generate().Reveal() || !s.Valid() || (signing.Secret{}).Valid() {
		t.Fatal("not random, or not valid")
	}
}

// Who has the public key can verify v1a signatures; openssl, which shares no
// code with us, says the same.
func TestKeyPair(t *testing.T) {
	pair, other, now, body := signing.GenerateKeyPair(), signing.GenerateKeyPair(), time.Now(), []byte("body\x00.")
	public, ok := pair.Public()
	if _, isPair := signing.Generate().Public(); !ok || isPair {
		t.Fatal("which of them has a public key?")
	}
	again, err := signing.ParsePublic(public.String())
	if err != nil || again.String() != public.String() {
		t.Fatalf("%v, %v", again, err)
	}
	foreign, _ := other.Public()
	ts := signing.Timestamp(now)
	list := signing.Sign("id", now, body, mustParse(t, pair.Reveal()), signing.Generate())
	for _, c := range []struct {
		id, ts, list string
		body         []byte
		keys         []signing.Public
		want         error
	}{
		{"id", ts, list, body, []signing.Public{public}, nil},
		{"id", ts, list, body, []signing.Public{foreign, {}, again}, nil},
		{"id", ts, list, body, []signing.Public{foreign}, signing.ErrSignature},
		{"id", ts, list, body, nil, signing.ErrSignature},
		{"ie", ts, list, body, []signing.Public{public}, signing.ErrSignature},
		{"id", ts, list, []byte("bodY"), []signing.Public{public}, signing.ErrSignature},
		{"id", ts, strings.ReplaceAll(list, "v1a,", "v1,"), body, []signing.Public{public}, signing.ErrSignature},
		{"id", "1", list, body, []signing.Public{public}, signing.ErrTimestamp},
		{"", ts, list, body, []signing.Public{public}, signing.ErrHeaders},
	} {
		if err := signing.VerifyPublic(c.id, c.ts, c.list, c.body, now, c.keys...); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := signing.Verify("id", ts, signing.Sign("id", now, body, pair), body, now, pair); !errors.Is(err, signing.ErrSignature) {
		t.Errorf("a v1a signature passes as v1: %v", err)
	}
	opensslVerifies(t, public, "id."+ts+"."+string(body), list)
}

func opensslVerifies(t *testing.T, public signing.Public, signed, list string) {
	t.Helper()
	tool, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("no openssl here: verified by our own code only")
		return
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public.String(), signing.PublicPrefix))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw))
	if err != nil {
		t.Fatal(err)
	}
	field, _, _ := strings.Cut(list, " ")
	sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(field, "v1a,"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, err := exec.CommandContext(t.Context(), tool, "pkeyutl", "-verify", "-pubin", "-rawin", "-keyform", "DER",
		"-inkey", file("key", der), "-in", file("in", []byte(signed)), "-sigfile", file("sig", sig)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func TestParseKeys(t *testing.T) {
	good := signing.GenerateKeyPair().Reveal()
	mixed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(good, signing.PrivatePrefix))
	mixed[63] ^= 1
	for in, ok := range map[string]bool{
		good:        true,
		good + "\n": false,
		signing.PrivatePrefix + base64.StdEncoding.EncodeToString(mixed):      false,
		signing.PrivatePrefix + base64.StdEncoding.EncodeToString(mixed[:32]): false,
		signing.PrivatePrefix: false,
		strings.Replace(good, signing.PrivatePrefix, signing.PublicPrefix, 1): false,
	} {
		if _, err := signing.Parse(in); (err == nil) != ok {
			t.Errorf("private %.20q: %v", in, err)
		}
		if _, err := signing.ParsePublic(in); err == nil {
			t.Errorf("public %.20q", in)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(vectorSecret)
	f.Add("whsec_")
	f.Add(vectorSecret + "==")
	f.Add(signing.GenerateKeyPair().Reveal())
	f.Fuzz(func(t *testing.T, in string) {
		s, err := signing.Parse(in)
		if err != nil {
			return
		}
		if s.Reveal() != in {
			t.Fatalf("%q reads as %q", in, s.Reveal())
		}
		if _, pair := s.Public(); pair {
			return // the official library knows v1 only
		}
		if _, err := standardwebhooks.NewWebhook(in); err != nil {
			t.Fatalf("the official library refuses %q: %v", in, err)
		}
	})
}
