package cli_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/cli"
)

const queued = `{"id":"01k","endpoint":"e","state":"queued","attempts":0,"generation":1,"payload_size":1,"created_at":"2026-01-02T03:04:05Z","links":{}}`

// fake is a server that answers by a script, the last step repeating.
type fake struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
	body []string
}

// requests are those that have come so far.
func (f *fake) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *fake) bodies() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.body)
}

type step func(w http.ResponseWriter, r *http.Request)

func newFake(t *testing.T, script ...step) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.seen = append(f.seen, r)
		f.body = append(f.body, string(b))
		n := len(f.seen)
		f.mu.Unlock()
		script[min(n, len(script))-1](w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func says(status int, kind, body string, header ...string) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func breaksOff(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func unavailable(code string) step {
	return says(503, "application/problem+json", `{"type":"urn:x","title":"Not now","status":503,"code":"`+code+`","instance":"R"}`, "Retry-After", "0")
}

func at(url string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := cli.Main(cli.Process{Args: args, Environ: []string{"TASKGATE_URL=" + url}, Stdout: &stdout, Stderr: &stderr})
	return result{code, stdout.String(), stderr.String()}
}

// A submission is sent again under one key, with one body.
func TestSubmitIsMadeAgainSafely(t *testing.T) {
	t.Parallel()
	f := newFake(t, unavailable("outcome_unknown"), breaksOff,
		says(409, "application/problem+json", `{"type":"urn:x","title":"Busy","status":409,"code":"in_progress","instance":"R"}`, "Retry-After", "0"),
		says(502, "text/html", "<h1>"), says(202, "application/json", queued))
	r := at(f.URL, "submit", "e", `{"n":1}`)
	if r.code != 0 || r.stdout != "01k  queued  e\n" {
		t.Errorf("code %d, %q, %s", r.code, r.stdout, r.stderr)
	}
	if len(f.requests()) != 5 {
		t.Fatalf("%d requests", len(f.requests()))
	}
	for i, req := range f.requests() {
		key := req.Header.Get("Idempotency-Key")
		if key == "" || key != f.requests()[0].Header.Get("Idempotency-Key") || f.bodies()[i] != f.bodies()[0] || f.bodies()[0] != `{"endpoint":"e","payload":{"n":1}}` {
			t.Errorf("request %d: key %q, body %q", i, key, f.bodies()[i])
		}
		if !strings.HasPrefix(req.Header.Get("User-Agent"), "taskgate/") {
			t.Errorf("user agent %q", req.Header.Get("User-Agent"))
		}
	}
}

// What would do harm twice is not made again.
func TestOthersAreMadeOnce(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"retry", "01k"}, {"endpoints", "put", "e", "https://example.com"}} {
		for name, first := range map[string]step{"unavailable": unavailable("unavailable"), "breaks off": breaksOff} {
			f := newFake(t, first, says(200, "application/json", queued))
			if r := at(f.URL, args...); r.code != 3 || len(f.requests()) != 1 {
				t.Errorf("%v, %s: code %d, %d requests: %s", args, name, r.code, len(f.requests()), r.stderr)
			}
		}
		f := newFake(t, says(429, "application/problem+json", `{"title":"Slower","status":429,"code":"x"}`, "Retry-After", "0"), says(200, "application/json", queued))
		if r := at(f.URL, args...); r.code != 0 || len(f.requests()) != 2 {
			t.Errorf("%v after 429: code %d, %d requests: %s", args, r.code, len(f.requests()), r.stderr)
		}
	}
}

// That a thing is gone when its deletion is made again is what was asked for.
func TestDeletionMadeAgain(t *testing.T) {
	t.Parallel()
	gone := says(404, "application/problem+json", `{"title":"Not found","status":404,"code":"not_found","instance":"R"}`)
	if r := at(newFake(t, breaksOff, gone).URL, "endpoints", "delete", "e"); r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if r := at(newFake(t, gone).URL, "endpoints", "delete", "e"); r.code != 1 {
		t.Errorf("it never was there: code %d: %s", r.code, r.stderr)
	}
}

