package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskgate/taskgate/internal/task"
)

func TestPreferredWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"wait=30": 30 * time.Second, "WAIT = 5": 5 * time.Second, `wait="7"`: 7 * time.Second, "wait=0": 0,
		"respond-async, wait=10": 10 * time.Second, "wait=10;foo=bar, x": 10 * time.Second,
		`a="wait=1, wait=2", wait=3`: 3 * time.Second, "wait=1, wait=2": time.Second, `a="\", wait=9", wait=4`: 4 * time.Second,
		"": -1, "wait": -1, "wait=": -1, "wait=-1": -1, "wait=1.5": -1, "wait=x": -1, "waiting=5": -1, `"wait=5"`: -1,
		"wait=99999999999999999999": -1,
	} {
		got, ok := preferredWait(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestParseIdempotencyKey(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", `"a"`: "a", "\ta b\t": "a b", `"a\"b\\"`: `a"b\`, `a"b`: `a"b`, `a\b`: `a\b`,
		strings.Repeat("k", 255): strings.Repeat("k", 255), `"` + strings.Repeat("k", 255) + `"`: strings.Repeat("k", 255),
	} {
		if got, fault := parseIdempotencyKey(text); got != want || fault != "" {
			t.Errorf("%q: got %q, %s", text, got, fault)
		}
	}
	for _, text := range []string{
		"", " ", `"`, `""`, `"a`, `"a"b"`, `"a\"`, `"a\n"`, `"a"; p=1`, "ä", "a\x00", "\"\x7f\"", strings.Repeat("k", 256),
	} {
		if _, fault := parseIdempotencyKey(text); fault == "" {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestAcceptable(t *testing.T) {
	for accept, want := range map[string]bool{
		"": true, "*/*": true, "application/json": true, "APPLICATION/JSON; q=0.1": true, "application/*": true,
		"text/html, */*;q=0.8": true, "text/html": false, "application/json;q=0": false, "application/json; q=0.000": false,
		"text/*, application/xml": false, ",": false,
	} {
		if got := acceptable([]string{accept}, []string{mediaJSON}); got != want {
			t.Errorf("%q: got %t", accept, got)
		}
	}
	if !acceptable([]string{"text/html"}, nil) || !acceptable([]string{"text/html"}, []string{"*/*"}) {
		t.Error("an answer of any type satisfies everyone")
	}
}

func FuzzPreferredWait(f *testing.F) {
	for _, s := range []string{"wait=30", `a="x,y", wait=1`, `wait="\`, "wait=4294967295"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, ok := preferredWait(text)
		if d < 0 || d%time.Second != 0 || !ok && d != 0 {
			t.Errorf("%q: %s, %t", text, d, ok)
		}
		var parts []string
		for part := range splitQuoted(text, ',') {
			parts = append(parts, part)
		}
		if strings.Join(parts, ",") != text {
			t.Errorf("%q was split into %q", text, parts)
		}
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"a", `"a\"b"`, `"`, "\"a\\", "ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, fault := parseIdempotencyKey(text)
		if (key == "") != (fault != "") || len(key) > maxIdempotencyKey || !printable(key) {
			t.Fatalf("%q: %q, %s", text, key, fault)
		}
		if fault != "" {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, fault := parseIdempotencyKey(quoted); again != key || fault != "" {
			t.Errorf("%q quoted is %q, %s", key, again, fault)
		}
	})
}

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"a:b", "a:b:c", ":", "a", "ä:b", "a:\x00", "a:\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, value, fault := parseLabel(text)
		if fault != "" {
			return
		}
		if key+":"+value != text || strings.Contains(key, ":") || key == "" || !utf8.ValidString(text) {
			t.Errorf("%q became %q and %q", text, key, value)
		}
	})
}

func FuzzWait(f *testing.F) {
	for _, s := range []string{"30s", "1h30m", "-1s", "9999999h", "1d", "", "30"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := task.ParseDuration(text)
		if d < 0 || err != nil && d != 0 {
			t.Errorf("%q: %s, %v", text, d, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("X-A", "b")
	f.Add("X A", "b\r\nHost: x")
	f.Fuzz(func(t *testing.T, name, value string) {
		if headerFault(name, value) == "" && (strings.ContainsAny(name+value, "\r\n\x00") || strings.ContainsAny(name, " :")) {
			t.Errorf("%q: %q can break out of its line", name, value)
		}
	})
}

// FuzzDocument holds the walker against the standard library.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"endpoint":"a","payload":{"x":[1,"}",{}]}}`, `{"payload":"\"","a":-1.5e3}`, `[]`, `null`, ` { } `, `{"a":1,"a":{"b":[],"b":0}}`,
		`"payload"`, `1`, `{"payload" : [] , "b":true}`, `{"pay\u006coad":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var faults faults
		doc, err := readDocument(body, "payload", 1<<20, &faults)
		if err != nil {
			if code := task.CodeOf(err); code != codeMalformed && code != codePayloadTooLarge {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		var want any
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%q is no JSON: %v", body, err)
		}
		if top, ok := want.(map[string]any); ok {
			var raw map[string]json.RawMessage
			if err := json.Unmarshal(body, &raw); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(raw["payload"], doc.exempt) {
				t.Errorf("%q: payload %q, want %q", body, doc.exempt, raw["payload"])
			}
			delete(top, "payload")
		}
		if len(faults.body) > 0 {
			return // which of two equal names wins does not matter: both are refused
		}
		got, _ := json.Marshal(doc.tree)
		expected, _ := json.Marshal(want)
		if !bytes.Equal(got, expected) {
			t.Errorf("%q was read as %s, want %s", body, got, expected)
		}
	})
}
