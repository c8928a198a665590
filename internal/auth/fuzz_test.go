package auth

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzIDOf: only what has the form of a key is looked up, by an id that cannot
// mean anything else in a store.
func FuzzIDOf(f *testing.F) {
	f.Add(NewToken(time.Unix(1, 0)).Reveal())
	for _, s := range []string{"tg_", "tg__", "TG_a_b", "tg_" + strings.Repeat("0", idLen) + "_" + strings.Repeat("w", secretLen), "tg_\x00_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := idOf(text)
		if !ok {
			return
		}
		if !IsKeyID(id) || strings.Trim(id, "0123456789abcdefghijklmnopqrstuv") != "" || !strings.HasPrefix(text, Shown(id)+"_") || len(text) != len(Shown(id))+1+secretLen {
			t.Fatalf("%q has the id %q", text, id)
		}
	})
}

// FuzzBearer: of an Authorization header comes a key without blanks around it,
// or none, and what is refused is never quoted.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer a", "bearer  a ", "Basic a", "Bearer", "Bearer ", "Bearer a b", "\tBearer a", "Bearer \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := bearer(http.Header{"Authorization": {value}})
		switch {
		case err != nil && (key != "" || len(value) > 12 && strings.Contains(err.Error(), value)):
			t.Fatalf("%q: %q, %v", value, key, err)
		case err == nil && (key == "" || strings.Trim(key, " ") != key || !strings.Contains(value, key)):
			t.Fatalf("%q: %q", value, key)
		}
		if _, err := bearer(http.Header{"Authorization": {value, value}}); err == nil {
			t.Fatalf("%q is taken twice", value)
		}
	})
}

// FuzzLocalHost: a Host header is local only if nothing but the machine itself
// can be meant by it (DNS rebinding).
func FuzzLocalHost(f *testing.F) {
	for _, s := range []string{"localhost:8080", "127.0.0.1", "[::1]:1", "localhost.evil.com", "evil.com", "127.0.0.1.nip.io", "0.0.0.0", "[::ffff:127.0.0.1]", "a.localhost", "localhost@evil.com", "evil.com#.localhost", "2130706433", "::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !localHost(host) {
			return
		}
		lower := strings.ToLower(host)
		if !strings.Contains(lower, "localhost") && !strings.Contains(lower, "127.") && !strings.ContainsAny(lower, ":") {
			t.Fatalf("%q is local", host)
		}
	})
}
