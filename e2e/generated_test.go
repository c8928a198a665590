package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/contracttest"
)

// TestGeneratedRequests walks every operation of the contract with requests
// that it allows and requests that it nearly allows, drawn from the contract
// itself, over TCP: no answer is a fault of the server or late, and each is as
// the contract says. TASKGATE_GENERATED (a duration) makes it go on for longer;
// -rapid.seed repeats a run.
func TestGeneratedRequests(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		cfg, err := config.Load(config.Serve, config.Source{Environ: environ("TASKGATE_DATA="+t.TempDir(), "TASKGATE_LOG_LEVEL=error")})
		if err != nil {
			t.Fatal(err)
		}
		a, err := app.New(cfg, app.Options{Logs: quiet{os.Stderr}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
			defer cancel()
			if err := a.Stop(ctx); err != nil {
				t.Error(err)
			}
		}()
		generated(t, &target{name: "embedded", bases: []string{"http://" + a.Addr()}, key: adminKey, t: t})
	})
	t.Run("services", func(t *testing.T) {
		t.Parallel()
		needServices(t)
		env := servicesEnv(namespace())
		tg := &target{name: "services", key: adminKey, t: t}
		for _, bin := range []string{"dispatcher", "gateway"} {
			p, err := start(bin, env)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.stop)
			tg.bases = []string{p.base}
		}
		generated(t, tg)
	})
}

// without are the operations that no request of the maker can be sure to see
// taken, each with the reason.
var without = map[string]string{}

// walk is one run against one target.
type walk struct {
	addr    string
	checker *contracttest.Checker
	maker   maker // all but its source
	ops     []described
	ids     []string               // of the operations
	taken   map[string]int         // 2xx by operation
	seen    map[string]map[int]int // statuses by operation
	refused int                    // 503
}

func generated(t *testing.T, tg *target) {
	w := newWalk(t, tg)
	// Each once as the contract has it, until it is taken; what removes things last,
	// or there would be nothing to read.
	last := func(op described) int {
		if op.method == http.MethodDelete {
			return 1
		}
		return 0
	}
	ops := slices.Clone(w.ops)
	slices.SortStableFunc(ops, func(a, b described) int { return last(a) - last(b) })
	for _, op := range ops {
		for i := 0; w.taken[op.OperationID] == 0 && i < 60; i++ {
			m := rapid.Custom(func(rt *rapid.T) *made { return w.with(rt).request(op) }).Example(i)
			if err := w.send(t.Context(), m); err != nil {
				t.Fatalf("%v\n%s", err, m.wire())
			}
		}
	}
	begin, length := time.Now(), time.Duration(0)
	if text := os.Getenv("TASKGATE_GENERATED"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for {
		rapid.Check(t, w.some)
		if time.Since(begin) >= length || t.Failed() {
			break
		}
	}
	w.report(t)
}

// some sends a few requests, of which each may be bent.
func (w *walk) some(rt *rapid.T) {
	g := w.with(rt)
	for range 10 {
		id := rapid.SampledFrom(w.ids).Draw(rt, "operation")
		m := g.request(w.ops[slices.Index(w.ids, id)])
		if !g.oneIn(4, "as it is") {
			g.bend(m)
		}
		if err := w.send(context.Background(), m); err != nil {
			rt.Fatalf("%v\nbent %q:\n%.3000q", err, m.bent, m.wire())
		}
	}
}

func (w *walk) with(rt *rapid.T) *maker {
	g := w.maker
	g.t = rt
	return &g
}

func newWalk(t *testing.T, tg *target) *walk {
	t.Helper()
	checker, err := contracttest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := contracttest.Document()
	if err != nil {
		t.Fatal(err)
	}
	h := serve(t, body(200, "application/json", `{"ok":true}`))
	w := &walk{
		addr: strings.TrimPrefix(tg.bases[0], "http://"), checker: checker, ops: contractOperations(doc),
		taken: map[string]int{}, seen: map[string]map[int]int{},
	}
	for _, op := range w.ops {
		w.ids = append(w.ids, op.OperationID)
	}
	own := "walk" + namespace()
	key := func(scopes, project string) string {
		var made struct{ Key string }
		w.do(t, "POST", "/v1/keys", `{"name":"walk","scopes":[`+scopes+`]`+project+`}`, &made)
		return "Bearer " + made.Key
	}
	w.maker = maker{known: map[string][]string{}, own: own, url: h.URL, fresh: "w" + namespace(), keys: map[string]string{"admin": "Bearer " + tg.key}}
	w.do(t, "PUT", "/v1/projects/"+own, `{}`, nil)
	w.do(t, "PUT", "/v1/projects/"+w.maker.fresh+"a", `{}`, nil)
	of := `,"project":"` + own + `"`
	w.maker.keys["project"] = key(`"tasks:*","endpoints:*"`, of)
	w.maker.keys["reader"] = key(`"tasks:read"`, of)
	w.maker.known["projects"] = []string{own}
	for _, name := range []string{"one", "two"} {
		w.do(t, "PUT", "/v1/endpoints/"+name, `{"url":"`+h.URL+`"}`, nil)
		w.maker.known["endpoints"] = append(w.maker.known["endpoints"], name)
	}
	for range 3 {
		var made struct{ ID string }
		w.do(t, "POST", "/v1/tasks", `{"endpoint":"one","delay":"1h"}`, &made)
		w.maker.known["tasks"] = append(w.maker.known["tasks"], made.ID)
	}
	// A job that goes on for a while: five tasks, one in ten seconds.
	w.do(t, "PUT", "/v1/endpoints/slow", `{"url":"`+h.URL+`"}`, nil)
	for range 5 {
		w.do(t, "POST", "/v1/tasks", `{"endpoint":"slow","delay":"1h"}`, nil)
	}
	var job struct{ ID string }
	w.do(t, "POST", "/v1/tasks/cancel", `{"filter":{"endpoint":"slow"},"rate":0.1}`, &job)
	w.maker.known["jobs"] = []string{job.ID}
	return w
}

// do sends a request that must be taken.
func (w *walk) do(t *testing.T, method, path, text string, into any) {
	t.Helper()
	m := &made{op: "setup", method: method, path: path, body: []byte(text), bodied: true}
	m.set("Authorization", w.maker.keys["admin"])
	if m.set("Content-Type", "application/json"); w.maker.keys["admin"] == "" {
		m.set("Authorization", "Bearer "+adminKey)
	}
	if w.maker.own != "" && !strings.HasPrefix(path, "/v1/projects") && !strings.HasPrefix(path, "/v1/keys") {
		m.set("Taskgate-Project", w.maker.own)
	}
	x, err := w.exchange(t.Context(), m)
	if err != nil || x.Status >= 300 {
		t.Fatalf("%s %s: %v: %+v", method, path, err, x)
	}
	if into != nil {
		if err := json.Unmarshal(x.Body, into); err != nil {
			t.Fatal(err)
		}
	}
}

// inTime is far above what any answer takes: an endpoint is tried for as long
// as its handler takes.
const inTime = 60 * time.Second

// exchange returns nil without an error for what net/http itself refuses, in
// its own words.
func (w *walk) exchange(ctx context.Context, m *made) (*contracttest.Exchange, error) {
	conn, err := (&net.Dialer{Timeout: inTime}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(inTime)); err != nil {
		return nil, err
	}
	wire := m.wire()
	request, bad := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
	// A server that has answered may stop reading: what it says counts.
	_, sent := io.WriteString(conn, wire)
	resp, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return nil, fmt.Errorf("no answer: %w", errors.Join(err, sent))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("half an answer: %w", err)
	}
	if ours := resp.Header.Get("X-Request-ID") != ""; bad != nil || !ours {
		if ours || resp.StatusCode < 400 || resp.StatusCode == http.StatusInternalServerError {
			return nil, fmt.Errorf("what is no request is answered %d %v", resp.StatusCode, resp.Header)
		}
		return nil, nil //nolint:nilnil // see above
	}
	return &contracttest.Exchange{Request: request, Sent: m.body, Status: resp.StatusCode, Header: resp.Header, Body: text}, nil
}

