package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/taskgate/taskgate/internal/task"
)

// FuzzTime: a time that is taken is written in every answer that shows it.
func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2026-01-31T12:00:00Z", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z", "2026-01-31t12:00:00z", "2026-01-31T12:00:00,5Z", "2026-01-31T24:00:00Z", "2026-12-31T23:59:60Z", "2026-01-01T00:00:00+24:00", "2026-01-01 00:00:00Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var fs faults
		r := reader{note: fs.param, opt: &Options{}}
		at, ok := r.time("at", &text)
		if ok == (len(fs.params) > 0) || !ok && !at.IsZero() {
			t.Fatalf("%q: %s, %t, %v", text, at, ok, fs.params)
		}
		if _, err := json.Marshal(at.UTC()); err != nil {
			t.Fatalf("%q is taken and cannot be written: %v", text, err)
		}
	})
}

// FuzzParentOf: only a traceparent of the standard is kept.
func FuzzParentOf(f *testing.F) {
	for _, s := range []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := parentOf(&text); got != "" && (got != text || len(got) != 55 || strings.ContainsAny(got, "\r\n ")) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// FuzzMediaType: a payload's type as it is kept can be sent as a header, and a
// JSON body's is the contract's.
func FuzzMediaType(f *testing.F) {
	for _, s := range []string{"application/json", "text/plain; charset=utf-8", "a/b;c=\"d\r\n\"", "application/json; charset=latin1", ";", "a", "application/json;", "Application/JSON;CHARSET=UTF-8", "a/b; c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var fs faults
		kept := rawContentType(http.Header{"Content-Type": {text}}, &fs)
		if text != "" && len(fs.params) == 0 {
			if _, _, err := mime.ParseMediaType(kept); err != nil || kept != text {
				t.Fatalf("%q is kept as %q: %v", text, kept, err)
			}
		}
		if mustBe(mediaJSON, []string{text}) == nil && !strings.Contains(strings.ToLower(text), "application/json") {
			t.Fatalf("%q is taken for JSON", text)
		}
		if mustBe(mediaJSON, []string{text, text}) == nil {
			t.Fatalf("%q is taken twice", text)
		}
		_ = acceptable([]string{text}, []string{mediaJSON})
	})
}

