// Package apitest holds the table of malformed and hostile requests, and sends
// it over TCP to a server: each gets its right problem in bounded time and
// memory, breaks no contract, and changes nothing. The same table runs against
// the API alone and against the whole embedded product.
package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/contracttest"
)

// Env is what the requests speak of. The server must have an endpoint
// "emails" with a timeout of 30 s, an https URL being the only kind that it
// takes, and a MaxPayload of 4 KiB.
type Env struct {
	Key        string // of an admin of the project that all is about
	ReaderKey  string // may read its tasks only
	ForeignKey string // of another project, where it may do anything with tasks and endpoints

	Task        string // one that was cancelled
	ForeignTask string // a waiting one of the other project
	ForeignJob  string // a job of the other project

	// SlowBodies: bodies have to arrive within a second; else the rows that
	// are about that are left out.
	SlowBodies bool
}

// refusal is a request that must be refused, and how.
type refusal struct {
	name           string
	method, target string
	body           string
	headers        []string // "Name: value"; they replace the usual ones of that name
	status         int
	code           string // "": refused by the parser of HTTP, in its own words
	pointers       []string
}

// wired is a refusal of bytes on the wire.
type wired struct {
	refusal

	wire string
	// endless is sent after wire again and again, until there is an answer.
	endless string
	// half: the sender says that no more will come, and still listens.
	half bool
	slow bool
}

// Bounds of every answer, far above what one takes and far below what a
// request that is read whole would.
const (
	maxTook  = 5 * time.Second
	maxAlloc = 48 << 20
	maxSent  = 24 << 20 // of an endless body: limits and buffers of both sides
)

// Run sends the table. state tells everything that a request could change.
func Run(t *testing.T, addr string, env Env, state func() string) {
	t.Helper()
	checker, err := contracttest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	r := runner{addr: addr, env: env, state: state, checker: checker}
	rows := table(env)
	names := make(map[string]bool)
	for _, row := range rows {
		if names[row.name] {
			t.Errorf("two rows are called %q", row.name)
		}
		names[row.name] = true
		if row.slow && !env.SlowBodies {
			continue
		}
		t.Run(row.name, func(t *testing.T) { r.run(t, row) })
	}
	t.Logf("%d requests", len(rows))
}

// table is the whole of it.
func table(env Env) []wired {
	var rows []wired
	for _, r := range slices.Concat(refusals(), endpointRefusals(), more(env), others(env)) {
		rows = append(rows, wired{refusal: r, wire: wireOf(r, env.Key)})
	}
	return append(rows, hostile(env)...)
}

type runner struct {
	addr    string
	env     Env
	state   func() string
	checker *contracttest.Checker
}

func (r *runner) run(t *testing.T, row wired) {
	t.Helper()
	before := r.state()
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	began := time.Now()
	a, err := exchange(t.Context(), r.addr, row)
	took := time.Since(began)
	runtime.ReadMemStats(&to)
	if err != nil {
		t.Fatal(err)
	}
	r.judge(t, row, a)
	if took > maxTook {
		t.Errorf("it took %s", took)
	}
	if n := to.TotalAlloc - from.TotalAlloc; n > maxAlloc {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	if a.sent > maxSent {
		t.Errorf("%d MiB were taken", a.sent>>20)
	}
	if after := r.state(); after != before {
		t.Errorf("it changed something:\n%s\nthen\n%s", before, after)
	}
}

// problem is what a test reads of one.
type problem struct {
	Code   string
	Errors []struct{ Pointer string }
}

func (r *runner) judge(t *testing.T, row wired, a *answer) {
	t.Helper()
	if a.status != row.status {
		t.Fatalf("answered %d, want %d: %s", a.status, row.status, a.body)
	}
	for _, word := range []string{
		"json:", "strconv", "cannot unmarshal", "Schema:", "invalid character", "schema.", "goroutine", "dial tcp", "doesn't match", ".go:",
	} {
		if bytes.Contains(a.body, []byte(word)) {
			t.Errorf("it says %q: %s", word, a.body)
		}
	}
	if row.code == "" {
		return
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	got := make([]string, 0, len(p.Errors))
	for _, e := range p.Errors {
		got = append(got, e.Pointer)
	}
	if p.Code != row.code || !slices.Equal(got, row.pointers) && len(got)+len(row.pointers) > 0 {
		t.Errorf("answered %s at %q, want %s at %q: %s", p.Code, got, row.code, row.pointers, a.body)
	}
	if a.request == nil {
		return // not a request that this side could read either
	}
	x := &contracttest.Exchange{Request: a.request, Status: a.status, Header: a.header, Body: a.body}
	if err := r.checker.Check(x); err != nil {
		t.Error(err)
	}
}

// wireOf writes a request with the usual headers.
func wireOf(r refusal, key string) string {
	lines := []string{"Host: taskgate.test", "Authorization: Bearer " + key, "Connection: close"}
	if strings.HasPrefix(r.body, "{") {
		lines = append(lines, "Content-Type: application/json")
	}
	if r.body != "" {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(r.body)))
	}
	for _, h := range r.headers {
		name, _, _ := strings.Cut(h, ":")
		lines = slices.DeleteFunc(lines, func(line string) bool {
			usual, _, _ := strings.Cut(line, ":")
			return strings.EqualFold(usual, name)
		})
	}
	for _, h := range r.headers {
		if _, value, _ := strings.Cut(h, ":"); strings.TrimSpace(value) != "" {
			lines = append(lines, h)
		}
	}
	return r.method + " " + r.target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + r.body
}

// answer is what came back.
type answer struct {
	request *http.Request // as it was sent; nil when it is no request
	status  int
	header  http.Header
	body    []byte
	sent    int64
}
