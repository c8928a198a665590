package app

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/seal"
)

// FuzzReadBackup: a file is a backup, or is refused without being quoted. Of
// each item it can be said whether its secrets open.
func FuzzReadBackup(f *testing.F) {
	ring, err := seal.NewRing(bytes.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		f.Fatal(err)
	}
	s := secrets{ring: ring}
	for _, text := range []string{
		`{"format":"taskgate.registry/1","items":[{"kind":"endpoint","project":"p","name":"e","value":{"project":"p","name":"e"}}]}`,
		`{"format":"taskgate.registry/1","items":[{"kind":"project","project":"p","value":{"name":"p","callback_secret":{"current":"AAAA"}}}]}`,
		`{"format":"x"}`, `[]`, "", `{"format":"taskgate.registry/1","items":null}`,
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		path := file.Name()
		defer os.Remove(path)
		if _, err := file.Write(content); err != nil || file.Close() != nil {
			t.Fatal(err)
		}
		doc, err := readBackup(path)
		if err != nil {
			if len(content) > 40 && strings.Contains(err.Error(), string(content)) {
				t.Fatalf("%q is quoted: %v", content, err)
			}
			return
		}
		if doc.Format != backupFormat {
			t.Fatalf("format %q is taken", doc.Format)
		}
		for _, one := range doc.Items {
			good := registry.Check(one.item()) == nil
			if err := s.readable(one); err == nil && good && one.Kind == registry.KindEndpoint && !json.Valid(one.Value) {
				t.Fatalf("%q can be read", one.Value)
			}
			_ = one.named()
		}
	})
}

// FuzzParseFlags: a command line is taken or refused, and a secret has no flag.
func FuzzParseFlags(f *testing.F) {
	for _, s := range []string{"--listen=:1", "--listen", "--echo", "--echo=maybe", "-h", "--", "x", "--admin-key=x", "--=", "---x"} {
		f.Add(s, "y")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		given, err := parseFlags(config.Dev, Process{Args: []string{one, two}, Stderr: io.Discard})
		if err != nil {
			return
		}
		for name := range given {
			if strings.Contains(name, "key") || strings.Contains(name, "secret") || len(given) > 2 {
				t.Fatalf("%q %q: %v", one, two, given)
			}
		}
	})
}

// FuzzReadBounded: no more is read of a file than is allowed.
func FuzzReadBounded(f *testing.F) {
	f.Add([]byte("abc"), int64(2))
	f.Add([]byte("abc"), int64(3))
	f.Add([]byte{}, int64(0))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, most int64) {
		if most < 0 || most > 1<<20 {
			return
		}
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readBounded(path, most)
		if (err == nil) != (int64(len(content)) <= most) || err == nil && !bytes.Equal(got, content) {
			t.Fatalf("%d of %d bytes: %d, %v", len(content), most, len(got), err)
		}
	})
}
