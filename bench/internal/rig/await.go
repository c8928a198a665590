package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/spawn"
)

// ErrMissing says that something is not installed.
var ErrMissing = errors.New("not installed")

// start starts a process and waits for its word: what makes something of one of its lines.
func (run *Run) start(ctx context.Context, spec spawn.Spec, word func(line string) (string, bool)) (*spawn.Process, string, error) {
	found := make(chan string, 1)
	up := make(chan struct{})
	said := false
	spec.Log = run.logs
	spec.Line = func(line string) {
		if v, ok := word(line); ok && !said {
			said = true
			found <- v
			close(up)
		}
	}
	p, err := spawn.Start(spec)
	if err != nil {
		return nil, "", err
	}
	run.onStop(func() { run.end(p) })
	if err := p.Await(ctx, up); err != nil {
		return p, "", fmt.Errorf("%w; see %s", err, run.logs.Name())
	}
	return p, <-found, nil
}

// part starts a process that is a group of its own.
func (run *Run) part(ctx context.Context, spec spawn.Spec, word func(line string) (string, bool)) (*spawn.Process, string, error) {
	p, said, err := run.start(ctx, spec, word)
	if err == nil {
		run.watch(group{name: spec.Name, root: p.PID()})
	}
	return p, said, err
}

// after is the word of a program that prints it, and then perhaps more.
func after(word string) func(line string) (string, bool) {
	return func(line string) (string, bool) {
		rest, ok := strings.CutPrefix(line, word)
		return strings.TrimSpace(rest), ok
	}
}

// tool starts one of the bench's own programs.
func (run *Run) tool(ctx context.Context, name, program string, args ...string) (*spawn.Process, string, error) {
	return run.part(ctx, spawn.Spec{Name: name, Path: run.rig.tool(program), Args: args, Env: run.env()}, after("ready"))
}

// freePort is a port that nobody listens on now.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("no TCP address: %s", l.Addr())
	}
	return a.Port, nil
}

// client is for the rig's own questions, some of which take as long as a profile.
var client = &http.Client{Timeout: 2 * time.Minute}

// Handler is the group of the handler.
const Handler = "handler"

// Handled is how many tasks the handler has answered at its root.
func (run *Run) Handled(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, run.HandlerURL+"/count", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var counts map[string]int
	err = json.NewDecoder(resp.Body).Decode(&counts)
	return counts["/"], err
}
