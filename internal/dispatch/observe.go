package dispatch

import (
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Observer is told of attempts, by many goroutines at once. It must not block.
type Observer interface {
	// Begun: an attempt begins, late after the moment it was due.
	Begun(ep *task.Endpoint, late time.Duration)
	// Ended follows every Begun. settled says whether the outcome is durable;
	// if not, the task is delivered again and d means nothing.
	Ended(ep *task.Endpoint, o task.Outcome, d task.Decision, settled bool)
}

// Observers tells each of them.
type Observers []Observer

// Begun implements [Observer].
func (all Observers) Begun(ep *task.Endpoint, late time.Duration) {
	for _, o := range all {
		o.Begun(ep, late)
	}
}

// Ended implements [Observer].
func (all Observers) Ended(ep *task.Endpoint, o task.Outcome, d task.Decision, settled bool) {
	for _, each := range all {
		each.Ended(ep, o, d, settled)
	}
}

// lateness is how long after its due moment a message's attempt begins.
func lateness(m *task.Message, begun time.Time) time.Duration {
	if m.ETA.IsZero() {
		return 0
	}
	return max(begun.Sub(m.ETA), 0)
}
