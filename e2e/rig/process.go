package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// StartLimit is how long a program may take until it is ready.
const StartLimit = 60 * time.Second

// tailLines of a program's log are kept for the report of a failure.
const tailLines = 200

// ErrNotRunning is what a process says that was not started, or has ended.
var ErrNotRunning = errors.New("the process is not running")

// Spec says how a program is run. It does not change over restarts, so that
// Listen should be an address that is kept, see [Address].
type Spec struct {
	Name   string   // in messages, as "gateway 1"
	Path   string   // of the executable
	Args   []string // after the program's name
	Env    []string // all of it, but PATH
	Logs   string   // folder for the log; "": only the tail is kept
	OnLine func(line string)
}

// Process is one of our programs. It can be ended and started again. Its
// methods may be called from several goroutines.
type Process struct {
	Spec

	mu      sync.Mutex // one start or end at a time
	running *running

	state sync.Mutex // guards what follows
	tail  []string
	api   string
	admin string
}

// running is the process between a start and its end.
type running struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // once exited
}

// Start runs the program until it says that it is ready.
func (p *Process) Start(ctx context.Context, env ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil && !p.running.over() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	r := &running{cmd: exec.Command(p.Path, p.Args...), exited: make(chan struct{})}
	r.cmd.Env = append(slices.Concat(p.Env, env), "PATH="+os.Getenv("PATH")) //nolint:forbidigo // for what the program runs itself
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.running = r
	ready := make(chan struct{}, 1)
	go func() {
		defer close(r.exited)
		p.read(stderr, ready)
		r.err = r.cmd.Wait()
	}()
	limit := time.NewTimer(StartLimit)
	defer limit.Stop()
	select {
	case <-ready:
		return nil
	case <-r.exited:
		return fmt.Errorf("%s ended at its start: %w\n%s", p.Name, r.err, p.Tail(10))
	case <-limit.C:
		err = fmt.Errorf("%s was not ready in %v\n%s", p.Name, StartLimit, p.Tail(10))
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	_ = r.cmd.Process.Kill()
	<-r.exited
	return err
}

// read takes the log: "ready" names the addresses.
func (p *Process) read(stderr io.Reader, ready chan<- struct{}) {
	var file *os.File
	if p.Logs != "" {
		name := filepath.Join(p.Logs, strings.ReplaceAll(p.Name, " ", "-")+".log")
		if f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			file = f
			defer file.Close()
		}
	}
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if file != nil {
			fmt.Fprintln(file, line)
		}
		p.keep(line)
		if strings.Contains(line, `"msg":"ready"`) {
			select {
			case ready <- struct{}{}:
			default:
			}
		}
		if p.OnLine != nil {
			p.OnLine(line)
		}
	}
	_, _ = io.Copy(io.Discard, stderr) // a line over the limit must not block the program
}

func (p *Process) keep(line string) {
	p.state.Lock()
	defer p.state.Unlock()
	if p.tail = append(p.tail, line); len(p.tail) > tailLines {
		p.tail = slices.Clone(p.tail[len(p.tail)-tailLines/2:])
	}
	if strings.Contains(line, `"msg":"ready"`) {
		p.api, p.admin = member(line, "api"), member(line, "admin")
	}
}

// member returns a string member of a JSON log line.
func member(line, name string) string {
	_, rest, _ := strings.Cut(line, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// API and Admin are the base URLs of the last start.
func (p *Process) API() string {
	p.state.Lock()
	defer p.state.Unlock()
	return "http://" + p.api
}

// Admin is the base URL of health and metrics.
func (p *Process) Admin() string {
	p.state.Lock()
	defer p.state.Unlock()
	return "http://" + p.admin
}

// Tail returns the last lines of the log, at most n.
func (p *Process) Tail(n int) string {
	p.state.Lock()
	defer p.state.Unlock()
	return strings.Join(p.tail[max(0, len(p.tail)-n):], "\n")
}

func (r *running) over() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// Running tells whether the process runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running != nil && !p.running.over()
}

// PID of the process; 0 when it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.running.over() {
		return 0
	}
	return p.running.cmd.Process.Pid
}

// Kill ends the process at once, as a crash would (SIGKILL), and waits for it.
func (p *Process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.running.over() {
		return fmt.Errorf("kill %s: %w", p.Name, ErrNotRunning)
	}
	_ = p.running.cmd.Process.Kill()
	<-p.running.exited
	return nil
}

// Stop ends the process as an operator would (SIGTERM) and waits for it, at
// most as long as the limit; then it is killed, which is an error. So is an
// exit code other than 0. It returns how long the end took.
func (p *Process) Stop(limit time.Duration) (took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil || p.running.over() {
		return 0, fmt.Errorf("stop %s: %w", p.Name, ErrNotRunning)
	}
	began := time.Now()
	_ = p.running.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.running.exited:
		if p.running.err != nil {
			err = fmt.Errorf("stop %s: %w\n%s", p.Name, p.running.err, p.Tail(10))
		}
	case <-timer.C:
		_ = p.running.cmd.Process.Kill()
		<-p.running.exited
		err = fmt.Errorf("%s did not stop in %v\n%s", p.Name, limit, p.Tail(10))
	}
	return time.Since(began), err
}

// Exited waits until the process has ended by itself and returns its exit
// code, or -1 for a signal.
func (p *Process) Exited(ctx context.Context) (code int, err error) {
	p.mu.Lock()
	r := p.running
	p.mu.Unlock()
	if r == nil {
		return 0, ErrNotRunning
	}
	select {
	case <-r.exited:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.Name, context.Cause(ctx))
	}
}

// RSS is the memory that the process holds, in bytes.
func (p *Process) RSS() (int64, error) { return p.memory("VmRSS:") }

// PeakRSS is the most that it has held.
func (p *Process) PeakRSS() (int64, error) { return p.memory("VmHWM:") }

func (p *Process) memory(line string) (int64, error) {
	pid := p.PID()
	if pid == 0 {
		return 0, ErrNotRunning
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), line)
	if !ok {
		return 0, fmt.Errorf("%s has no %s", p.Name, line)
	}
	fields := strings.Fields(rest)
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10, err
}
