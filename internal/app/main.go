package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/taskgate/taskgate/internal/config"
)

// Exit codes of the programs.
const (
	exitOK      = 0
	exitFailed  = 1
	exitSetting = 2 // a setting is wrong; nothing was opened
)

// Process is what a program is given by the system, so that tests can give
// it too.
type Process struct {
	Args    []string // without the program's name
	Environ []string
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan os.Signal
}

// OS is the real process. args and environ are os.Args without the program's
// name, and os.Environ.
func OS(args, environ []string) Process {
	sig := make(chan os.Signal, 2)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(sig, syscall.SIGHUP)
	}
	return Process{Args: args, Environ: environ, Stdout: os.Stdout, Stderr: os.Stderr, Signals: sig}
}

// Main runs a role until a signal ends it and returns the exit code. The
// first signal drains, a second one ends at once.
func Main(role config.Role, p Process) int {
	flags, err := parseFlags(role, p)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitSetting
	}
	if _, ok := flags[versionFlag]; ok {
		fmt.Fprintln(p.Stdout, Version())
		return exitOK
	}
	cfg, err := config.Load(role, config.Source{Environ: p.Environ, Flags: flags, ReadFile: os.ReadFile})
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return exitSetting
	}
	a, err := New(cfg, Options{Logs: p.Stderr, Stdout: p.Stdout, Environ: p.Environ})
	if err != nil {
		fmt.Fprintln(p.Stderr, "taskgate:", err)
		return exitSetting
	}
	if err := a.Run(p.Signals); err != nil {
		fmt.Fprintln(p.Stderr, "taskgate:", err)
		return exitFailed
	}
	return exitOK
}

const versionFlag = "version"

// parseFlags makes the role's flags from the table of settings, so that the
// two never differ, and returns those that were given.
func parseFlags(role config.Role, p Process) (map[string]string, error) {
	fs := flag.NewFlagSet("taskgate", flag.ContinueOnError)
	fs.SetOutput(p.Stderr)
	given := map[string]string{}
	for _, s := range config.Settings() {
		if s.Flag == "" || !slices.Contains(s.Roles, role) {
			continue
		}
		help := strings.ReplaceAll(s.Help, "`", "")
		if def := s.DefaultFor(role); def != "" {
			help += " (default " + def + ")"
		}
		keep := func(v string) error { given[s.Flag] = v; return nil }
		if s.Bool {
			fs.BoolFunc(s.Flag, help, keep)
		} else {
			fs.Func(s.Flag, help, keep)
		}
	}
	fs.BoolFunc(versionFlag, "print the version and end", func(v string) error { given[versionFlag] = v; return nil })
	fs.Usage = func() {
		fmt.Fprintf(p.Stderr, "Runs the %s. Every flag is also a setting: --listen is TASKGATE_LISTEN.\n\n", role)
		fs.PrintDefaults()
	}
	if err := fs.Parse(p.Args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(p.Stderr, "unexpected argument %q; see --help\n", fs.Arg(0))
		return nil, errors.New("unexpected argument")
	}
	return given, nil
}

// hangups has the endpoints file and the certificate read again at each
// SIGHUP, and passes other signals on. Without either SIGHUP is a signal like
// the others.
func (a *App) hangups(ctx context.Context, signals <-chan os.Signal, ends chan<- os.Signal) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				a.hangup()
				continue
			}
			select {
			case ends <- s:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// hangup asks for everything that is read again at a signal.
func (a *App) hangup() {
	asked := []chan struct{}{a.reloads}
	if a.certificate != nil {
		asked = append(asked, a.certificate.reread)
	}
	for _, ask := range asked {
		select {
		case ask <- struct{}{}:
		default: // it is about to be read anyway
		}
	}
}

// Run starts the app, waits for a signal, and stops it within the grace. It
// returns early when a part of the app fails.
func (a *App) Run(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if a.declared != nil || a.certificate != nil {
		all, ends := signals, make(chan os.Signal, cap(signals))
		wg.Go(func() { a.hangups(ctx, all, ends) })
		signals = ends
	}
	started := make(chan error, 1)
	go func() { started <- a.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case s := <-signals:
		cancel()
		early := fmt.Errorf("%s before the start was complete", s)
		if err := <-started; err != nil {
			return errors.Join(early, err) // it has closed what it had opened
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		return errors.Join(early, a.Stop(ctx))
	}
	var failed error
	select {
	case s := <-signals:
		a.log.Info("stopping", "signal", s.String(), "grace", a.cfg.ShutdownGrace.String())
	case failed = <-a.failed:
	}
	stopped := make(chan error, 1)
	stopCtx, stopCancel := context.WithTimeout(context.Background(), a.cfg.ShutdownGrace+closeGrace)
	defer stopCancel()
	go func() { stopped <- a.Stop(stopCtx) }()
	select {
	case err := <-stopped:
		return errors.Join(failed, err)
	case s := <-signals:
		return fmt.Errorf("%s again: ended without draining", s)
	}
}
