package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"
)

// made is a request as it goes over the wire.
type made struct {
	op      string // operationId
	method  string
	path    string // escaped
	query   []string
	headers []string // "Name: value"
	body    []byte
	bodied  bool
	bent    []string // what was done to it after it was right
}

func (m *made) target() string {
	if len(m.query) == 0 {
		return m.path
	}
	return m.path + "?" + strings.Join(m.query, "&")
}

func (m *made) wire() string {
	lines := append([]string{m.method + " " + m.target() + " HTTP/1.1", "Host: taskgate.test", "Connection: close"}, m.headers...)
	if m.bodied {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(m.body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + string(m.body)
}

func (m *made) set(name, value string) {
	m.headers = slices.DeleteFunc(m.headers, func(h string) bool {
		own, _, _ := strings.Cut(h, ":")
		return strings.EqualFold(own, name)
	})
	m.headers = append(m.headers, name+": "+value)
}

// described is an operation of the contract.
type described struct {
	*openapi3.Operation

	method, path string
	params       []*openapi3.Parameter
}

func contractOperations(doc *openapi3.T) (all []described) {
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Find(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			op := described{Operation: item.Operations()[method], method: method, path: path}
			for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
				op.params = append(op.params, ref.Value)
			}
			all = append(all, op)
		}
	}
	return all
}

// maker draws requests from the contract. What it needs to know of the server
// (ids, names) it has learned from answers.
type maker struct {
	t     *rapid.T
	known map[string][]string // by what it is: "TaskId", "EndpointName", …
	own   string              // the project that all is about
	keys  map[string]string   // Authorization by who
	url   string              // of a handler
	fresh string              // begins names that nobody else uses
}

func (g *maker) oneIn(n int, what string) bool { return rapid.IntRange(1, n).Draw(g.t, what) == 1 }

func (g *maker) pick(what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, what)
}

// request draws one that the contract allows.
func (g *maker) request(op described) *made {
	m := &made{op: op.OperationID, method: op.method, path: op.path}
	m.set("Authorization", g.keys["project"])
	scope, _ := op.Extensions["x-required-scope"].(string)
	if g.oneIn(4, "as admin") || !strings.HasPrefix(scope, "tasks:") && !strings.HasPrefix(scope, "endpoints:") {
		// Never without the project: the default one is other cases'.
		m.set("Authorization", g.keys["admin"])
		m.set("Taskgate-Project", g.own)
	}
	for _, p := range op.params {
		g.param(m, p)
	}
	if op.RequestBody != nil && (op.RequestBody.Value.Required || !g.oneIn(4, "no body")) {
		g.fill(m, op.RequestBody.Value)
	}
	return m
}

func (g *maker) param(m *made, p *openapi3.Parameter) {
	if p.In != openapi3.ParameterInPath && !p.Required && !g.oneIn(4, "with "+p.Name) || p.Name == "Taskgate-Project" {
		return
	}
	switch p.In {
	case openapi3.ParameterInPath:
		m.path = strings.Replace(m.path, "{"+p.Name+"}", url.PathEscape(g.named(p, m)), 1)
	case openapi3.ParameterInQuery:
		for range rapid.IntRange(1, 2).Draw(g.t, "values") {
			m.query = append(m.query, url.QueryEscape(p.Name)+"="+url.QueryEscape(g.text(p)))
			if p.Schema.Value.Type == nil || !p.Schema.Value.Type.Is("array") {
				break
			}
		}
	case openapi3.ParameterInHeader:
		m.set(p.Name, g.text(p))
	}
}

// kindOf says what the last part of a path that is a parameter names.
func kindOf(path string) string {
	for _, kind := range []string{"tasks", "endpoints", "jobs", "keys", "projects"} {
		if strings.HasPrefix(path, "/v1/"+kind+"/{") {
			return kind
		}
	}
	return ""
}

func (g *maker) named(p *openapi3.Parameter, m *made) string {
	kind := kindOf(m.path)
	some := g.known[kind]
	switch {
	case m.method == http.MethodPut && g.oneIn(2, "new name"):
		return g.fresh + g.pick("name", "a", "b", "c", "d")
	case m.method == http.MethodDelete && kind == "projects":
		return g.fresh + g.pick("name", "a", "b", "c", "d") // never the own one
	case len(some) > 0 && !g.oneIn(10, "unknown"):
		return g.pick(p.Name, some...)
	}
	return g.pick("unknown "+p.Name, "01kad2t5m6f0q9v3zj8y4w7xhc7", "nope", "0", "x.y-z_1")
}

// text is a value of a parameter.
func (g *maker) text(p *openapi3.Parameter) string {
	s := p.Schema.Value
	if s.Type != nil && s.Type.Is("array") {
		s = s.Items.Value
	}
	if pool := g.words(p.Name); pool != nil {
		return g.pick(p.Name, pool...)
	}
	var plain any
	if json.Unmarshal(g.value(s, p.Name, 0), &plain) == nil {
		return fmt.Sprint(plain)
	}
	return "x"
}

