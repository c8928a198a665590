// Command peer runs a part of a system that Taskgate is compared with.
//
//	peer asynq-intake | asynq-worker | river-migrate | river-intake | river-worker
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/taskgate/taskgate/bench/internal/intake"
	"github.com/taskgate/taskgate/bench/internal/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1) //nolint:gocritic // the signals' end is the process's
	}
}

func ready() { fmt.Println("ready") }

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one part, not %q", args)
	}
	redis, postgres, handler := os.Getenv("BENCH_REDIS_URL"), os.Getenv("BENCH_POSTGRES_URL"), os.Getenv("BENCH_HANDLER_URL")
	switch args[0] {
	case "asynq-intake", "asynq-worker":
		results, err := intake.OpenRedis(redis)
		if err != nil {
			return err
		}
		if args[0] == "asynq-worker" {
			return peer.ServeAsynq(ctx, redis, handler, results, ready)
		}
		return asynqIntake(ctx, redis, results)
	case "river-migrate":
		return peer.MigrateRiver(ctx, postgres)
	case "river-worker":
		return peer.ServeRiver(ctx, postgres, handler, ready)
	case "river-intake":
		return riverIntake(ctx, postgres)
	}
	return fmt.Errorf("no such part: %q", args[0])
}

func asynqIntake(ctx context.Context, redis string, results *intake.Redis) error {
	client, err := peer.NewAsynqClient(redis, results)
	if err != nil {
		return err
	}
	defer client.Close()
	waiters := intake.NewWaiters(false)
	if err := results.Listen(ctx, waiters); err != nil {
		return err
	}
	return intake.Serve(ctx, client, waiters)
}

func riverIntake(ctx context.Context, postgres string) error {
	client, err := peer.NewRiverClient(ctx, postgres)
	if err != nil {
		return err
	}
	defer client.Close()
	waiters := intake.NewWaiters(false)
	if err := client.Listen(ctx, waiters); err != nil {
		return err
	}
	return intake.Serve(ctx, client, waiters)
}
