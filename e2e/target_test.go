package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

const (
	adminKey    = "tg_e2e_0123456789abcdef0123456789"
	blockedHost = "inside.test" // resolves to a private address, see egress
	startLimit  = 30 * time.Second
	stopLimit   = 40 * time.Second
)

// target is a running Taskgate.
type target struct {
	name  string
	bases []string // of its gateways; cases use them in turn
	key   string
	t     *testing.T // the case that it serves, nil when it is shared
}

// targets runs the case on every target there is.
func targets(t *testing.T, run func(t *testing.T, tg *target)) {
	t.Helper()
	if url := os.Getenv("TASKGATE_E2E_URL"); url != "" {
		t.Run("url", func(t *testing.T) {
			run(t, &target{name: "url", bases: []string{url}, key: os.Getenv("TASKGATE_E2E_KEY"), t: t})
		})
		return
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		run(t, embedded(t).of(t))
	})
	t.Run("services", func(t *testing.T) {
		t.Parallel()
		run(t, services(t).of(t))
	})
}

var (
	sharedEmbedded = sync.OnceValues(startEmbedded)
	sharedServices = sync.OnceValues(startServices)
)

// embedded is one in-process Taskgate for all cases; every case has its own
// endpoints.
func embedded(t *testing.T) *target {
	t.Helper()
	tg, err := sharedEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func services(t *testing.T) *target {
	t.Helper()
	needServices(t)
	tg, err := sharedServices()
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func needServices(t *testing.T) {
	t.Helper()
	if os.Getenv("TASKGATE_TEST_AMQP_URL") != "" && os.Getenv("TASKGATE_TEST_REDIS_URL") != "" {
		return
	}
	if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
		t.Fatal("no services: TASKGATE_TEST_AMQP_URL and TASKGATE_TEST_REDIS_URL are not set")
	}
	t.Skip("no services: run under scripts/services")
}

// cleanups end what the shared targets started, last first.
var (
	cleanupMu sync.Mutex
	cleanups  []func()
)

func atEnd(f func()) {
	cleanupMu.Lock()
	defer cleanupMu.Unlock()
	cleanups = append(cleanups, f)
}

func TestMain(m *testing.M) {
	// Whoever starts the tests may have hangups ignored (nohup), and the programs
	// that they start would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	code := m.Run()
	for _, cleanup := range slices.Backward(cleanups) {
		cleanup()
	}
	if breaches.Load() > 0 {
		code = 1
	}
	os.Exit(code)
}

func secretKey() string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) }

// environ is what every process of a target gets.
func environ(extra ...string) []string {
	return append([]string{
		"TASKGATE_AUTH_FAILURES=0", "TASKGATE_ADMIN_KEY=" + adminKey, "TASKGATE_SECRET_KEY=" + secretKey(), "TASKGATE_LISTEN=127.0.0.1:0",
		"TASKGATE_ADMIN_LISTEN=127.0.0.1:0", "TASKGATE_EGRESS_ALLOW=127.0.0.0/8", "TASKGATE_EGRESS_PORTS=any",
		"TASKGATE_EGRESS_RESOLVE=" + blockedHost + "=10.0.0.1", "TASKGATE_LOG_LEVEL=" + logLevel(),
	}, extra...)
}

func logLevel() string {
	if l := os.Getenv("TASKGATE_E2E_LOG"); l != "" {
		return l
	}
	return "info"
}

func startEmbedded() (*target, error) {
	dir, err := os.MkdirTemp("", "taskgate-e2e-")
	if err != nil {
		return nil, err
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	cfg, err := config.Load(config.Serve, config.Source{Environ: environ("TASKGATE_DATA=" + dir)})
	if err != nil {
		return nil, err
	}
	a, err := app.New(cfg, app.Options{Logs: quiet{os.Stderr}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stop embedded:", err)
		}
	})
	return &target{name: "embedded", bases: []string{"http://" + a.Addr()}, key: adminKey}, nil
}