// words are values for what the contract's schemas cannot say.
func (g *maker) words(name string) []string {
	switch name {
	case "wait":
		return []string{"0s", "1ms", "20ms"}
	case "Prefer":
		return []string{"wait=0", "respond-async", `a="b,c", wait=0`}
	case "traceparent":
		return []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "no"}
	case "Idempotency-Key":
		return []string{g.fresh + "1", `"` + g.fresh + `2"`, g.fresh + "3"}
	case "label":
		return []string{"a:b", "team:x y", "a:"}
	case "cursor":
		return append([]string{""}, g.known["cursor"]...)
	case "url", "callback_url", "token_url":
		return []string{g.url, g.url + "?a=b", "https://hooks.example.com/x"}
	case "endpoint", "callback_endpoint":
		return g.known["endpoints"]
	case "project":
		return []string{g.own}
	case "delay", "expires_in", "timeout", "result_ttl", "min_backoff", "max_backoff", "max_age", "keep_old_for", "keep_previous_for":
		return []string{"1s", "5s", "90s", "1h", "1d2h", "3d"}
	case "run_at", "expires_at", "created_after", "created_before", "until":
		return []string{"2020-01-01T00:00:00Z", "2027-01-01T00:00:00.123+01:00", "2026-12-24T12:00:00Z"}
	case "callback_on":
		return []string{"succeeded", "failed,expired"}
	case "secret":
		return []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	case "idempotency_header":
		return []string{"Accept-Language"}
	case "before": // purge
		return []string{"2027-01-01T00:00:00Z"}
	}
	return nil
}

// value is the JSON text of a value that the schema allows.
func (g *maker) value(s *openapi3.Schema, name string, depth int) []byte {
	if s.Nullable && g.oneIn(5, "null "+name) {
		return []byte("null")
	}
	if len(s.Enum) > 0 {
		return encoded(rapid.SampledFrom(s.Enum).Draw(g.t, name))
	}
	switch {
	case s.Type.Is("object"):
		return g.object(s, depth)
	case s.Type.Is("array"):
		items := make([]string, rapid.IntRange(0, 2).Draw(g.t, "items"))
		for i := range items {
			items[i] = string(g.value(s.Items.Value, name, depth+1))
		}
		return []byte("[" + strings.Join(items, ",") + "]")
	case s.Type.Is("integer"), s.Type.Is("number"):
		return g.number(s, name)
	case s.Type.Is("boolean"):
		return encoded(rapid.Bool().Draw(g.t, name))
	case s.Type.Is("string"):
		return encoded(g.str(s, name))
	}
	return []byte(g.pick("any", `{"a":[1,2.50,"x"]}`, `null`, `"text"`, `12345678901234567890`, `[]`))
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (g *maker) object(s *openapi3.Schema, depth int) []byte {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name].Value
		if p.ReadOnly || !slices.Contains(s.Required, name) && !g.oneIn(3+2*depth, "with "+name) {
			continue
		}
		members = append(members, string(encoded(name))+":"+string(g.value(p, name, depth+1)))
	}
	if extra := s.AdditionalProperties.Schema; extra != nil && g.oneIn(2, "members") {
		members = append(members, `"X-A":`+string(g.value(extra.Value, "", depth+1)))
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

func (g *maker) number(s *openapi3.Schema, name string) []byte {
	lo, hi := 0.0, 1000.0
	if s.Min != nil {
		lo = *s.Min
	}
	if s.Max != nil {
		hi = min(*s.Max, lo+10_000)
	}
	n := rapid.IntRange(0, 4).Draw(g.t, name)
	v := []float64{lo, hi, (lo + hi) / 2, min(hi, lo+1), min(hi, lo+3)}[n]
	if s.Type.Is("integer") {
		return encoded(int64(v))
	}
	return encoded(v)
}

func (g *maker) str(s *openapi3.Schema, name string) string {
	if pool := g.words(name); len(pool) > 0 {
		return g.pick(name, pool...)
	}
	if text, ok := s.Example.(string); ok && g.oneIn(2, "example") {
		return text
	}
	if s.Pattern != "" {
		text := rapid.StringMatching(s.Pattern).Draw(g.t, name)
		if s.MaxLength != nil && len(text) > int(*s.MaxLength) {
			text = text[:*s.MaxLength]
		}
		return text
	}
	most := 12
	if s.MaxLength != nil {
		most = int(min(*s.MaxLength, 40))
	}
	return rapid.StringOfN(rapid.RuneFrom([]rune("abz09 -_.äß\u6f22🙂")), int(s.MinLength), most, most*2).Draw(g.t, name)
}

// fill gives the request a body: one of the contract's examples, or one by the
// schema.
func (g *maker) fill(m *made, body *openapi3.RequestBody) {
	kinds := slices.Sorted(maps.Keys(body.Content))
	kind := g.pick("media type", kinds...)
	media := body.Content[kind]
	m.bodied = true
	if strings.Contains(kind, "*") || !strings.Contains(kind, "json") {
		m.set("Content-Type", g.pick("type", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"))
		m.body = []byte(g.pick("bytes", "", "a=b", "\x00\xff", strings.Repeat("x", 2000)))
		return
	}
	m.set("Content-Type", kind)
	examples := g.examples(media)
	if len(examples) > 0 && !g.oneIn(3, "by schema") {
		m.body = g.local(rapid.SampledFrom(examples).Draw(g.t, "example"), "")
		return
	}
	m.body = g.value(media.Schema.Value, "", 0)
}

func (g *maker) examples(media *openapi3.MediaType) (all []any) {
	if media.Example != nil {
		all = append(all, media.Example)
	}
	for _, name := range slices.Sorted(maps.Keys(media.Examples)) {
		all = append(all, media.Examples[name].Value.Value)
	}
	return all
}

// local is an example in terms of what this server has.
func (g *maker) local(v any, name string) []byte {
	switch v := v.(type) {
	case map[string]any:
		var members []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			members = append(members, string(encoded(key))+":"+string(g.local(v[key], key)))
		}
		return []byte("{" + strings.Join(members, ",") + "}")
	case []any:
		items := make([][]byte, len(v))
		for i := range v {
			items[i] = g.local(v[i], name)
		}
		return append(append([]byte("["), bytes.Join(items, []byte(","))...), ']')
	case string:
		if slices.Contains([]string{"url", "endpoint", "project", "token_url", "run_at", "expires_at"}, name) {
			return encoded(g.pick(name, g.words(name)...))
		}
	}
	return encoded(v)
}
