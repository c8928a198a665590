package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/seal"
)

func ring(t *testing.T, keys ...[]byte) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	r := ring(t, seal.GenerateKey())
	for _, plain := range [][]byte{{}, []byte("whsec_x"), bytes.Repeat([]byte{0xff}, 10_000)} {
		sealed := r.Seal(plain, "default", "orders")
		if len(plain) > 0 && bytes.Contains(sealed, plain) {
			t.Fatal("not encrypted")
		}
		got, err := r.Open(sealed, "default", "orders")
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %q, %v", got, err)
		}
		if bytes.Equal(sealed, r.Seal(plain, "default", "orders")) {
			t.Fatal("the same value twice")
		}
	}
}

func TestBoundToOwner(t *testing.T) {
	r := ring(t, seal.GenerateKey())
	sealed := r.Seal([]byte("s"), "a", "bc")
	for _, owner := range [][]string{nil, {"a"}, {"ab", "c"}, {"abc"}, {"a", "bc", ""}, {"bc", "a"}} {
		if _, err := r.Open(sealed, owner...); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%q: %v", owner, err)
		}
	}
}

func TestDamage(t *testing.T) {
	r := ring(t, seal.GenerateKey())
	sealed := r.Seal([]byte("secret value"), "p")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := r.Open(bad, "p")
		if !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrNoKey) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Fatal("the error shows content")
		}
		if _, err := r.Open(sealed[:i], "p"); err == nil {
			t.Fatalf("opened when cut at %d", i)
		}
	}
}

func TestRotation(t *testing.T) {
	oldKey, newKey := seal.GenerateKey(), seal.GenerateKey()
	before, after := ring(t, oldKey), ring(t, newKey, oldKey)
	sealed := before.Seal([]byte("v"), "p")
	if before.Stale(sealed) || !after.Stale(sealed) || !after.Stale(nil) {
		t.Error("wrong about what is stale")
	}
	if got, err := after.Open(sealed, "p"); err != nil || string(got) != "v" {
		t.Fatalf("old value: %q, %v", got, err)
	}
	if _, err := before.Open(after.Seal([]byte("v"), "p"), "p"); !errors.Is(err, seal.ErrNoKey) {
		t.Fatalf("a key it does not have: %v", err)
	}
}

func TestKeys(t *testing.T) {
	key := seal.GenerateKey()
	got, err := seal.ParseKey(seal.EncodeKey(key))
	if err != nil || !bytes.Equal(got, key) {
		t.Fatal("a key does not survive its written form")
	}
	for _, bad := range []string{"", "x", seal.EncodeKey(key[:31]), seal.EncodeKey(append(key, 1)), "!" + seal.EncodeKey(key)} {
		if _, err := seal.ParseKey(bad); !errors.Is(err, seal.ErrKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := seal.NewRing(); !errors.Is(err, seal.ErrNoRing) {
		t.Error("a ring of nothing")
	}
	if _, err := seal.NewRing(key, key[:16]); !errors.Is(err, seal.ErrKey) {
		t.Error("a short key")
	}
}

func TestRingNeverPrints(t *testing.T) {
	key := bytes.Repeat([]byte("K"), seal.KeySize)
	r := ring(t, key)
	out := fmt.Sprintf("%v %+v %#v %s", r, r, r, r)
	if strings.Contains(out, "75") || strings.Contains(out, "KK") {
		t.Fatal(out)
	}
}
