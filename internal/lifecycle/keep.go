package lifecycle

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// What cannot be fenced while the store is away is held back for as long as it
// has been away, within these bounds: a short outage delays it shortly, in a
// long one it does not go round and round.
const (
	unrecordedLeast = time.Second
	unrecordedMost  = 30 * time.Second
)

// heard notes that the store has answered.
func (e *Engine) heard() { e.lastHeard.Store(e.now().UnixMilli()) }

// away is for how long what needs the store is to wait for it.
func (e *Engine) away(now time.Time) time.Duration {
	d := now.Sub(time.UnixMilli(e.lastHeard.Load()))
	return min(max(d, unrecordedLeast), unrecordedMost)
}

// keep returns the payload to keep beside a record that has not failed.
func (e *Engine) keep(payload []byte) []byte {
	if len(payload) > e.opt.KeepPayload {
		return nil
	}
	return nonNil(payload)
}

// keepFailed keeps the payload of a task that fails, so that the dead letter can
// be replayed, as long as its project may keep more of them.
func (e *Engine) keepFailed(ctx context.Context, c *task.Change, payload []byte) {
	if e.opt.Keeps != nil && len(payload) > 0 && !e.opt.Keeps(ctx, c.Spec.Project, len(payload)) {
		c.DropPayload = true
		e.opt.Logger.WarnContext(ctx, "payload of a failed task not kept: its project has as many as it may have",
			"project", c.Spec.Project, "task", c.Spec.ID, "bytes", len(payload))
		return
	}
	c.Payload = nonNil(payload)
}
