package config

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// FuzzSettings sets every setting that can be set to a text: it is refused
// without being quoted, or what it means is written, and reads as the same.
func FuzzSettings(f *testing.F) {
	for i, s := range table {
		for _, v := range []string{s.Default, "", " ", "x", "true", "1", "-1", "1MiB", "90s", "10.0.0.0/8,::1", "80,443", "any", "a=1.2.3.4", "A=b,c=%20d", "http://u:p@h/", "NaN", "\x00"} {
			f.Add(i, v)
		}
	}
	f.Fuzz(func(t *testing.T, i int, v string) {
		if i < 0 || i >= len(table) || table[i].set == nil {
			return
		}
		s := table[i]
		var cfg Config
		if err := s.set(&cfg, v); err != nil {
			if s.Secret && len(v) > 12 && strings.Contains(err.Error(), v) {
				t.Fatalf("%s=%q is quoted: %v", s.Name, v, err)
			}
			return
		}
		text := s.get(cfg)
		if text == "" {
			return // not given
		}
		var again Config
		if err := s.set(&again, text); err != nil {
			t.Fatalf("%s=%q is written as %q, which is refused: %v", s.Name, v, text, err)
		}
		if got := s.get(again); got != text {
			t.Fatalf("%s=%q is written as %q and then as %q", s.Name, v, text, got)
		}
	})
}

// FuzzFile: whatever stands in the file, it is read or every fault has a name,
// and no secret of it is told.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		"listen: 127.0.0.1:1\n", "redis_url: [a, b]", "egress_resolve: {a: 1.2.3.4}", "a: &a [*a]", "? [x]\n: y", "\t", "- x", "!!binary x: y",
		"otlp_headers: {Authorization: Bearer%20x}\n", "max_payload: 1e9", "config: x", "listen: |\n  a\n  b\n", "\xff\xfe",
	} {
		f.Add([]byte(s))
	}
	const marked = "hunter2hunter2hunter2"
	f.Fuzz(func(t *testing.T, content []byte) {
		read := func(string) ([]byte, error) {
			return append(slices.Clone(content), "\nadmin_key: "+marked+"\n"...), nil
		}
		_, err := Load(Gateway, Source{Flags: map[string]string{"config": "f.yaml"}, ReadFile: read})
		if err == nil {
			t.Fatalf("%q is enough for a gateway", content) // it has no broker
		}
		var faults Faults
		if !errors.As(err, &faults) {
			t.Fatalf("%q: %v", content, err)
		}
		for _, fault := range faults {
			if fault.Name == "" && len(content) > 0 && !strings.Contains(string(content), ":") || fault.Text == "" {
				t.Fatalf("%q: a fault without place or words: %+v", content, fault)
			}
		}
		if strings.Contains(err.Error(), marked) {
			t.Fatalf("%q: the key is told: %v", content, err)
		}
	})
}

// FuzzEnvironment: names and values of others do no harm.
func FuzzEnvironment(f *testing.F) {
	f.Add("TASKGATE_LISTEN", "x", "listen")
	f.Add("TASKGATE_", "=", "")
	f.Add("taskgate_listen", "\x00", "no-such")
	f.Fuzz(func(t *testing.T, name, value, flag string) {
		_, err := Load(Dev, Source{Environ: []string{name + "=" + value, value, name}, Flags: map[string]string{flag: value}, ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist }})
		var faults Faults
		if err != nil && !errors.As(err, &faults) {
			t.Fatalf("%q=%q --%q: %v", name, value, flag, err)
		}
	})
}

// FuzzParsePrefix: what is taken is a network that contains what was written,
// and no zone that would make it contain nothing.
func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1", "fe80::%eth0/64", "::ffff:10.0.0.0/104", "10.1.2.3/8", "0/0", "1.2.3.4/032"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePrefix(s)
		if err != nil {
			if p.IsValid() {
				t.Fatalf("%q: %v and %v", s, p, err)
			}
			return
		}
		if !p.IsValid() || p != p.Masked() || !p.Contains(p.Addr()) || p.Addr().Zone() != "" {
			t.Fatalf("%q is %v", s, p)
		}
		if a, err := netip.ParseAddr(s); err == nil && (!p.IsSingleIP() || p.Addr() != a) {
			t.Fatalf("%q is %v", s, p)
		}
	})
}

// FuzzRedact: of a server's URL neither user nor password nor query is shown.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{"amqp://u:PASSWORD@h:1/v", "redis://:PASSWORD@h", "a://h?k=PASSWORD", "a://PASSWORD,x@h", "a://u:p,PASSWORD@h/,b://c", "//PASSWORD@h", "a:PASSWORD", "a://h#PASSWORD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := redactURLs(s)
		if strings.ContainsAny(out, "@?#") {
			t.Fatalf("%q is shown as %q", s, out)
		}
		if again := redactURLs(out); out != "" && out != hidden && again != out {
			t.Fatalf("%q is shown as %q, and that as %q", s, out, again)
		}
	})
}
