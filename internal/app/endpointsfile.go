package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/config"
)

const (
	maxEndpointsFile = 4 << 20
	// reloadTime bounds one reload.
	reloadTime = time.Minute
)

// lookUp is os.LookupEnv for the environment that the process was given.
func lookUp(environ []string) func(string) (string, bool) {
	values := make(map[string]string, len(environ))
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// readDeclared reads the endpoints file; nil when there is none for this role.
func (a *App) readDeclared() (*api.Declared, error) {
	if a.cfg.EndpointsFile == "" || a.cfg.Role == config.Dispatcher {
		return nil, nil //nolint:nilnil // there is none
	}
	content, err := readBounded(a.cfg.EndpointsFile, maxEndpointsFile)
	if err == nil {
		var d *api.Declared
		if d, err = api.ReadDeclared(content, a.environ, api.Deps{CheckURL: a.checkURL(), Secrets: secrets{}}); err == nil {
			return d, nil
		}
	}
	if _, ok := errors.AsType[api.FileErrors](err); ok {
		return nil, fmt.Errorf("TASKGATE_ENDPOINTS_FILE: in %s:\n%w", a.cfg.EndpointsFile, err)
	}
	return nil, fmt.Errorf("TASKGATE_ENDPOINTS_FILE: %w", err)
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return content, err
}

func (a *App) checkURL() api.URLChecker {
	guard := a.guard()
	return func(url string) (string, bool) {
		if err := guard.CheckURL(url); err != nil {
			return err.Error(), false
		}
		return "", true
	}
}

// declare makes the registry what the file says, now and at each reload.
func (a *App) declare(ctx context.Context, srv *api.Server) error {
	if a.declared == nil {
		return nil
	}
	if err := a.apply(ctx, srv, a.declared); err != nil {
		return fmt.Errorf("endpoints file: %w", err)
	}
	a.background("endpoints file", func(ctx context.Context) error {
		for {
			select {
			case <-a.reloads:
				a.reload(ctx, srv)
			case <-ctx.Done():
				return nil
			}
		}
	})
	return nil
}

func (a *App) apply(ctx context.Context, srv *api.Server, d *api.Declared) error {
	applied, err := srv.Apply(ctx, d)
	if len(applied.Unlisted) > 0 {
		a.log.WarnContext(ctx, "endpoints that the file has no more are disabled and hold their tasks; "+
			"put them back, delete them, or take them over by resuming them", "endpoints", applied.Unlisted)
	}
	for _, name := range applied.Set {
		audit(ctx, a.audit, "applyEndpointsFile", "file", "", name, "set")
	}
	for _, name := range applied.Unlisted {
		audit(ctx, a.audit, "applyEndpointsFile", "file", "", name, "disabled")
	}
	if err == nil {
		a.log.InfoContext(ctx, "endpoints file applied", "file", a.cfg.EndpointsFile, "changed", applied.Set)
	}
	return err
}

// reload takes the file as it is now. A bad one changes nothing.
func (a *App) reload(ctx context.Context, srv *api.Server) {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	d, err := a.readDeclared()
	if err != nil {
		a.log.ErrorContext(ctx, "endpoints file not taken: what was there before stays", "error", err)
		return
	}
	if err := a.apply(ctx, srv, d); err != nil {
		a.log.ErrorContext(ctx, "endpoints file not wholly applied; send SIGHUP again", "error", err)
	}
}
