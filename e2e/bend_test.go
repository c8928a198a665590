package e2e_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// bend makes a request that was right nearly right.
func (g *maker) bend(m *made) {
	ways := []string{"path", "query", "header", "header", "method", "key"}
	if m.bodied {
		ways = append(ways, "body", "body", "body", "body", "bytes", "bytes", "media type")
	}
	for range rapid.IntRange(1, 2).Draw(g.t, "bends") {
		way := g.pick("bend", ways...)
		m.bent = append(m.bent, way)
		switch way {
		case "path":
			g.bendPath(m)
		case "query":
			g.bendQuery(m)
		case "header":
			m.headers = append(m.headers, g.pick("header", oddHeaders()...))
		case "method":
			m.method = g.pick("method", http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions, "BREW", "get")
		case "key":
			m.set("Authorization", g.pick("key", "Bearer tg_nope", "Basic YTpi", "Bearer", "bearer "+strings.Repeat("x", 3000), g.keys["reader"]))
		case "media type":
			m.set("Content-Type", g.pick("type", "text/json", "application/json; charset=utf-16", "application/jsonx", "", ";", "application/json, application/json", "multipart/form-data; boundary=x"))
		case "body":
			g.bendTree(m)
		default:
			g.bendBytes(m)
		}
	}
}

func oddHeaders() []string {
	long := strings.Repeat("v", 9000)
	return []string{
		"Accept: text/html", "Accept: application/json;q=0", "Accept: */*;q=x", "Accept: " + long, "Content-Encoding: gzip", "Content-Encoding: identity",
		"Content-Type: application/json", "Prefer: wait=99999999999999999999", "Prefer: wait=-1", "Prefer: \"", "Prefer: wait=0", "Idempotency-Key: ", "Idempotency-Key: \"", "Idempotency-Key: " + long,
		"Idempotency-Key: \xc3\xa4", "Idempotency-Key: twice", "traceparent: " + long, "Taskgate-Project: no/such", "Taskgate-Project: nobody", "Taskgate-Delay: 5s", "Taskgate-Nope: x", "Taskgate-Label-A: \xff\xfe",
		"X-Forwarded-For: 127.0.0.1", "X-HTTP-Method-Override: DELETE", "Expect: 200-maybe", "If-Match: *", "Range: bytes=0-0", "Origin: https://evil.example", "Cookie: a=b", "X-Long: " + long, "Accept-Encoding: gzip;q=0, *",
	}
}

func (g *maker) bendPath(m *made) {
	parts := strings.Split(m.path, "/")
	at := rapid.IntRange(1, len(parts)-1).Draw(g.t, "part")
	parts[at] = g.pick("instead", "%2F", "%00", "..", ".", "%2e%2e", "", "%ff", strings.ToUpper(parts[at]), parts[at]+"%20", parts[at]+"/", strings.Repeat("x", 3000), "%E2%80%AE", "a%2Fb", "*", "{id}", "%25", "-", "01kad2t5m6f0q9v3zj8y4w7xhc7")
	m.path = strings.Join(parts, "/")
}

func (g *maker) bendQuery(m *made) {
	names := []string{"limit", "cursor", "wait", "state", "label", "created_after", "force", "endpoint", "unknown", "verbose", "delay", "dry_run"}
	values := []string{"", "1", "-1", "0", "501", "99999999999", "x", "%zz", "%", "%00", "%ff", "%F0%9F%99%82", "a:b", "a", "true", "failed,,queued", "+1", "1e3", strings.Repeat("y", 5000), "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-01:00", ";", "a;b=c"}
	for range rapid.IntRange(1, 3).Draw(g.t, "more") {
		m.query = append(m.query, g.pick("parameter", names...)+g.pick("sign", "=", "=", "=", "", "==", "[]=")+g.pick("parameter's value", values...))
	}
}

