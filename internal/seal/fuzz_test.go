package seal_test

import (
	"bytes"
	"testing"

	"github.com/taskgate/taskgate/internal/seal"
)

// FuzzOpen: only what this ring sealed for this owner opens.
func FuzzOpen(f *testing.F) {
	ring, err := seal.NewRing(bytes.Repeat([]byte{1}, seal.KeySize), bytes.Repeat([]byte{2}, seal.KeySize))
	if err != nil {
		f.Fatal(err)
	}
	plain := []byte("secret")
	good := ring.Seal(plain, "p", "e")
	f.Add(good, "p", "e")
	f.Add(good, "pe", "")
	f.Add(good[:6], "p", "e")
	f.Add([]byte{}, "", "")
	f.Fuzz(func(t *testing.T, sealed []byte, project, endpoint string) {
		got, err := ring.Open(sealed, project, endpoint)
		if err != nil {
			if got != nil {
				t.Fatalf("%q, and %v", got, err)
			}
			return
		}
		// Sealed by another process, it has another nonce; but only "p" and "e"
		// had anything sealed.
		if project != "p" || endpoint != "e" || !bytes.Equal(got, plain) {
			t.Fatalf("%x of %q/%q opens as %q", sealed, project, endpoint, got)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(seal.EncodeKey(bytes.Repeat([]byte{1}, seal.KeySize)))
	f.Add("")
	f.Add("AAAA\nAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := seal.ParseKey(s)
		if err != nil {
			return
		}
		again, err := seal.ParseKey(seal.EncodeKey(key))
		if err != nil || !bytes.Equal(key, again) || len(key) != seal.KeySize {
			t.Fatalf("%q is %x, then %x, %v", s, key, again, err)
		}
	})
}
