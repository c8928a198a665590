package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/config"
	"github.com/taskgate/taskgate/internal/dispatch"
	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
	"github.com/taskgate/taskgate/internal/telemetry"
)

// gateway starts the API.
func (a *App) gateway(ctx context.Context, b *backends) error {
	hub := results.NewHub(b.store, a.owner)
	a.background("long-polls", hub.Run)
	calls := results.NewCalls(b.store, a.owner)
	a.background("answers of calls", calls.Run)
	who, err := a.authenticator(b)
	if err != nil {
		return err
	}
	jobs := bulk.New(b.store, roomy{b.engine, a, b}, bulk.Options{Owner: a.owner, Stopping: a.stopping.Done(), Logger: a.log})
	a.background("bulk jobs", jobs.Run)
	others := &peers{store: b.store, owner: a.owner}
	a.background("number of gateways", others.run)
	deps := api.Deps{
		Rates: admission.NewRates(b.store, others.count), Quotas: b.quotas,
		Jobs: jobs, Projects: b.registry, Keys: b.registry,
		Engine: a.engine(b), Results: b.store, Waiter: waiter{hub, a.stopping, a.metrics}, Endpoints: b.registry,
		Trials: trials{calls},
		Queues: b.queue, Secrets: b.secrets, Auth: who,
		CheckURL: a.checkURL(),
	}
	for _, p := range a.health.parts {
		deps.Ready = append(deps.Ready, api.Check{Name: p.name, Optional: !p.vital, Ready: a.health.ready(p)})
	}
	srv, err := api.New(deps, api.Options{
		MaxPayload: a.cfg.MaxPayload, MaxWait: a.cfg.MaxWait, MaxDelay: a.cfg.MaxDelay, Logger: a.log,
		TrustedProxies: a.cfg.TrustedProxies, HSTS: a.certificate != nil && a.cfg.Role != config.Dev,
		AccessLog: a.cfg.AccessLog, Audit: a.audit, Observer: requests{a.metrics, a.tracer},
		Quotas: a.quotas(), MaxInflight: a.cfg.MaxInflight, MaxPolls: maxPolls(a.cfg.MaxPolls, connections(openFiles())),
	})
	if err != nil {
		return err
	}
	if err := a.declare(ctx, srv); err != nil {
		return err
	}
	a.api.Store(srv)
	server := srv.HTTPServer()
	if a.certificate != nil {
		server.TLSConfig = a.certificate.config()
		a.background("certificate", a.certificate.run)
	}
	addr, err := a.listen(ctx, "api", a.cfg.Listen, server, srv.Drain)
	if err != nil {
		return err
	}
	a.addr = addr
	a.renote(b)
	return nil
}

func (a *App) authenticator(b *backends) (api.Authenticator, error) {
	if a.cfg.Auth == config.AuthNone {
		return auth.NewNone(), nil
	}
	bootstrap, err := auth.NewAdminKey(a.cfg.AdminKey)
	if err != nil {
		return nil, err
	}
	opt := auth.Options{Logger: a.log, Observer: a.metrics, Failures: a.cfg.AuthFailures}
	if a.cfg.OIDCIssuer != "" {
		if opt.Tokens, err = a.tokens(); err != nil {
			return nil, err
		}
		a.background("keys of the issuer of tokens", opt.Tokens.Run)
	}
	return auth.NewKeys(b.registry, bootstrap, opt), nil
}

// tokens authenticates by the issuer that is configured.
func (a *App) tokens() (*auth.Tokens, error) {
	opt := auth.TokenOptions{
		Issuer: a.cfg.OIDCIssuer, Audience: a.cfg.OIDCAudience, ProjectClaim: a.cfg.OIDCProjectClaim,
		ScopesClaim: a.cfg.OIDCScopesClaim, ScopesPrefix: a.cfg.OIDCScopesPrefix, Admin: a.cfg.OIDCAdmin, Logger: a.log,
	}
	if a.cfg.OIDCCAFile != "" {
		authorities, err := readBounded(a.cfg.OIDCCAFile, maxPEM)
		if err != nil {
			return nil, fmt.Errorf("TASKGATE_OIDC_CA_FILE: %w", err)
		}
		if opt.Roots, err = x509.SystemCertPool(); err != nil {
			opt.Roots = x509.NewCertPool()
		}
		if !opt.Roots.AppendCertsFromPEM(authorities) {
			return nil, errors.New("TASKGATE_OIDC_CA_FILE: there is no certificate in it")
		}
	}
	return auth.NewTokens(opt), nil
}

// quotas are those of a project that has none of its own.
func (a *App) quotas() task.Quotas {
	q := task.Quotas{WaitingTasks: a.cfg.ProjectTasks, PayloadBytes: a.cfg.ProjectBytes}
	if a.cfg.ProjectRate > 0 {
		q.Rate = task.Rate{PerSecond: a.cfg.ProjectRate}.WithBurst()
	}
	return q
}

func (a *App) guard() *dispatch.Guard {
	return dispatch.NewGuard(dispatch.GuardOptions{
		Allow: a.cfg.EgressAllow, Deny: a.cfg.EgressDeny, Ports: a.cfg.EgressPorts, Resolve: a.cfg.EgressResolve,
	})
}

// listen serves until the app stops, then lets requests in flight end.
func (a *App) listen(ctx context.Context, name, addr string, srv *http.Server, drain func()) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	addr = l.Addr().String()
	if name == "api" {
		l = bounded(l, srv, connections(openFiles()))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve := srv.Serve
		if srv.TLSConfig != nil {
			serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
		}
		if err := serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			select {
			case a.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	}()
	a.onStop(name, func(stop context.Context) error {
		if drain != nil {
			drain()
		}
		stop, cancel := context.WithTimeout(stop, a.cfg.ShutdownGrace)
		defer cancel()
		err := srv.Shutdown(stop)
		if err != nil {
			err = errors.Join(err, srv.Close())
		}
		<-done
		return err
	})
	return addr, nil
}

// waiter ends every wait when the process stops, with the task as it is then:
// a long-poll must not hold up the drain.
type waiter struct {
	hub      *results.Hub
	stopping context.Context
	metrics  *telemetry.Metrics
}

func (w waiter) Wait(ctx context.Context, id task.ID, until time.Time) (*task.Snapshot, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.stopping, cancel)()
	s, err := polled(w.metrics, func() (*task.Snapshot, error) { return w.hub.Wait(wait, id, until) })
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return w.hub.Wait(ctx, id, time.Now())
	}
	return s, err
}
