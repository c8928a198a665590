// Package load drives a system under test and measures it.
package load

import (
	"context"
	"fmt"

	"github.com/taskgate/taskgate/bench/internal/wire"
)

// target submits tasks and reads their results. It is safe for concurrent use.
type target interface {
	// submit returns when the task is accepted, with what names it.
	submit(ctx context.Context, n int64, payload []byte) (handle string, err error)
	// result waits for the task's result.
	result(ctx context.Context, handle string) ([]byte, error)
	close()
}

func open(ctx context.Context, t wire.Target) (target, error) {
	switch t.Kind {
	case wire.HTTP:
		return newHTTP(ctx, t)
	case wire.Asynq:
		return newAsynq(ctx, t)
	case wire.River:
		return newRiver(ctx, t)
	}
	return nil, fmt.Errorf("no such target: %q", t.Kind)
}
