package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/registry/sqlite"
	"github.com/taskgate/taskgate/internal/sqlitedb"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	limit        = 30 * time.Second
	bootstrapKey = "tg_0123456789abcdef"
)

// output is what a program has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
	// line is told of every write.
	line chan struct{}
}

func newOutput() *output { return &output{line: make(chan struct{}, 1000)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	select {
	case o.line <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(limit)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.line:
		case <-deadline:
			t.Fatalf("never said %q: %s", text, o)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func environ(dir string, more ...string) []string {
	return append([]string{
		"TASKGATE_DATA=" + dir, "TASKGATE_LISTEN=127.0.0.1:0", "TASKGATE_ADMIN_LISTEN=127.0.0.1:0",
		"TASKGATE_SHUTDOWN_GRACE=5s",
	}, more...)
}

func TestWrongSettingsAreAllNamedAndNothingIsOpened(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var stderr bytes.Buffer
	code := app.Main(config.Serve, app.Process{
		Environ: environ(dir, "TASKGATE_COLOUR=red", "TASKGATE_MAX_PAYLOAD=lots"), Stdout: io.Discard, Stderr: &stderr,
	})
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"TASKGATE_COLOUR", "TASKGATE_MAX_PAYLOAD", "TASKGATE_ADMIN_KEY", "TASKGATE_SECRET_KEY"} {
		if !strings.Contains(stderr.String(), name) {
			t.Errorf("%s is not named: %s", name, &stderr)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data folder was made: %v", err)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"help":          {[]string{"--help"}, 0, "", "-listen"},
		"version":       {[]string{"--version"}, 0, "dev", ""},
		"unknown flag":  {[]string{"--colour"}, 2, "", "colour"},
		"argument":      {[]string{"now"}, 2, "", `"now"`},
		"no value":      {[]string{"--listen"}, 2, "", "listen"},
		"foreign flag":  {[]string{"--concurrency", "1"}, 2, "", "concurrency"},
		"wrong by flag": {[]string{"--listen", "nowhere"}, 2, "", "LISTEN"},
	} {
		var stdout, stderr bytes.Buffer
		code := app.Main(config.Gateway, app.Process{Args: c.args, Stdout: &stdout, Stderr: &stderr})
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: code %d, stdout %q, stderr %q", name, code, &stdout, &stderr)
		}
	}
}

// A bad endpoints file is a wrong setting: every fault is named, and nothing
// is opened.
func TestBadEndpointsFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	content := "endpoints:\n  a: {url: 'ftp://x'}\n  b:\n    url: http://127.0.0.1/\n    secret: ${NOT_THERE}\n    auth: {type: bearer, token: 'p o i s o n'}\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		file:             {file, "line 2: /endpoints/a/url", "line 5: /endpoints/b/secret", "NOT_THERE"},
		file + ".nobody": {"TASKGATE_ENDPOINTS_FILE", file + ".nobody"},
	} {
		var stderr bytes.Buffer
		code := app.Main(config.Dev, app.Process{
			Environ: environ(dir, "TASKGATE_ENDPOINTS_FILE="+path), Stdout: io.Discard, Stderr: &stderr,
		})
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
		for _, text := range want {
			if !strings.Contains(stderr.String(), text) {
				t.Errorf("%s is not named: %s", text, &stderr)
			}
		}
		if strings.Contains(stderr.String(), "p o i s o n") {
			t.Errorf("a secret is told: %s", &stderr)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data folder was made: %v", err)
	}
}

// Without an endpoints file there is nothing to read again: SIGHUP ends.
func TestHangUp(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte("endpoints: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, signals, code := run(t, environ(t.TempDir(), "TASKGATE_ENDPOINTS_FILE="+file))
	if err := os.WriteFile(file, []byte("endpoints: {late: {url: 'http://127.0.0.1/'}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signals <- syscall.SIGHUP
	stderr.wait(t, `default/late`)
	signals <- syscall.SIGTERM
	if c := ends(t, code); c != 0 {
		t.Errorf("exit code %d", c)
	}
	_, _, signals, code = run(t, environ(t.TempDir()))
	signals <- syscall.SIGHUP
	if c := ends(t, code); c != 0 {
		t.Errorf("exit code %d", c)
	}
}

// run starts taskgate dev as a program and returns how to end it.
func run(t *testing.T, env []string, args ...string) (stdout, stderr *output, signals chan os.Signal, code chan int) {
	t.Helper()
	stdout, stderr = newOutput(), newOutput()
	signals, code = make(chan os.Signal, 2), make(chan int, 1)
	go func() {
		code <- app.Main(config.Dev, app.Process{Args: args, Environ: env, Stdout: stdout, Stderr: stderr, Signals: signals})
	}()
	stderr.wait(t, `"ready"`)
	return stdout, stderr, signals, code
}

func ends(t *testing.T, code chan int) int {
	t.Helper()
	select {
	case c := <-code:
		return c
	case <-time.After(limit):
		t.Fatal("does not end")
		return 0
	}
}

// The lines that taskgate dev prints are pasted into a shell, as they are.
func TestPrintedLinesWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stdout, _, signals, code := run(t, environ(dir, "TASKGATE_LISTEN="+freeAddr(t)), "--echo")
	stdout.wait(t, "/result")
	_, lines, ok := strings.Cut(stdout.String(), "terminal:\n")
	if !ok || strings.Count(strings.TrimSpace(lines), "\n") > 10 {
		t.Fatalf("printed: %s", stdout)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-euc", lines).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"state":"succeeded"`) ||
		!strings.HasSuffix(strings.TrimSpace(string(out)), `{"hello": "world"}`) {
		t.Errorf("%v: %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, "secret.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret key: %v, %v", info, err)
	}
	signals <- syscall.SIGTERM
	if c := ends(t, code); c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func TestOneFolderOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, _, signals, code := run(t, environ(dir))
	var stderr bytes.Buffer
	second := app.Main(config.Dev, app.Process{Environ: environ(dir), Stdout: io.Discard, Stderr: &stderr})
	if second != 1 || !strings.Contains(stderr.String(), dir) {
		t.Errorf("exit code %d: %s", second, &stderr)
	}
	signals <- syscall.SIGTERM
	if c := ends(t, code); c != 0 {
		t.Errorf("exit code %d", c)
	}
	_, _, signals, code = run(t, environ(dir)) // the same key opens what it sealed
	signals <- os.Interrupt
	if c := ends(t, code); c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func load(t *testing.T, more ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Serve, config.Source{Environ: environ(t.TempDir(), append([]string{
		"TASKGATE_ADMIN_KEY=" + bootstrapKey, "TASKGATE_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}, more...)...)})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// The audit log is written whatever the level of the log.
func TestAuditWhateverTheLevel(t *testing.T) {
	t.Parallel()
	log := newOutput()
	a, err := app.New(load(t, "TASKGATE_LOG_LEVEL=error", "TASKGATE_ACCESS_LOG=true"), app.Options{Logs: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+a.Addr()+"/v1/endpoints/orders", strings.NewReader(`{"url": "https://example.com/"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer tg_0123456789abcdef")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	log.wait(t, `"audit","audit":true,"operation":"putEndpoint","target":"orders","outcome":"done","status":201`)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, log)
	}
}

func TestTwoInOneProcess(t *testing.T) {
	t.Parallel()
	var apps []*app.App
	for range 2 {
		a, err := app.New(load(t), app.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		apps = append(apps, a)
	}
	for _, a := range apps {
		for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/readyz?verbose": 200, "/v1/endpoints": 401} {
			if got := get(t, "http://"+a.Addr()+path); got != want {
				t.Errorf("%s: %d", path, got)
			}
		}
	}
	for _, a := range apps {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if err := a.Stop(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// The default project is made once, and with it the queue of its callbacks.
func TestDefaultProject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var first []byte
	for range 2 {
		started(t, serveEnv(dir), func(string) {})
		secret := callbackSecret(t, dir)
		if first != nil && !bytes.Equal(first, secret) {
			t.Error("made again")
		}
		first = secret
	}
}

// callbackSecret looks into the folder of a process that has ended.
func callbackSecret(t *testing.T, dir string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	db, err := sqlitedb.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	d := sqlite.Open(db)
	r := registry.New(d, registry.Options{})
	if err := r.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	p, ok := r.Project("default")
	if !ok || p.CallbackSecret.IsZero() {
		t.Fatalf("%+v, %t", p, ok)
	}
	var n int
	queue := string(task.MakeEndpointID("default", task.CallbackEndpoint))
	if _, err := db.Row(ctx, "SELECT count(*) FROM queues WHERE name = ?", []any{queue}, &n); err != nil || n != 1 {
		t.Errorf("%d queues, %v", n, err)
	}
	if err := errors.Join(d.Close(), db.Close()); err != nil {
		t.Error(err)
	}
	return p.CallbackSecret.Current
}

// When a key was last used is known after a restart.
func TestLastUseSurvives(t *testing.T) {
	t.Parallel()
	env := serveEnv(t.TempDir())
	var made struct{ ID, Key string }
	check := func(api string) {
		var shown struct {
			LastUsedAt time.Time `json:"last_used_at"`
		}
		call(t, "GET", api+"keys/"+made.ID, bootstrapKey, "", &shown)
		if ago := time.Since(shown.LastUsedAt); ago < 0 || ago > limit {
			t.Errorf("last used %v ago", ago)
		}
	}
	started(t, env, func(api string) {
		if status, answer := call(t, "POST", api+"keys", bootstrapKey, `{"name":"x","scopes":["tasks:read"]}`, &made); status != 201 {
			t.Fatal(answer)
		}
		if status, answer := call(t, "GET", api+"tasks", made.Key, "", nil); status != 200 {
			t.Fatal(answer)
		}
		check(api)
	})
	started(t, env, check)
}

func get(t *testing.T, url string) int {
	t.Helper()
	status, _ := call(t, "GET", url, "", "", nil)
	return status
}

// call makes one request and reads a JSON answer into v.
func call(t *testing.T, method, url, key, body string, v any) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	c := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && v != nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestStartThatFailsLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := load(t, "TASKGATE_LISTEN="+l.Addr().String())
	a, err := app.New(cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err == nil {
		t.Fatal("started on a port that is taken")
	}
	cfg.Listen = "127.0.0.1:0" // the folder is free again
	if a, err = app.New(cfg, app.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesAnInvalidConfiguration(t *testing.T) {
	t.Parallel()
	if _, err := app.New(config.Config{Role: config.Serve}, app.Options{}); err == nil {
		t.Fatal("accepted")
	}
}
