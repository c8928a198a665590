package cli_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/cli"
)

// A payload reaches the handler byte for byte, wherever it comes from.
func TestSubmitPayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("payload", "/")
	text := "{\"a\": 1.50,\n \"b\": \"<&\u2028>\", \"c\": 12345678901234567890}"
	file := filepath.Join(t.TempDir(), "payload.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		arg   string
		stdin io.Reader
	}{
		"argument": {text, nil}, "file": {"@" + file, nil}, "standard input": {"-", strings.NewReader(text)}, "the same": {"@-", strings.NewReader(text)},
	} {
		for _, kind := range [][]string{nil, {"--content-type", "application/x-any"}} {
			r := w.with(cli.Process{Stdin: c.stdin}, append([]string{"submit", "payload", c.arg, "--result"}, kind...)...)
			if r.code != 0 || r.stdout != text {
				t.Errorf("%s %v: code %d, %q, %s", name, kind, r.code, r.stdout, r.stderr)
			}
			if c.stdin != nil {
				c.stdin = strings.NewReader(text)
			}
		}
	}
	if got := w.ok("submit", "payload", "--result"); got != "" {
		t.Errorf("no payload: the handler got %q", got)
	}
	if r := w.run("submit", "payload", "-"); r.code != 2 {
		t.Errorf("no standard input: code %d, %s", r.code, r.stderr)
	}
	if r := w.with(cli.Process{Stdin: strings.NewReader(strings.Repeat("x", 17<<20))}, "submit", "payload", "-"); r.code != 2 {
		t.Errorf("endless input: code %d, %s", r.code, r.stderr)
	}
}

// Every option reaches the task, as JSON and raw.
func TestSubmitOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("options", "/headers")
	ahead := time.Now().UTC().Add(100 * 24 * time.Hour).Format("2006-01-02T15:04:05Z")
	for _, kind := range [][]string{{"1"}, {"x", "--content-type", "text/x"}} {
		args := append([]string{"submit", "options"}, kind...)
		got := w.ok(append(args, "--header", "X-Tenant:acme", "--label", "a=1;b=2", "--label", "c=", "--expires-in", "1h", "--result")...)
		if want := "acme application/json"; len(kind) == 1 && got != want {
			t.Errorf("the handler got %q, want %q", got, want)
		}
		if want := "acme text/x"; len(kind) > 1 && got != want {
			t.Errorf("the handler got %q, want %q", got, want)
		}
		line := w.ok(append(args, "--delay", "2d", "--expires-at", ahead, "--result-ttl", "7d", "--attempt-timeout", "2s",
			"--max-attempts", "2", "--min-backoff", "1s", "--max-backoff", "2s", "--max-age", "1d", "--label", "a=1;b=2", "--json")...)
		for _, part := range []string{`"state":"scheduled"`, `"expires_at":"` + ahead + `"`, `"labels":{"a":"1;b=2"}`} {
			if !strings.Contains(line, part) {
				t.Errorf("%s is not in %s", part, line)
			}
		}
		if line := w.ok(append(args, "--run-at", ahead, "--json")...); !strings.Contains(line, `"run_at":"`+ahead+`"`) {
			t.Errorf("got %s", line)
		}
	}
}

// The same key and task are accepted once.
func TestSubmitKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("keyed", "/")
	for _, kind := range [][]string{nil, {"--content-type", "text/plain"}} {
		args := append([]string{"keyed", "1", "--label", "b=1", "--label", "a=1", "--idempotency-key", "k" + strings.Join(kind, "")}, kind...)
		first := w.submit(args...)
		if second := w.submit(args...); first == "" || first != second {
			t.Errorf("two tasks: %s and %s", first, second)
		}
		if r := w.run(append([]string{"submit", "--max-age", "1h"}, args...)...); r.code != 1 || !strings.Contains(r.stderr, "idempotency_key_reused") {
			t.Errorf("another task under the key: code %d, %s", r.code, r.stderr)
		}
	}
	if a, b := w.submit("keyed", "1"), w.submit("keyed", "1"); a == b {
		t.Error("without a key two commands are one task")
	}
}