// send sends a request and learns from the answer.
func (w *walk) send(ctx context.Context, m *made) error {
	x, err := w.exchange(ctx, m)
	if err != nil || x == nil {
		return err
	}
	if w.seen[m.op] == nil {
		w.seen[m.op] = map[int]int{}
	}
	w.seen[m.op][x.Status]++
	if x.Request.Method == http.MethodOptions && x.Status == http.StatusNoContent && x.Header.Get("Allow") != "" {
		return nil // HTTP's own question, of every path
	}
	if x.Request.Method != http.MethodHead { // that has no body to look at
		err = w.checker.Check(x)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, x.Body)
	}
	switch {
	case x.Status == http.StatusServiceUnavailable && x.Header.Get("Retry-After") != "":
		w.refused++
	case x.Status >= 500:
		return fmt.Errorf("answered %d: %s", x.Status, x.Body)
	case x.Status < 300 && len(m.bent) == 0:
		w.taken[m.op]++
	}
	return w.judge(m, x)
}

// judge looks at what the contract cannot say, and keeps names.
func (w *walk) judge(m *made, x *contracttest.Exchange) error {
	for _, word := range []string{"goroutine ", "json:", "strconv", "cannot unmarshal", "dial tcp", ".go:", "sqlite", "SQLITE_", "WRONGTYPE ", "runtime error"} {
		if x.Status >= 400 && bytes.Contains(x.Body, []byte(word)) && !strings.Contains(m.wire(), word) {
			return fmt.Errorf("the refusal says %q: %s", word, x.Body)
		}
	}
	var got struct {
		ID         string `json:"id"`
		NextCursor string `json:"next_cursor"`
	}
	_ = json.Unmarshal(x.Body, &got) // what has another form teaches nothing
	switch {
	case x.Status >= 300:
	case got.NextCursor != "":
		w.learn("cursor", got.NextCursor)
	case m.op == "submitTask" || m.op == "submitRawTask":
		w.learn("tasks", got.ID)
	case m.op == "cancelTasks" || m.op == "retryTasks":
		w.learn("jobs", got.ID)
	case m.op == "createKey":
		w.learn("keys", got.ID)
	}
	return nil
}

// learn remembers the last few of a kind.
func (w *walk) learn(kind, name string) {
	if name == "" {
		return
	}
	const most = 8
	some := w.maker.known[kind]
	w.maker.known[kind] = append(slices.Clone(some[max(0, len(some)+1-most):]), name)
}

func (w *walk) report(t *testing.T) {
	t.Helper()
	total := 0
	for _, op := range w.ops {
		for _, n := range w.seen[op.OperationID] {
			total += n
		}
		why, excused := without[op.OperationID]
		if excused == (w.taken[op.OperationID] > 0) {
			t.Errorf("%s: %d requests as the contract has them were taken (%s); statuses %v", op.OperationID, w.taken[op.OperationID], why, w.seen[op.OperationID])
		}
	}
	if w.refused*50 > total {
		t.Errorf("%d of %d requests were refused as unavailable", w.refused, total)
	}
	t.Logf("%d requests, %d unavailable", total, w.refused)
	for _, op := range slices.Sorted(maps.Keys(w.seen)) {
		t.Logf("%s: %v", op, w.seen[op])
	}
}