func startServices() (*target, error) {
	ns := namespace()
	tg := &target{name: "services", key: adminKey}
	var ps []*process
	for range 2 {
		for _, bin := range []string{"dispatcher", "gateway"} {
			p, err := start(bin, servicesEnv(ns))
			if err != nil {
				return nil, err
			}
			atEnd(p.stop)
			ps = append(ps, p)
		}
	}
	for _, p := range ps {
		if p.bin == "gateway" {
			tg.bases = append(tg.bases, p.base)
		}
	}
	return tg, nil
}

func servicesEnv(ns string) []string {
	return environ("TASKGATE_NAMESPACE="+ns, "TASKGATE_AMQP_URL="+os.Getenv("TASKGATE_TEST_AMQP_URL"),
		"TASKGATE_REDIS_URL="+os.Getenv("TASKGATE_TEST_REDIS_URL"))
}

func namespace() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return "e2e" + hex.EncodeToString(b)
}

// binaries builds the real programs once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "taskgate-bin-")
	if err != nil {
		return "", err
	}
	atEnd(func() { _ = os.RemoveAll(dir) })
	// As they are shipped, see deployments/Dockerfile.
	build := exec.Command("go", "build", "-trimpath", "-tags", "timetzdata", "-o", dir+"/", "../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
})

// process is one of our programs, running.
type process struct {
	bin    string
	cmd    *exec.Cmd
	base   string            // of its API
	admin  string            // of health and metrics
	keep   func(line string) // gets every line of the log; nil: warnings are shown
	exited chan struct{}
	err    error
}

// start runs a program until it says that it is ready.
func start(bin string, env []string, args ...string) (*process, error) {
	return (&process{bin: bin}).start(env, args...)
}

func (p *process) start(env []string, args ...string) (*process, error) {
	dir, err := binaries()
	if err != nil {
		return nil, err
	}
	bin := p.bin
	p.exited = make(chan struct{})
	p.cmd = exec.Command(filepath.Join(dir, bin), args...)
	p.cmd.Env = append(slices.Clone(env), "PATH="+os.Getenv("PATH"))
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{}, 1)
	go func() {
		defer close(p.exited)
		p.watch(bufio.NewScanner(stderr), ready)
		p.err = p.cmd.Wait()
	}()
	select {
	case <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended at its start: %w", bin, p.err)
	case <-time.After(startLimit):
		p.kill()
		return nil, fmt.Errorf("%s was not ready in %v", bin, startLimit)
	}
}

// watch reads the log: "ready" names the API's address; warnings are shown.
func (p *process) watch(lines *bufio.Scanner, ready chan<- struct{}) {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if addr, ok := field(line, "api"); ok && strings.Contains(line, `"msg":"ready"`) {
			p.base = "http://" + addr
			addr, _ = field(line, "admin")
			p.admin = "http://" + addr
			ready <- struct{}{}
		}
		if p.keep != nil {
			p.keep(line)
			continue
		}
		if !strings.Contains(line, `"level":"INFO"`) {
			fmt.Fprintf(os.Stderr, "%s: %s\n", p.bin, line)
		}
	}
}

// quiet passes warnings and worse on.
type quiet struct{ w io.Writer }

func (q quiet) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"level":"INFO"`)) {
		return len(line), nil
	}
	return q.w.Write(line)
}

// field returns a string member of a JSON log line.
func field(line, name string) (string, bool) {
	_, rest, ok := strings.Cut(line, `"`+name+`":"`)
	if !ok {
		return "", false
	}
	value, _, ok := strings.Cut(rest, `"`)
	return value, ok
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop ends the process as an operator would and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		fmt.Fprintf(os.Stderr, "%s did not stop in %v\n", p.bin, stopLimit)
		p.kill()
	}
}

// freePort finds a port for a server that must keep it over a restart: one
// that no system gives to connections, of which the others' tests make many.
func freePort(t *testing.T) string {
	t.Helper()
	const first, many = 20_000, 12_000
	for range many {
		port := first + (os.Getpid()*97+int(ports.Add(1)))%many
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		addr := l.Addr().String()
		if err := l.Close(); err == nil {
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// ports counts what freePort has looked at.
var ports atomic.Int64
