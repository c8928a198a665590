package spawn_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/spawn"
)

const patience = 20 * time.Second

func start(t *testing.T, script string, spec spawn.Spec) (*spawn.Process, <-chan string) {
	t.Helper()
	lines := make(chan string, 100)
	spec.Name, spec.Path, spec.Args = "script", "/bin/sh", []string{"-c", script}
	spec.Env = os.Environ()
	spec.Line = func(l string) { lines <- l }
	p, err := spawn.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	return p, lines
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case l := <-lines:
		return l
	case <-time.After(patience):
		t.Fatal("no line came")
		return ""
	}
}

func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := syscall.Kill(pid, 0)
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	p, lines := start(t, `sleep 1000 & echo $!; echo error >&2; trap "" TERM; wait; wait`, spawn.Spec{})
	child, err := strconv.Atoi(next(t, lines))
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, lines); got != "error" {
		t.Errorf("stderr said %q", got)
	}
	p.Stop(50 * time.Millisecond)
	gone(t, child)
	gone(t, p.PID())
	p.Stop(0)
}

func TestAwait(t *testing.T) {
	t.Parallel()
	p, _ := start(t, "exit 3", spawn.Spec{})
	err := p.Await(context.Background(), make(chan struct{}))
	if !errors.Is(err, spawn.ErrEnded) || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q, _ := start(t, "sleep 1000", spawn.Spec{})
	if err := q.Await(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ready := make(chan struct{})
	close(ready)
	if err := q.Await(context.Background(), ready); err != nil {
		t.Errorf("got %v", err)
	}
}

// The bench itself is killed: what it started goes with it.
func TestNothingOutlivesTheBench(t *testing.T) {
	t.Parallel()
	if os.Getenv("SPAWN_TEST_PARENT") != "" {
		p, err := spawn.Start(spawn.Spec{Name: "child", Env: os.Environ(), Path: "/bin/sleep", Args: []string{"1000"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(os.Getenv("SPAWN_TEST_PARENT"), []byte(strconv.Itoa(p.PID())+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		return
	}
	file := filepath.Join(t.TempDir(), "pid")
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingOutlivesTheBench$")
	parent.Env = append(os.Environ(), "SPAWN_TEST_PARENT="+file)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	for deadline := time.Now().Add(patience); child == 0; {
		text, _ := os.ReadFile(file)
		if s, whole := strings.CutSuffix(string(text), "\n"); whole {
			child, _ = strconv.Atoi(s)
		}
		if time.Now().After(deadline) {
			t.Fatal("no child was started")
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	gone(t, child)
}
