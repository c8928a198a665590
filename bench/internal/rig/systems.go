package rig

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/taskgate/taskgate/bench/internal/spawn"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// Names of systems.
const (
	Chain       = "chain"
	Services    = "services"
	Embedded    = "embedded"
	AsynqDirect = "asynq-direct"
	AsynqHTTP   = "asynq-http"
	RiverDirect = "river-direct"
	RiverHTTP   = "river-http"
	Celery      = "celery"
)

// System is something that takes tasks and has them worked by the handler.
type System struct {
	Name  string
	Title string
	build func(ctx context.Context, run *Run) error
}

// Systems are all of them, in the order of the tables.
func Systems() []System {
	return []System{
		{Chain, "bare chain", buildChain},
		{Services, "Taskgate on services", buildServices},
		{Embedded, "Taskgate embedded (`taskgate serve`)", buildEmbedded},
		{AsynqDirect, "Asynq, client enqueues into Redis", buildAsynqDirect},
		{AsynqHTTP, "Asynq behind an HTTP intake", buildAsynqHTTP},
		{RiverDirect, "River, client inserts into PostgreSQL", buildRiverDirect},
		{RiverHTTP, "River behind an HTTP intake", buildRiverHTTP},
		{Celery, "Celery on RabbitMQ and Redis, Python client", buildCelery},
	}
}

// Named returns the systems of these names, in the order given.
func Named(names ...string) ([]System, error) {
	var out []System
	for _, name := range names {
		found := false
		for _, s := range Systems() {
			if s.Name == name {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no such system: %q", name)
		}
	}
	return out, nil
}

// intakeTarget is the front of package intake.
func intakeTarget(base string) wire.Target {
	return wire.Target{Kind: wire.HTTP, Base: base, Submit: "/tasks"}
}

func buildChain(ctx context.Context, run *Run) error {
	if err := run.services(ctx, true); err != nil {
		return err
	}
	_, base, err := run.tool(ctx, "gateway", "chain", "gateway")
	if err != nil {
		return err
	}
	dispatcher, _, err := run.tool(ctx, "dispatcher", "chain", "dispatcher")
	if err != nil {
		return err
	}
	run.hold = func(context.Context) error { run.end(dispatcher); return nil }
	run.release = func(ctx context.Context) (err error) {
		dispatcher, _, err = run.tool(ctx, "dispatcher", "chain", "dispatcher")
		return err
	}
	run.Target = intakeTarget(base)
	return nil
}

func buildAsynq(ctx context.Context, run *Run) error {
	if err := run.services(ctx, false); err != nil {
		return err
	}
	_, _, err := run.tool(ctx, "worker", "peer", "asynq-worker")
	run.Target = wire.Target{Kind: wire.Asynq, Redis: run.Redis}
	return err
}

func buildAsynqDirect(ctx context.Context, run *Run) error { return buildAsynq(ctx, run) }

func buildAsynqHTTP(ctx context.Context, run *Run) error {
	if err := buildAsynq(ctx, run); err != nil {
		return err
	}
	_, base, err := run.tool(ctx, "intake", "peer", "asynq-intake")
	run.Target = intakeTarget(base)
	return err
}

func buildRiver(ctx context.Context, run *Run) error {
	if err := run.postgres(ctx); err != nil {
		return err
	}
	//nolint:gosec // the bench's own program
	migrate := exec.CommandContext(ctx, run.rig.tool("peer"), "river-migrate")
	migrate.Env = run.env()
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	_, _, err := run.tool(ctx, "worker", "peer", "river-worker")
	run.Target = wire.Target{Kind: wire.River, Postgres: run.Postgres}
	return err
}

func buildRiverDirect(ctx context.Context, run *Run) error { return buildRiver(ctx, run) }

func buildRiverHTTP(ctx context.Context, run *Run) error {
	if err := buildRiver(ctx, run); err != nil {
		return err
	}
	_, base, err := run.tool(ctx, "intake", "peer", "river-intake")
	run.Target = intakeTarget(base)
	return err
}

// python is Debian's own, which has its packages.
const python = "/usr/bin/python3"

// celeryWorker are the arguments of a worker: see bench/celery/tasks.py.
func celeryWorker() []string {
	return strings.Fields("-m celery -A tasks worker -l WARNING -P threads -c 64 --without-gossip --without-mingle --without-heartbeat")
}

func buildCelery(ctx context.Context, run *Run) error {
	if err := exec.CommandContext(ctx, python, "-c", "import celery, redis, requests").Run(); err != nil {
		return fmt.Errorf("%w: Celery (Debian: python3-celery python3-redis python3-requests)", ErrMissing)
	}
	if err := run.services(ctx, true); err != nil {
		return err
	}
	dir := filepath.Join(run.rig.Root, "bench", "celery")
	_, _, err := run.part(ctx, spawn.Spec{
		Name: "worker", Path: python, Args: celeryWorker(), Dir: dir, Env: append(run.env(), "PYTHONDONTWRITEBYTECODE=1"),
	}, after("ready"))
	run.loader = []string{python, filepath.Join(dir, "load.py")}
	run.Target = wire.Target{Kind: "celery"}
	return err
}
