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
	"strings"
	"syscall"
	"time"
)

// servicesLimit bounds the start of both servers, an installation by apt
// included.
const servicesLimit = 5 * time.Minute

// Services are a RabbitMQ and a Redis that nobody else uses.
type Services struct {
	AMQP, Redis string // URLs

	cmd  *exec.Cmd
	hold io.WriteCloser
}

// StartServices starts both by scripts/services. They end with Stop, or when
// this process dies, however it dies: their keeper reads from a pipe that then
// ends.
func StartServices(ctx context.Context) (*Services, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	s := &Services{}
	s.cmd = exec.Command(filepath.Join(root, "scripts", "services"), "run", "--",
		"sh", "-c", `echo "$TASKGATE_TEST_AMQP_URL"; echo "$TASKGATE_TEST_REDIS_URL"; exec cat`)
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { //nolint:forbidigo // less the servers that others use
		return strings.HasPrefix(v, "TASKGATE_TEST_")
	})
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.hold, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var said strings.Builder
	s.cmd.Stderr = &said
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	urls := make(chan [2]string, 1)
	go func() {
		defer close(urls)
		lines := bufio.NewScanner(out)
		var got [2]string
		for i := range got {
			if !lines.Scan() {
				return
			}
			got[i] = lines.Text()
		}
		urls <- got
	}()
	ctx, cancel := context.WithTimeout(ctx, servicesLimit)
	defer cancel()
	select {
	case got, ok := <-urls:
		if ok {
			s.AMQP, s.Redis = got[0], got[1]
			return s, nil
		}
		err = errors.New("no servers")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("start RabbitMQ and Redis: %w", errors.Join(err, s.Stop(), errors.New(said.String())))
}

// Stop ends the servers and removes what they stored.
func (s *Services) Stop() error {
	_ = s.hold.Close()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		_ = s.cmd.Process.Kill()
		return errors.Join(errors.New("the servers did not stop in a minute"), <-done)
	}
}