// A wait lasts beyond the server's longest one, which is a second here.
func TestWaitBeyondTheServersLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("slow", "/")
	begun := time.Now()
	if got := w.ok("submit", "slow", "1", "--delay", "2500ms", "--result", "--timeout", "20s"); got != "1" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(begun); took < 2500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// Several tasks are printed in the order of the arguments; the first that did
// not succeed makes the exit code.
func TestWaitForSeveral(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("good", "/")
	w.endpoint("bad", "/fail")
	slow, bad, quick := w.submit("good", "1", "--delay", "700ms"), w.submit("bad", "2"), w.submit("good", "3")
	r := w.run("wait", "--json", slow, bad, "nope", quick)
	if r.code != 1 || !strings.Contains(r.stderr, `"about":"nope"`) {
		t.Errorf("code %d, %s", r.code, r.stderr)
	}
	for i, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
		if want := []string{slow, bad, quick}[i]; !strings.Contains(line, `"id":"`+want+`"`) {
			t.Errorf("line %d: %s", i, line)
		}
	}
	if r := w.run("wait", quick, slow); r.code != 0 {
		t.Errorf("code %d, %s", r.code, r.stderr)
	}
}

// What programs get is what the server sent, whatever fields it has.
func TestJSONIsTheServersDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("raw", "/")
	id := w.submit("raw", `"<b>"`)
	w.ok("wait", id)
	for path, args := range map[string][]string{
		"/v1/tasks/" + id:               {"get", id},
		"/v1/tasks/" + id + "/attempts": {"get", id, "--attempts"},
		"/v1/endpoints/raw":             {"endpoints", "get", "raw"},
	} {
		req, err := http.NewRequest(http.MethodGet, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+adminKey)
		resp, err := w.handler.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		clock := regexp.MustCompile(`"over_seconds":\d+`) // goes on between the two
		got := clock.ReplaceAllString(w.ok(append(args, "--json")...), "")
		if sent := clock.ReplaceAllString(strings.TrimSpace(string(want))+"\n", ""); got != sent {
			t.Errorf("%v: got %s, the server sent %s", args, got, sent)
		}
	}
}

// The key comes from the environment or a file; a file that is named wins.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(adminKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		args    []string
		code    int
		stderr  string
	}{
		"none":                {[]string{"TASKGATE_KEY="}, nil, 1, "TASKGATE_KEY"},
		"wrong":               {[]string{"TASKGATE_KEY=tg_wrong"}, nil, 1, "unauthenticated"},
		"file":                {[]string{"TASKGATE_KEY=tg_wrong", "TASKGATE_KEY_FILE=" + file}, nil, 0, ""},
		"flag":                {[]string{"TASKGATE_KEY=", "TASKGATE_KEY_FILE=/nowhere"}, []string{"--key-file", file}, 0, ""},
		"no such file":        {[]string{"TASKGATE_KEY_FILE=/nowhere"}, nil, 2, "/nowhere"},
		"empty file":          {nil, []string{"--key-file", os.DevNull}, 2, "no key"},
		"unsendable":          {[]string{"TASKGATE_KEY=a b"}, nil, 2, "TASKGATE_KEY"},
		"never as a flag":     {nil, []string{"--key", adminKey}, 2, "--key"},
		"flags win":           {[]string{"TASKGATE_URL=http://127.0.0.1:1"}, []string{"--server", w.url}, 0, ""},
		"a secret in the URL": {[]string{"TASKGATE_URL=http://user:pass@127.0.0.1:1"}, nil, 2, "must not have user"},
	} {
		r := w.with(cli.Process{Environ: c.environ}, append([]string{"endpoints", "list"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.stderr) {
			t.Errorf("%s: code %d, %s", name, r.code, r.stderr)
		}
		if strings.Contains(r.stderr, "tg_wrong") || c.code != 2 && strings.Contains(r.stderr, adminKey) {
			t.Errorf("%s: the key is shown: %s", name, r.stderr)
		}
	}
}