// The tries end with the time for them: at once when the server asks for more.
func TestTriesEnd(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(503, "application/problem+json",
		`{"title":"Not now","status":503,"code":"outcome_unknown","instance":"R","task_id":"01k"}`, "Retry-After", "3600"))
	begun := time.Now()
	r := at(f.URL, "submit", "e", "1", "--idempotency-key", "mine")
	if r.code != 3 || len(f.requests()) != 1 || time.Since(begun) > 5*time.Second {
		t.Errorf("code %d, %d requests", r.code, len(f.requests()))
	}
	if !strings.Contains(r.stderr, "--idempotency-key mine") {
		t.Errorf("does not say how to repeat: %s", r.stderr)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there
	begun = time.Now()
	if r := at("http://"+l.Addr().String(), "get", "x", "--retry-for", "700ms"); r.code != 3 || !strings.Contains(r.stderr, "refused") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if took := time.Since(begun); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

// A server that is not Taskgate is told from one that is.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer step
		code   int
		text   string
	}{
		"a page":            {says(200, "text/html", "<h1>hello</h1>"), 3, "not an answer of Taskgate's"},
		"not found":         {says(404, "text/html", "<h1>hello</h1>"), 1, "not an answer of Taskgate's"},
		"redirect":          {says(301, "text/html", "", "Location", "https://elsewhere.example/"), 1, "redirects"},
		"fault":             {says(500, "text/plain", "stack"), 3, "Internal Server Error"},
		"problem cut off":   {says(400, "application/problem+json", `{"title":`), 1, "Bad Request"},
		"terminal controls": {says(400, "application/problem+json", `{"title":"\u001b[2Jx","status":400,"code":"malformed"}`), 1, "\ufffd[2Jx"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 40 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, 3, "an answer of more than"},
	} {
		f := newFake(t, c.answer)
		r := at(f.URL, "get", "x")
		if r.code != c.code || !strings.Contains(r.stderr, c.text) || strings.Contains(r.stderr, "\x1b") {
			t.Errorf("%s: code %d, %q", name, r.code, r.stderr)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	ready := newFake(t, says(200, "application/json", ""))
	var stdout bytes.Buffer
	keyed := []string{"TASKGATE_URL=" + ready.URL, "TASKGATE_KEY=" + adminKey}
	if code := cli.Main(cli.Process{Args: []string{"health"}, Environ: keyed, Stdout: &stdout}); code != 0 || stdout.String() != "ready\n" {
		t.Errorf("code %d: %s", code, &stdout)
	}
	if r := at(ready.URL, "health"); r.code != 0 || r.stdout != "ready\n" {
		t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := at("http://127.0.0.1:1", "health", ready.URL, "--json"); r.code != 0 || r.stdout != "{\"status\":\"ok\"}\n" {
		t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	not := newFake(t, says(503, "application/json", `{"status":"unavailable"}`, "Retry-After", "0"))
	if r := at(not.URL, "health"); r.code != 3 || len(not.requests()) != 1 {
		t.Errorf("code %d, %d requests: %s", r.code, len(not.requests()), r.stderr)
	}
	for _, req := range append(ready.requests(), not.requests()...) {
		if req.URL.Path != "/readyz" || req.Header.Get("Authorization") != "" {
			t.Errorf("%s with key %q", req.URL, req.Header.Get("Authorization"))
		}
	}
	silent := newFake(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if r := at(silent.URL, "health", "--timeout", "50ms"); r.code != 3 || !strings.Contains(r.stderr, "no answer in time") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// A signal ends a wait at once.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	signals := make(chan os.Signal, 1)
	go func() {
		<-asked
		signals <- syscall.SIGINT
	}()
	var stderr bytes.Buffer
	code := cli.Main(cli.Process{Args: []string{"wait", "x", "y", "--server", f.URL}, Stderr: &stderr, Signals: signals})
	if code != 130 || len(f.requests()) != 1 {
		t.Errorf("code %d, %d requests: %s", code, len(f.requests()), &stderr)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(200, "application/json", queued))
	var stderr bytes.Buffer
	code := cli.Main(cli.Process{Args: []string{"get", "x", "--server", f.URL}, Stdout: brokenPipe{}, Stderr: &stderr})
	if code != 3 || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("code %d: %s", code, &stderr)
	}
}

// A person sees what is waited for; the line is gone at the end. Programs see
// nothing of it.
func TestProgress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		terminal bool
		args     []string
		shown    bool
	}{
		"person":  {true, nil, true},
		"program": {true, []string{"--json"}, false},
		"log":     {false, nil, false},
	} {
		w := newWorld(t)
		w.endpoint("progress", "/")
		var stderr bytes.Buffer
		args := append([]string{"submit", "progress", "1", "--delay", "1500ms", "--wait", "--server", w.url}, c.args...)
		var stdout bytes.Buffer
		code := cli.Main(cli.Process{
			Args: args, Environ: []string{"TASKGATE_KEY=" + adminKey}, Stdout: &stdout, Stderr: &stderr, Terminal: c.terminal,
		})
		if code != 0 || strings.Contains(stderr.String(), "scheduled") != c.shown {
			t.Errorf("%s: code %d, %q", name, code, &stderr)
		}
		if c.shown && !strings.HasSuffix(stderr.String(), "\r\x1b[K") || !c.shown && stderr.Len() > 0 {
			t.Errorf("%s: left behind: %q", name, &stderr)
		}
	}
}