// oddValues belong nowhere in particular.
func oddValues() []string {
	return []string{
		`null`, `true`, `0`, `-1`, `1e400`, `1.5`, `-0`, `12345678901234567890123`, `""`, `" "`, `"x"`, `"\u0000"`, `"\ud800"`, `"\u202e"`, `[]`, `{}`, `[null]`, `{"a":null}`, `{"":""}`,
		`{"a":1,"a":2}`, `"2026-02-30T00:00:00Z"`, `"9999-12-31T23:59:59-23:59"`, `"9999999d"`, `"-5s"`, `"5s "`, `"http://169.254.169.254/"`, `"http://[::ffff:127.0.0.1]/"`, `"https://u:p@h/"`, `"javascript:alert(1)"`,
		`"` + strings.Repeat("x", 10_000) + `"`, strings.Repeat("[", 40) + strings.Repeat("]", 40), strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000), `[` + strings.Repeat("0,", 2000) + `0]`,
		`{"X A":"b"}`, `{"Host":"x"}`, `{"X-A":"b\r\nc"}`, `{"webhook-id":"x"}`, `"tg_x"`, `"whsec_"`, `"../../etc/passwd"`, `"${HOME}"`, `"%s%n"`,
	}
}

// bendTree changes one place of a JSON body.
func (g *maker) bendTree(m *made) {
	var tree any
	if json.Unmarshal(m.body, &tree) != nil {
		return
	}
	odd := json.RawMessage(g.pick("odd", oddValues()...))
	text := string(g.bent(tree, odd, 0))
	m.body = []byte(text)
}

// bent writes the tree with one place changed.
func (g *maker) bent(v any, odd json.RawMessage, depth int) []byte {
	object, ok := v.(map[string]any)
	if !ok || len(object) == 0 || depth > 0 && g.oneIn(2, "here") {
		return odd
	}
	names := slices.Sorted(maps.Keys(object))
	at := g.pick("member", names...)
	how := g.pick("how", "replace", "replace", "replace", "drop", "twice", "rename", "add")
	var members []string
	for _, name := range names {
		text := string(encoded(object[name]))
		switch {
		case name != at || how == "add":
		case how == "drop":
			continue
		case how == "rename":
			name = g.pick("name", strings.ToUpper(name), name+" ", "", "a/b~c", "__proto__", "\u00e4", name+"\x00")
		case how == "replace":
			text = string(g.bent(object[name], odd, depth+1))
		default:
			members = append(members, string(encoded(name))+":"+string(odd))
		}
		members = append(members, string(encoded(name))+":"+text)
	}
	if how == "add" {
		members = append(members, g.pick("new", `"unknown":`, `"id":`, `"project":`, `"state":`, `"secret":`)+string(odd))
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// bendBytes damages the text of a body.
func (g *maker) bendBytes(m *made) {
	at := 0
	if len(m.body) > 0 {
		at = rapid.IntRange(0, len(m.body)-1).Draw(g.t, "at")
	}
	before, after := string(m.body[:at]), string(m.body[at:])
	switch g.pick("damage", "cut", "insert", "wrap", "bom", "tail", "empty", "utf16") {
	case "cut":
		m.body = []byte(before)
	case "insert":
		m.body = []byte(before + g.pick("sign", "\x00", "\xff", "\xc0\x80", "{", "}", "[", `"`, ",", ":", "\\", "\xed\xa0\x80", "/*x*/", "\u2028", "NaN", "'") + after)
	case "wrap":
		m.body = []byte("[" + string(m.body) + "]")
	case "bom":
		m.body = []byte("\ufeff" + string(m.body))
	case "tail":
		m.body = append(slices.Clone(m.body), g.pick("tail", "{}", " \n\t ", "\x00", "]", ",", string(m.body))...)
	case "empty":
		m.body = nil
	default:
		wide := make([]byte, 0, 2*len(m.body))
		for _, b := range m.body {
			wide = append(wide, b, 0)
		}
		m.body = wide
	}
}
