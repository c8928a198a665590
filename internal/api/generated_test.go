package api_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestNearlyValidSubmissions: whatever a client that nearly understood the
// contract sends, it hears 202 or a 4xx that says where it was wrong, within
// the contract; and a task exists exactly when it heard 202.
func TestNearlyValidSubmissions(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	seen := map[int]int{}
	one := func(rt *rapid.T) {
		g := submissions{rt}
		before := len(w.tasks)
		target, body, headers := g.target(), g.bytes(), g.headers()
		a, err := c.exchange(requestOf("POST", target, body, headers), body)
		seen[a.Code]++
		made, wanted := len(w.tasks)-before, 0
		if a.Code < 300 && a.Header().Get("Idempotency-Replayed") == "" {
			wanted = 1
		}
		switch {
		case err != nil:
			rt.Fatalf("%v: POST %s %q\n%s", err, target, headers, body)
		case a.Code >= 500:
			rt.Fatalf("%d: POST %s %q\n%s\n%s", a.Code, target, headers, body, a.Body)
		case made != wanted:
			rt.Fatalf("%d, but %d tasks: POST %s %q\n%s", a.Code, made, target, headers, body)
		case a.Code == 422 || a.Code == 400:
			for _, f := range a.problem.Errors {
				if f.Detail == "" {
					rt.Fatalf("a fault without words: %s", a.Body)
				}
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 {
			one(rt)
		}
	})
	t.Log(seen)
	if !testing.Short() && (seen[202] == 0 || seen[400] == 0 || seen[422] == 0) {
		t.Errorf("the generator is one-sided: %v", seen)
	}
}

// submissions draws requests.
type submissions struct{ t *rapid.T }

func (g submissions) oneIn(n int, what string) bool { return rapid.IntRange(1, n).Draw(g.t, what) == n }

func (g submissions) pick(from []string, what string) string {
	return rapid.SampledFrom(from).Draw(g.t, what)
}

func (g submissions) target() string {
	return g.pick([]string{
		"/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks", "/v1/tasks?wait=1ms", "/v1/tasks?wait=0s", "/v1/tasks?wait", "/v1/tasks?wait=1ms&wait=2ms",
		"/v1/tasks?x=1", "/v1/tasks?%", "/v1/tasks?wait=%00", "/v1/tasks/", "/v1/tasks?&&", "/v1/tasks?=",
	}, "target")
}

func (g submissions) headers() (hs []string) {
	if !g.oneIn(4, "with headers") {
		return nil
	}
	for range rapid.IntRange(1, 2).Draw(g.t, "headers") {
		name := g.pick([]string{
			"Idempotency-Key", "Prefer", "traceparent", "Content-Type", "Accept", "Content-Encoding", "X-Anything", "Taskgate-Project", "Taskgate-Delay",
		}, "header")
		value := g.pick([]string{
			"a", `"a"`, `"`, "wait=0", "wait=", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "application/json", "text/plain", "*/*",
			"identity", "gzip", "default", "5s", "ä", "application/json; charset=utf-8", strings.Repeat("v", 300),
		}, "value")
		hs = append(hs, name+": "+value)
	}
	return hs
}

// fields are the members of a submission with values that are taken.
var fields = map[string][]string{
	"endpoint":   {`"emails"`, `"emails"`, `"emails"`, `"nope"`},
	"payload":    {`{"a":[1,2.50,"x"]}`, `null`, `[]`, `"\ud800"`, `1e999`},
	"delay":      {`"5s"`, `"1d2h"`, `"0s"`},
	"run_at":     {`"2020-01-01T00:00:00Z"`, `"2026-12-24T00:00:00.5+01:00"`},
	"expires_at": {`"2027-06-01T00:00:00Z"`},
	"expires_in": {`"300d"`},
	"timeout":    {`"10s"`, `"100ms"`},
	"result_ttl": {`"1h"`},
	"labels":     {`{}`, `{"a":"b"}`, `{"a.b-c_d":""}`},
	"headers":    {`{}`, `{"X-A":"b"}`, `{"Content-Language":"de"}`},
	"retry": {
		`{}`, `{"max_attempts":3,"min_backoff":"1s","jitter":0.5}`, `{"schedule":["1s","2s"],"fail_on":["400-499"]}`, `{"schedule":[]}`,
	},
}

// odd are values that belong nowhere in particular.
var odd = []string{
	`null`, `true`, `0`, `-1`, `1e400`, `1.5`, `""`, `" "`, `"x"`, `"\u0000"`, `"\ud800"`, `[]`, `{}`, `[null]`, `{"a":null}`, `{"a":{"b":[1]}}`,
	`[[[[]]]]`, `"2026-02-30T00:00:00Z"`, `"9999999d"`, `"5S"`, `"-5s"`, `"5s "`, `{"":""}`, `{"a":1,"a":2}`, `{"X A":"b"}`, `{"Host":"x"}`, `{"X-A":"b\r\nc"}`,
	`{"max_attempts":0}`, `{"max_attempts":1e1}`, `{"retry_on":["5xx"]}`, `{"unknown":1}`, `12345678901234567890123`, `"` + strings.Repeat("x", 400) + `"`,
}

// bytes is a body; one in four is damaged.
func (g submissions) bytes() string {
	body := []byte(g.object())
	if !g.oneIn(4, "damaged") {
		return string(body)
	}
	for range rapid.IntRange(1, 3).Draw(g.t, "damages") {
		if len(body) == 0 {
			break
		}
		at := rapid.IntRange(0, len(body)-1).Draw(g.t, "at")
		switch rapid.IntRange(0, 3).Draw(g.t, "damage") {
		case 0:
			body = append(body[:at], body[at+1:]...)
		case 1:
			body[at] = rapid.Byte().Draw(g.t, "byte")
		case 2:
			body = body[:at]
		default:
			body = append(body[:at:at], append([]byte(g.pick([]string{"{", "}", "[", "]", `"`, ",", ":", "\\", "\x00", "0"}, "sign")), body[at:]...)...)
		}
	}
	return string(body)
}

func (g submissions) object() string {
	var members []string
	if !g.oneIn(20, "without endpoint") {
		members = append(members, `"endpoint":`+g.value("endpoint"))
	}
	names := []string{"payload", "delay", "run_at", "expires_at", "expires_in", "timeout", "result_ttl", "labels", "headers", "retry"}
	for range rapid.IntRange(0, 4).Draw(g.t, "members") {
		name := g.pick(names, "name")
		if g.oneIn(15, "misspelt") {
			members = append(members, fmt.Sprintf("%q:%s", g.pick([]string{"Delay", "deley", "", "a/b~", "\u00e4", "endpoint"}, "as"), g.value(name)))
			continue
		}
		members = append(members, `"`+name+`":`+g.value(name))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (g submissions) value(name string) string {
	if g.oneIn(8, "odd") {
		return g.pick(odd, "odd value")
	}
	return g.pick(fields[name], name)
}
