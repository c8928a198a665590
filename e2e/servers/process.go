package servers

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

// Bounds of the waits. Generous: the suite must pass on a machine that is
// busy with other tests.
const (
	startLimit = 120 * time.Second
	stopLimit  = 30 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// marker is in the environment of what we start: helpers of a server may leave
// its process group, and a number alone may be somebody else's by now.
const marker = "TASKGATE_TEST_SERVER"

// watched runs a command in a process group that ends when the other end of
// its standard input does: with us, however we end.
const watched = `exec 3<&0
"$@" </dev/null 3<&- & child=$!
(cat <&3 >/dev/null; kill -KILL 0) &
wait "$child"`

// process is one run of a server.
type process struct {
	cmd   *exec.Cmd
	mark  string
	lease interface{ Close() error } // the other end of its input
	ended chan struct{}
}

// launch starts a command; its output goes to the end of log.
func launch(mark, log string, env []string, argv ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command("sh", append([]string{"-c", watched, "sh"}, argv...)...)
	cmd.Env = append(slices.Clone(env), marker+"="+mark)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, mark: mark, lease: in, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// kill ends it and everything that it started, at once.
func (p *process) kill() error {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // or it has ended
	deadline := time.Now().Add(stopLimit)
	for {
		left := marked(p.mark)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: still running: %v", p.mark, left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(pollEvery) //nolint:forbidigo // between two looks, bounded
	}
	_ = p.lease.Close()
	<-p.ended
	return nil
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// marked finds what carries a mark in its environment.
func marked(mark string) []int {
	var pids []int
	want := []byte(marker + "=" + mark)
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		env, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(append(env, 0), append(want, 0)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// need skips the test, or fails it when services are required, if a program is
// missing.
func need(tb testing.TB, name string, patterns ...string) {
	tb.Helper()
	_, err := program(name, patterns...)
	switch {
	case err == nil:
	case os.Getenv("TASKGATE_REQUIRE_SERVICES") != "": //nolint:forbidigo // tests are told of servers by whoever runs them
		tb.Fatalf("%s is needed to be hurt (scripts/apt-install installs it): %v", name, err)
	default:
		tb.Skipf("%s is not installed", name)
	}
}

// program finds one by patterns or in PATH.
func program(name string, patterns ...string) (string, error) {
	for _, p := range patterns {
		if files, _ := filepath.Glob(p); len(files) > 0 {
			return files[len(files)-1], nil
		}
	}
	return exec.LookPath(name)
}

// eventually looks until f is content or time is over.
func eventually(limit time.Duration, what string, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, limit, err)
		}
		time.Sleep(pollEvery) //nolint:forbidigo // between two looks, bounded
	}
}

// freePort finds a port that a server can keep over restarts, and that no
// process of an installation beside it is given.
func freePort() (int, error) {
	free, err := rig.Address()
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(free)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// ask sends bytes to a server and compares the beginning of its answer.
func ask(port int, question, answer string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr(port))
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write([]byte(question)); err != nil {
		return err
	}
	got := make([]byte, len(answer))
	n, err := c.Read(got)
	if string(got[:n]) != answer {
		return fmt.Errorf("answers %q (%w)", got[:n], err)
	}
	return nil
}

// tail is the end of a log.
func tail(file string) string {
	const lines = 20
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// seat holds the running process of a server, which comes and goes.
type seat struct {
	mu  sync.Mutex
	run *process
}

func (s *seat) set(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = p
}

func (s *seat) get() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

func (s *seat) kill() error {
	p := s.get()
	if p == nil {
		return nil
	}
	s.set(nil)
	return p.kill()
}
