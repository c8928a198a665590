package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/cli"
	"github.com/taskgate/taskgate/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const adminKey = "tg_0123456789abcdef0123456789"

// asTaskgate, in the environment, makes this program the one it tests.
const asTaskgate = "CLI_TEST_AS_TASKGATE"

func TestMain(m *testing.M) {
	if os.Getenv(asTaskgate) != "" {
		os.Exit(cli.Main(cli.Process{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}))
	}
	goleak.VerifyTestMain(m)
}

// start runs a Taskgate of the test's own. Its longest wait is short, so that
// waits must be repeated.
func start(t *testing.T) *app.App {
	t.Helper()
	cfg, err := config.Load(config.Dev, config.Source{Environ: []string{
		"TASKGATE_DATA=" + t.TempDir(), "TASKGATE_LISTEN=127.0.0.1:0", "TASKGATE_ADMIN_LISTEN=127.0.0.1:0", "TASKGATE_MAX_WAIT=1s",
		"TASKGATE_AUTH=keys", "TASKGATE_ADMIN_KEY=" + adminKey,
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Error("stop:", err)
		}
	})
	return a
}

// world is a server, a handler, and what was typed so far.
type world struct {
	t       *testing.T
	url     string
	handler *httptest.Server
	script  strings.Builder // the golden text
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: "http://" + start(t).Addr()}
	w.handler = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/fail":
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(rw, "no\x1b[2Jsuch order")
		case "/headers":
			_, _ = fmt.Fprintf(rw, "%s %s", r.Header.Get("X-Tenant"), r.Header.Get("Content-Type"))
		default:
			rw.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			_, _ = rw.Write(body)
		}
	}))
	t.Cleanup(w.handler.Close)
	return w
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// run types a command with the server's address and key in the environment.
func (w *world) run(args ...string) result { return w.with(cli.Process{}, args...) }

// with is run with more than that.
func (w *world) with(p cli.Process, args ...string) result {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	p.Args = args
	p.Environ = append([]string{"TASKGATE_URL=" + w.url, "TASKGATE_KEY=" + adminKey}, p.Environ...)
	if p.Stdout == nil {
		p.Stdout = &stdout
	}
	p.Stderr = &stderr
	code := cli.Main(p)
	return result{code, stdout.String(), stderr.String()}
}

// ok runs a command that must succeed, and returns its output.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("%q: code %d: %s", args, r.code, r.stderr)
	}
	return r.stdout
}

// endpoint registers an endpoint of the test's own, for a path of the handler.
func (w *world) endpoint(name, path string, flags ...string) {
	w.t.Helper()
	w.ok(append([]string{"endpoints", "put", name, w.handler.URL + path}, flags...)...)
}

// submit submits a task and returns its id.
func (w *world) submit(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.ok(append([]string{"submit", "--quiet"}, args...)...))
}

// types runs a command and writes it down with what it said.
func (w *world) types(args ...string) result {
	w.t.Helper()
	r := w.run(args...)
	fmt.Fprintf(&w.script, "$ taskgate %s\n", quoted(args))
	for line := range strings.Lines(r.stdout) {
		w.script.WriteString(stable(line))
	}
	for line := range strings.Lines(r.stderr) {
		w.script.WriteString("! " + line)
	}
	if r.code != 0 {
		fmt.Fprintf(&w.script, "[exit code %d]\n", r.code)
	}
	w.script.WriteString("\n")
	return r
}

// stable reduces a document of the server's to fields that stay: the rest is
// passed on whatever it is, see TestJSONIsTheServersDocument.
func stable(line string) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &doc) != nil {
		return line
	}
	for name := range doc {
		switch name {
		case "id", "endpoint", "state", "reason", "attempts", "labels", "name", "url", "paused", "secret", "deleted", "status", "data",
			"key", "scopes", "project", "matched", "changed", "action", "cancelled", "verdict":
		default:
			delete(doc, name)
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return line
	}
	return "{…" + string(text[1:]) + "\n"
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = arg
		if strings.ContainsAny(arg, " {}\"") {
			out[i] = "'" + arg + "'"
		}
	}
	return strings.Join(out, " ")
}

var varying = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`tg_[0-9a-z]{18}[0-9A-Za-z_-]{20,}`), "SECRETKEY"},
	{regexp.MustCompile(`\b0[0-9a-z]{17}\b`), "KEY"},
	{regexp.MustCompile(`\b01[0-9a-z]{24}\b`), "JOB"},
	{regexp.MustCompile(`took( +)\d+m?s`), "took${1}TOOK"},
	{regexp.MustCompile(`01[0-9a-z]{25}`), "TASK"},
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "REQUEST"},
	{regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`), "SECRET"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
	{regexp.MustCompile(`"duration_ms":\d+`), `"duration_ms":N`},
	{regexp.MustCompile(`(TIME  )\d+m?s +`), "${1}TOOK  "},
	{regexp.MustCompile(`TOOK +STATUS`), "TOOK  STATUS"},
	{regexp.MustCompile(` +\n`), "\n"},
}

// golden compares what was typed and said with the file, where what differs
// from run to run has a name.
func (w *world) golden(name string) {
	w.t.Helper()
	got := w.script.String()
	for _, v := range varying {
		got = v.what.ReplaceAllString(got, v.name)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		w.t.Errorf("%s: the output has changed (-update accepts it): -want +got\n%s", path, diff)
	}
}
