package lifecycle

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Heartbeats: a process that has not beaten for HeartbeatTTL is dead and its
// leases with it.
const (
	HeartbeatTTL      = 10 * time.Second
	HeartbeatInterval = 3 * time.Second
)

const (
	sweeperLease = "sweeper"
	sweeperTTL   = 30 * time.Second
	sweepBatch   = 500
)

// Beat tells the store that this process lives.
func (e *Engine) Beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	err := e.store.Beat(ctx, e.opt.Owner, HeartbeatTTL)
	if err == nil {
		e.heard()
	}
	return err
}

// Renote tells the store again of acceptances whose note did not reach it.
func (e *Engine) Renote(ctx context.Context) error {
	for _, id := range e.takeUnnoted() {
		if err := e.store.Accepted(ctx, id); err != nil {
			return err
		}
		e.mu.Lock()
		delete(e.unnoted, id)
		e.mu.Unlock()
	}
	return nil
}

func (e *Engine) takeUnnoted() []task.ID {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]task.ID, 0, min(len(e.unnoted), sweepBatch))
	for id := range e.unnoted {
		if len(ids) == sweepBatch {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// Swept counts what a sweep did.
type Swept struct {
	Leader             bool
	Abandoned, Expired int
	Callbacks          int // published late
}

// Sweep does one bounded round of housekeeping, if this process leads it:
// forget acceptances that were never answered, expire what waited too long,
// publish callbacks that were left, clean up after TTLs.
func (e *Engine) Sweep(ctx context.Context, projects []string) (Swept, error) {
	var s Swept
	lead, err := e.store.Lead(ctx, sweeperLease, e.opt.Owner, sweeperTTL)
	if err != nil || !lead {
		return s, err
	}
	s.Leader = true
	now := e.now()
	// AcceptBy says when a repeat may try again. The record and its key stay
	// much longer: the message of an acceptance whose confirm was late may
	// exist, its submitter may even have heard 202, and a repeat must find it.
	if s.Abandoned, err = e.store.Abandon(ctx, now.Add(-IdempotencyMemory), sweepBatch); err != nil {
		return s, err
	}
	ids, err := e.store.Expiring(ctx, now, sweepBatch)
	if err != nil {
		return s, err
	}
	for _, id := range ids {
		done, err := e.expire(ctx, id)
		switch {
		case unavailable(err):
			return s, err
		case err != nil:
			// One record that cannot be read must not keep the others from
			// their ends.
			e.opt.Logger.ErrorContext(ctx, "task cannot be expired", "task", id, "error", err)
			continue
		}
		if done {
			s.Expired++
		}
	}
	if s.Callbacks, err = e.sweepOutbox(ctx); err != nil {
		return s, err
	}
	for _, p := range projects {
		if err := e.store.Forget(ctx, p, now); err != nil {
			return s, err
		}
	}
	return s, nil
}

// expire ends a waiting task whose time is over. A running attempt began in
// time; it may finish.
func (e *Engine) expire(ctx context.Context, id task.ID) (bool, error) {
	s, err := e.store.Get(ctx, id)
	if err != nil || s == nil || !s.State.Waiting() || !s.ExpiredAt(e.now()) {
		return false, err
	}
	next, ok := s.Ended(task.Expired, task.ReasonExpired, e.now())
	if !ok {
		return false, nil
	}
	c := task.Change{Expect: s.Version, Next: next, Spec: &s.Spec}
	reply, err := e.swap(ctx, c)
	if err == nil && reply.OK {
		e.tellSoon(ctx, &c)
	}
	return reply.OK, err
}
