// Package app is the composition root: it builds the backends that the
// configuration asks for, then the roles, and stops them in the right order.
// The programs and the end-to-end tests make the same calls.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/telemetry"
)

// closeGrace is how long closing connections may take after the drain.
const closeGrace = 10 * time.Second

// Options of an [App].
type Options struct {
	// Environ is what the endpoints file may take values from, as os.Environ.
	Environ []string
	// Logs gets the log lines; nil: discarded.
	Logs io.Writer
	// Stdout gets what a person should read; nil: discarded.
	Stdout io.Writer
}

// App is one process's worth of Taskgate. Several may live in one process.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	audit   *slog.Logger // whatever the level of log
	stdout  io.Writer
	owner   string
	metrics *telemetry.Metrics
	tracer  *telemetry.Tracer // nil: no traces are wanted
	health  *health           // once the backends are open
	api     atomic.Pointer[api.Server]

	addr      string // of the API, once started
	adminAddr string
	failed    chan error

	environ  func(name string) (string, bool)
	now      func() time.Time // the clock that tasks are timed by
	declared *api.Declared    // what the endpoints file said at the start; nil: there is none
	reloads  chan struct{}    // asks for the file to be read again

	certificate *certificate // nil: the API speaks HTTP

	mu       sync.Mutex
	cleanups []cleanup

	stopping context.Context // ends when Stop begins
	drain    context.CancelFunc
}

// cleanup ends one part. They run last in, first out.
type cleanup struct {
	name string
	end  func(ctx context.Context) error
}

// New checks the configuration, the endpoints file and the API's certificate
// included; it opens nothing else.
func New(cfg config.Config, opt Options) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opt.Logs == nil {
		opt.Logs = io.Discard
	}
	if opt.Stdout == nil {
		opt.Stdout = io.Discard
	}
	owner := uuid.NewString()
	a := &App{
		cfg: cfg, log: newLogger(cfg, cfg.LogLevel, opt.Logs), audit: newLogger(cfg, slog.LevelInfo, opt.Logs),
		stdout: opt.Stdout, owner: owner, metrics: newMetrics(cfg),
		failed: make(chan error, 1), reloads: make(chan struct{}, 1), environ: lookUp(opt.Environ),
	}
	a.now = clock(a.environ)
	a.stopping, a.drain = context.WithCancel(context.Background())
	var err error
	if a.declared, err = a.readDeclared(); err != nil {
		return nil, err
	}
	if cfg.Role != config.Dispatcher {
		if a.certificate, err = a.openCertificate(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// baseURL is where people find the API.
func (a *App) baseURL() string {
	switch {
	case a.cfg.PublicURL != "":
		return a.cfg.PublicURL
	case a.certificate != nil:
		return "https://" + a.addr
	}
	return "http://" + a.addr
}

// Addr is the API's address, "" without one. It is known after Start.
func (a *App) Addr() string { return a.addr }

// Start opens everything. When it fails it has closed again what it opened.
func (a *App) Start(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		return errors.Join(err, a.Stop(stopCtx))
	}
	return nil
}

func (a *App) start(ctx context.Context) error {
	if err := a.tracing(); err != nil {
		return err
	}
	b, err := a.open(ctx)
	if err != nil {
		return err
	}
	if err := a.common(ctx, b); err != nil {
		return err
	}
	a.health = newHealth(a.log, b.dependencies(), b.warnings)
	a.background("health", a.health.run)
	if b.redis != nil {
		a.background("redis settings", func(ctx context.Context) error { return b.watchSettings(ctx, a.log) })
	}
	a.pull(b)
	// The admin address is opened first and closed last: /readyz tells of the
	// drain while it lasts.
	if err := a.admin(ctx); err != nil {
		return err
	}
	if a.cfg.Role != config.Gateway {
		if err := a.dispatcher(ctx, b); err != nil {
			return err
		}
	}
	if a.cfg.Role != config.Dispatcher {
		if err := a.gateway(ctx, b); err != nil {
			return err
		}
	}
	a.log.InfoContext(ctx, "ready", "role", string(a.cfg.Role), "version", Version(), "api", a.addr, "admin", a.adminAddr)
	return a.welcome(ctx)
}

// Stop ends everything in the reverse order of its start: intake first, then
// the workers, then the backends. It may be called once.
func (a *App) Stop(ctx context.Context) error {
	a.drain()
	a.mu.Lock()
	parts := a.cleanups
	a.cleanups = nil
	a.mu.Unlock()
	var errs []error
	for _, part := range slices.Backward(parts) {
		if err := part.end(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", part.name, err))
		}
	}
	return errors.Join(errs...)
}

func (a *App) onStop(name string, end func(ctx context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, cleanup{name, end})
}

// background runs fn until the app stops. Its failing fails the app.
func (a *App) background(name string, fn func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := fn(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		select {
		case a.failed <- fmt.Errorf("%s: %w", name, err):
		default: // an earlier failure is being handled
		}
	}()
	a.onStop(name, func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return context.Cause(stop)
		}
	})
}

// version is set by the linker where the module's own is not known, as in a
// container's build: -ldflags "-X github.com/taskgate/taskgate/internal/app.version=1.2.3".
var version string

// Version is the program's version as built.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
