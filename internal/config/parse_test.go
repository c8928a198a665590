package config

import (
	"strconv"
	"testing"
)

func TestParseBytes(t *testing.T) {
	t.Parallel()

	good := map[string]int{
		"0": 0, "0B": 0, "1": 1, "1000B": 1000, "1KiB": 1 << 10, "16 KiB": 16 << 10, "1MiB": 1 << 20, "1GiB": 1 << 30,
	}
	for text, want := range good {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.5MiB", "1MB", "1kib", "2GiB", "99999999999999999999", "1073741825"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	f.Add("16KiB")
	f.Add("9223372036854775807GiB")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseBytes(text)
		if err != nil {
			return
		}
		if n < 0 || n > maxBytes {
			t.Fatalf("%q is %d", text, n)
		}
		if again, err := parseBytes(formatBytes(n)); err != nil || again != n {
			t.Fatalf("%q is %d, then %d, %v", text, n, again, err)
		}
	})
}

func TestParseBool(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]bool{"true": true, "1": true, "YES": true, "on": true, "false": false, "0": false, "no": false, "off": false} {
		if got, err := parseBool(text); err != nil || got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if _, err := parseBool("maybe"); err == nil {
		t.Error("took maybe")
	}
}

func TestParsePorts(t *testing.T) {
	t.Parallel()

	for _, text := range []string{"", "0", "65536", "http", "80,x"} {
		if got, err := parsePorts(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
	if got, err := parsePorts(" 1, 65535 ,"); err != nil || formatPorts(got) != "1,65535" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestParsePrefix(t *testing.T) {
	t.Parallel()

	for _, text := range []string{"", "x", "10.0.0.0/33", "10.0.0.1/8", "fe80::1%eth0", "fe80::%eth0/64", strconv.Itoa(10)} {
		if got, err := parsePrefix(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}