// FuzzMergePatch: RFC 7396: a patch that was applied changes nothing when it
// comes again, and of its members none is left that it removes.
func FuzzMergePatch(f *testing.F) {
	f.Add([]byte(`{"a":"b","c":{"d":1}}`), []byte(`{"a":null,"c":{"e":[null]}}`))
	f.Add([]byte(`[1]`), []byte(`{"a":{"b":null}}`))
	f.Add([]byte(`{}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, target, patch []byte) {
		var first, second, change any
		if json.Unmarshal(target, &first) != nil || json.Unmarshal(target, &second) != nil || json.Unmarshal(patch, &change) != nil {
			return
		}
		once := mergePatch(first, change)
		twice := mergePatch(mergePatch(second, change), change)
		if !reflect.DeepEqual(once, twice) {
			t.Fatalf("%s by %s is %v, and then %v", target, patch, once, twice)
		}
		members, ok := change.(map[string]any)
		for name, value := range members {
			if object := once.(map[string]any); ok && value == nil {
				if _, left := object[name]; left {
					t.Fatalf("%s by %s keeps %q", target, patch, name)
				}
			}
		}
	})
}

// FuzzReadDeclared: whatever an endpoints file is, it is read, or every fault
// has a line of the file and words, and no value of the environment is told.
func FuzzReadDeclared(f *testing.F) {
	for _, s := range []string{
		"endpoints:\n  a: {url: 'https://a', secret: '${S}'}\n", "x-a: &a [*a]\nendpoints: {}\n", "projects: {p: {secret: ${S}, endpoints: {e: {url: https://a, auth: {type: bearer, token: '${S}'}}}}}",
		"endpoints: {a: {url: 1, timeout: 1e400, labels: {a: !!binary x}}}", "%", "- a", "? {a: b}\n: c", "endpoints: !!set {a}", "a: 0x1F\n---\nb", "endpoints: {a: {max_concurrency: .inf}}", "\"\\ud800\": x", "endpoints:\n  ~: {url: https://a}\n",
	} {
		f.Add([]byte(s))
	}
	const marked = "poison-poison-poison"
	deps := Deps{CheckURL: func(string) (string, bool) { return "", true }, Secrets: anySecret{}}
	f.Fuzz(func(t *testing.T, content []byte) {
		d, err := ReadDeclared(content, func(name string) (string, bool) { return marked, name == "S" }, deps)
		if (d == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", content, d, err)
		}
		if err == nil {
			return
		}
		var fs FileErrors
		if !errors.As(err, &fs) || len(fs) == 0 {
			t.Fatalf("%q: %v", content, err)
		}
		lines := 2 + bytes.Count(content, []byte("\n")) + bytes.Count(content, []byte("\r")) +
			bytes.Count(content, []byte("\u0085")) + bytes.Count(content, []byte("\u2028")) + bytes.Count(content, []byte("\u2029"))
		for _, one := range fs {
			if one.Detail == "" || one.Line < 0 || one.Line > lines || strings.Contains(one.Detail, marked) || strings.Contains(one.Pointer, marked) {
				t.Fatalf("%q: %+v", content, one)
			}
		}
		if strings.Count(fs.Error(), "\n") < len(fs)-1 {
			t.Fatalf("%q: %s", content, fs)
		}
	})
}

// anySecret takes every secret and makes none.
type anySecret struct{ Secrets }

func (anySecret) Check(string) (string, bool) { return "", true }

// FuzzCursors: the cursors of lists in memory and of jobs are ours, or refused.
func FuzzCursors(f *testing.F) {
	for _, s := range []string{"", "ZTE6YQ", "ajE6MDFrYWQydDVtNmYwcTl2M3pqOHk0dzd4aGM", "====", "AA\nAA", strings.Repeat("A", 4096)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		before, err := parseJobCursor(&s)
		if err != nil && (before != "" || task.CodeOf(err) != codeInvalidParameter) {
			t.Fatalf("%q: %q, %v", s, before, err)
		}
		l := listing[string]{all: []string{"a", "b", "c"}, name: func(v *string) string { return *v }, mark: "e1:"}
		limit := 2
		page, next, err := l.page(&limit, &s)
		if err != nil && task.CodeOf(err) != codeInvalidParameter {
			t.Fatalf("%q: %v", s, err)
		}
		if next != nil && len(page) != limit || len(page) > limit || !slices.IsSorted(page) {
			t.Fatalf("%q: %q, %v", s, page, next)
		}
	})
}

// FuzzOptions: options of a raw submission in a query and in headers come to
// a submission within its bounds, or to faults that say where.
func FuzzOptions(f *testing.F) {
	f.Add("delay=5s&label=a:b&callback_url=https://a&callback_on=failed,expired", "Taskgate-Label-X", "y")
	f.Add("delay=5s", "Taskgate-Delay", "5s")
	f.Add("max_attempts=1e1&min_backoff=9999d&label=&label=:", "Taskgate-Header-Host", "x")
	f.Add("callback_on=running", "Taskgate-Callback-Header-X", "a\tb")
	f.Add("run_at=9999-12-31T23:59:59-01:00", "Taskgate-Nope", "")
	f.Fuzz(func(t *testing.T, rawQuery, name, value string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		own := &call{}
		s := &Server{Deps: Deps{
			CheckURL: func(string) (string, bool) { return "", true }, Endpoints: allEndpoints{},
		}, opt: Options{}.withDefaults()}
		r := &http.Request{URL: &url.URL{RawQuery: query.Encode()}, Header: http.Header{http.CanonicalHeaderKey(name): {value}}}
		sub, _ := s.fromRequest(own, r.WithContext(t.Context()), nil)
		if own.faults.err() != nil {
			for _, fault := range slices.Concat(own.faults.params, own.faults.body) {
				if fault.Detail == "" {
					t.Fatalf("%q %q: %q: %+v", rawQuery, name, value, fault)
				}
			}
			return
		}
		within(t, sub.Labels, sub.Headers)
		if sub.Callback != nil {
			within(t, nil, sub.Callback.Headers)
		}
		if limit := s.opt.Now().Add(s.opt.MaxDelay + time.Minute); sub.RunAt.After(limit) || sub.ExpiresAt.After(limit) {
			t.Fatalf("%q: %s, %s", rawQuery, sub.RunAt, sub.ExpiresAt)
		}
		if sub.Timeout < 0 || sub.Timeout > task.MaxTimeout || sub.ResultTTL < 0 || sub.ResultTTL > task.MaxResultTTL {
			t.Fatalf("%q: %s, %s", rawQuery, sub.Timeout, sub.ResultTTL)
		}
	})
}

func within(t *testing.T, labels map[string]string, headers []task.Header) {
	t.Helper()
	for key, value := range maps.All(labels) {
		if labelFault(key, value) != "" || len(labels) > maxLabels {
			t.Fatalf("labels %q", labels)
		}
	}
	for _, h := range headers {
		if headerFault(h.Name, h.Value) != "" || len(headers) > maxHeaders {
			t.Fatalf("headers %q", headers)
		}
	}
}

// allEndpoints is a registry in which every endpoint is known, by its name alone.
type allEndpoints struct{ others }

type others = Endpoints

func (allEndpoints) Endpoint(string, string) (*task.Endpoint, bool) { return &task.Endpoint{}, true }

// FuzzParamValue: a parameter's text is what its type says, or stays text.
func FuzzParamValue(f *testing.F) {
	for _, s := range []string{"1", "+1", "-0", "2147483648", "true", "T", "", "0x1", "1_000", "٣"} {
		f.Add(s)
	}
	c, err := loadContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, op := range c.operations {
			for _, p := range op.params {
				if p.Schema.Value.Type.Is("array") {
					continue
				}
				conform(p.Schema.Value, paramValue(p.Schema.Value, text), func(_, detail string) {
					if detail == "" || len(text) > 12 && strings.Contains(detail, text) {
						t.Fatalf("%s=%q: %q", p.Name, text, detail)
					}
				})
			}
		}
	})
}

// FuzzYAMLScalars: a scalar of a file is the JSON value that it stands for.
func FuzzYAMLScalars(f *testing.F) {
	for _, s := range []string{"1", "0o17", "0x1F", "1e400", ".nan", "~", "yes", "2026-01-01", "\"\\x00\"", "!!str 1", "!!float 1", "!!bool x", "1_000", "+1", "!!int x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var notes []string
		r := yamlReader{env: func(string) (string, bool) { return "", false }, note: func(_, detail string) { notes = append(notes, detail) }}
		tree := r.read([]byte("a: " + text))
		out, err := json.Marshal(tree)
		if err != nil {
			t.Fatalf("%q is no JSON: %v", text, err)
		}
		if tree == nil && len(notes) == 0 || len(out) > 20*len(text)+100 {
			t.Fatalf("%q: %s, %q", text, out, notes)
		}
	})
}

// FuzzFieldValue: what is taken for a header's value is one on the wire.
func FuzzFieldValue(f *testing.F) {
	for _, s := range []string{"a", " a", "a\x7f", "ä", "\xff", "a\tb", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !fieldValue(s) {
			return
		}
		var wire bytes.Buffer
		if err := (http.Header{"X": {s}}).Write(&wire); err != nil || wire.String() != "X: "+s+"\r\n" || !utf8.ValidString(s) {
			t.Fatalf("%q is written as %q", s, wire.String())
		}
	})
}
