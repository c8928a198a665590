// Package spawn starts the bench's processes and makes sure that none outlives it.
package spawn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	Name string // for messages
	Path string
	Args []string
	Env  []string // all of it
	Dir  string
	// Log gets what the process prints, both streams; nil discards it.
	Log io.Writer
	// Line is called with each line of both streams, if set. It must be quick.
	Line func(line string)
	// User runs it as somebody else.
	User *syscall.Credential
	// Ask is the signal that asks it to end, SIGTERM when 0.
	Ask syscall.Signal
}

// Process is a started process.
type Process struct {
	spec  Spec
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{}
	err   error // set when done is closed
}

// jobs are the calls that start processes. The kernel sends a process the signal that is set here
// when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG), so one goroutine that keeps
// its thread for ever starts them all: the signal comes when the bench itself dies, however.
var jobs = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range c {
			job()
		}
	}()
	return c
})

// Start starts a process as the leader of its own session, so that no terminal reaches it, and group.
func Start(spec Spec) (*Process, error) {
	if spec.Ask == 0 {
		spec.Ask = syscall.SIGTERM
	}
	cmd := exec.Command(spec.Path, spec.Args...) //nolint:gosec,noctx // the bench's own programs; Stop ends them
	cmd.Dir = spec.Dir
	cmd.Env = spec.Env
	// A script that has children of its own must be asked, not killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: spec.Ask, Credential: spec.User}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = in, in
	started := make(chan error, 1)
	jobs() <- func() { started <- cmd.Start() }
	err = <-started
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{spec: spec, cmd: cmd, stdin: stdin, done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(out)
	}()
	go func() {
		p.err = cmd.Wait()
		close(p.done)
		<-read // children may hold the stream open longer; nobody waits for them here
		_ = out.Close()
	}()
	return p, nil
}

const longestLine = 16 << 20 // a report with many samples is one line

func (p *Process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	for lines.Scan() {
		if p.spec.Log != nil {
			_, _ = fmt.Fprintf(p.spec.Log, "%s\n", lines.Bytes())
		}
		if p.spec.Line != nil {
			p.spec.Line(lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, out)
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stdin is its standard input; closing it tells the bench's own programs to end.
func (p *Process) Stdin() io.WriteCloser { return p.stdin }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how it ended; it may be called when Done is closed.
func (p *Process) Err() error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.spec.Name, p.err)
}

// Stop asks the process to end, and kills its whole group when it has not within grace. It may be
// called more than once.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(p.spec.Ask)
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	// The group is ours even when its leader has gone: nothing of it may stay.
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}

// ErrEnded is the cause when a process ended that should have gone on.
var ErrEnded = errors.New("ended by itself")

// Await waits until ready is closed; an error when the process ends first, or ctx does.
func (p *Process) Await(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-p.done:
		return fmt.Errorf("%s %w: %w", p.spec.Name, ErrEnded, p.err)
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", p.spec.Name, context.Cause(ctx))
	}
}
