package rig

import (
	"context"
	"os/exec"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

// Versions notes which servers the run uses.
func (run *Run) Versions(ctx context.Context, into map[string]string) {
	note := func(name string, find func() string) {
		if into[name] == "" {
			if v := find(); v != "" {
				into[name] = v
			}
		}
	}
	if run.AMQP != "" {
		note(RabbitMQ, run.rabbitVersion)
	}
	if run.Redis != "" {
		note(Redis, func() string { return run.redisVersion(ctx) })
	}
	if run.Postgres != "" {
		note(PostgreSQL, func() string { return postgresVersion(ctx) })
	}
	if run.System.Name == Celery {
		note("Celery", func() string { return output(ctx, python, "-c", "import celery; print(celery.__version__)") })
	}
}

func (run *Run) rabbitVersion() string {
	conn, err := amqp.Dial(run.AMQP)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	v, _ := conn.Properties["version"].(string)
	return v
}

func (run *Run) redisVersion(ctx context.Context) string {
	opt, err := redis.ParseURL(run.Redis)
	if err != nil {
		return ""
	}
	c := redis.NewClient(opt)
	defer func() { _ = c.Close() }()
	for line := range strings.Lines(c.Info(ctx, "server").Val()) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			return v
		}
	}
	return ""
}

func postgresVersion(ctx context.Context) string {
	bin, err := postgresBin()
	if err != nil {
		return ""
	}
	fields := strings.Fields(output(ctx, bin+"/postgres", "--version"))
	if len(fields) < 3 { //nolint:mnd // postgres (PostgreSQL) 15.1
		return ""
	}
	return fields[2]
}

func output(ctx context.Context, name string, args ...string) string {
	text, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
