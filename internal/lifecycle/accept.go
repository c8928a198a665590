package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	mathrand "math/rand/v2"

	"github.com/taskgate/taskgate/internal/task"
)

// Submission is a valid request to run a task.
type Submission struct {
	Project     string
	Endpoint    string
	Payload     []byte
	ContentType string
	RunAt       time.Time // zero: now
	ExpiresAt   time.Time // zero: never
	Timeout     time.Duration
	Retry       *task.Retry
	ResultTTL   time.Duration
	Headers     []task.Header
	Labels      map[string]string
	TraceParent string
	ParentID    task.ID
	Callback    *task.Callback
	// IdempotencyKey makes a repeat return the first task; Fingerprint is a
	// digest of the request, so that a key is not used for another one.
	IdempotencyKey string
	Fingerprint    string
	// Late is what time has made wrong with the submission, nil for nothing: it
	// is refused so, unless it repeats one that was accepted before.
	Late error
}

// IdempotencyMemory is how long an idempotency key is remembered.
const IdempotencyMemory = 24 * time.Hour

// Receipt says what was accepted.
type Receipt struct {
	Task task.Snapshot
	// Replayed: the key was known; Task is the one accepted before.
	Replayed bool
}

// Accept makes a task durable. It returns nil only when the broker has
// confirmed it (api.md, "Submit"). Errors: task.CodeNotAccepted,
// CodeOutcomeUnknown (with the id), CodeInProgress, CodeKeyReused,
// CodeUnavailable.
func (e *Engine) Accept(ctx context.Context, s Submission) (Receipt, error) {
	t, env := e.newTask(s)
	if t.Ask = s.Late != nil; t.Ask && s.IdempotencyKey == "" {
		return Receipt{}, s.Late
	}
	claim, err := e.create(ctx, t)
	switch {
	case err != nil && s.IdempotencyKey != "":
		return Receipt{}, err // its uniqueness cannot be proved now
	case err != nil && !unavailable(err):
		return Receipt{}, err
	case err != nil:
		return e.acceptUnrecorded(ctx, t, env)
	case !claim.New:
		return e.repeat(ctx, claim, s.Payload)
	case t.Ask:
		return Receipt{}, s.Late
	}
	if err := e.publishNew(ctx, task.First(env, t.Record.Version), t.AcceptBy); err != nil {
		return Receipt{}, err
	}
	return Receipt{Task: task.Snapshot{Spec: t.Spec, Record: t.Record}}, nil
}

func (e *Engine) newTask(s Submission) (task.NewTask, task.Envelope) {
	now := e.now()
	shard := mathrand.IntN(task.Shards) //nolint:gosec // spreads load, hides nothing
	var idem string
	var until time.Time
	if s.IdempotencyKey != "" {
		idem = digest(s.Project, s.IdempotencyKey)
		shard = task.ShardOf(idem)
		until = now.Add(IdempotencyMemory)
	}
	spec := task.Spec{
		ID: e.opt.NewID(now, shard), Project: s.Project, Endpoint: s.Endpoint, CreatedAt: now,
		ExpiresAt: s.ExpiresAt.UTC().Truncate(time.Millisecond), Timeout: task.Duration(s.Timeout), Retry: s.Retry,
		ResultTTL: task.Duration(s.ResultTTL), ContentType: s.ContentType, Headers: s.Headers, Labels: s.Labels,
		TraceParent: s.TraceParent, ParentID: s.ParentID, Callback: s.Callback, PayloadSize: len(s.Payload), IdempotentUntil: until,
	}
	if run := s.RunAt.UTC(); run.After(now) {
		spec.RunAt = ceilMillis(run)
	}
	t := task.NewTask{
		Record: task.NewRecord(&spec), Spec: spec, IdemKey: idem, Fingerprint: s.Fingerprint,
		AcceptBy: now.Add(e.opt.AcceptWithin),
	}
	if len(s.Payload) <= e.opt.KeepPayload {
		t.Payload = nonNil(s.Payload)
	}
	return t, task.Envelope{Spec: spec, Payload: s.Payload}
}

func (e *Engine) create(ctx context.Context, t task.NewTask) (task.Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.StoreTimeout)
	defer cancel()
	return e.store.Create(ctx, t)
}

// publishNew publishes a task's first message and notes the acceptance.
func (e *Engine) publishNew(ctx context.Context, m task.Message, acceptBy time.Time) error {
	pctx, cancel := context.WithTimeout(ctx, e.opt.PublishTimeout)
	defer cancel()
	if err := e.queue.Publish(pctx, m); err != nil {
		if task.CodeOf(err) == task.CodeNotAccepted {
			e.refused(ctx, &m.Spec, acceptBy)
			return task.Wrap(task.CodeNotAccepted, err, "the broker cannot take tasks now; nothing was accepted")
		}
		out := task.Wrap(task.CodeOutcomeUnknown, err, "the broker did not confirm in time; repeat with the same Idempotency-Key")
		out.TaskID = m.ID
		return out
	}
	e.opt.Observer.Accepted(m.Project, m.Endpoint)
	e.note(ctx, m.ID)
	return nil
}

// refused notes that nothing of an acceptance can show up: a repeat with its
// key may try at once, and what has no key is for the next sweep, since nobody
// knows of it. Failing to say so only makes them wait.
func (e *Engine) refused(ctx context.Context, s *task.Spec, acceptBy time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opt.StoreTimeout)
	defer cancel()
	next := e.now()
	if s.IdempotentUntil.IsZero() {
		next = next.Add(-IdempotencyMemory)
	}
	if _, err := e.store.Renew(ctx, s.ID, acceptBy, next); err != nil {
		e.opt.Logger.WarnContext(ctx, "refused task stays reserved until its deadline", "task", s.ID, "error", err)
	}
}

// note tells the store that the submitter is about to hear 202. The message
// is durable already, so a store that cannot be told does not change the
// answer; the sweep tells it later.
func (e *Engine) note(ctx context.Context, id task.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opt.StoreTimeout)
	defer cancel()
	err := e.store.Accepted(ctx, id)
	if err == nil {
		return
	}
	e.opt.Logger.WarnContext(ctx, "acceptance not noted yet", "task", id, "error", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.unnoted) < maxUnnoted {
		e.unnoted[id] = struct{}{}
	}
}

// acceptUnrecorded accepts without the store: the message alone is the task,
// and its first attempt makes the record.
func (e *Engine) acceptUnrecorded(ctx context.Context, t task.NewTask, env task.Envelope) (Receipt, error) {
	if err := e.publishNew(ctx, task.First(env, 0), t.AcceptBy); err != nil {
		return Receipt{}, err
	}
	return Receipt{Task: task.Snapshot{Spec: t.Spec, Record: t.Record}}, nil
}

// repeat answers a submission whose key is known.
func (e *Engine) repeat(ctx context.Context, c task.Claim, payload []byte) (Receipt, error) {
	if !c.SameRequest {
		return Receipt{}, task.Errorf(task.CodeKeyReused, "this Idempotency-Key was used with a different request")
	}
	inProgress := task.Errorf(task.CodeInProgress, "a request with this Idempotency-Key is being accepted right now")
	inProgress.TaskID = c.Present.ID
	receipt := Receipt{Task: *c.Present, Replayed: true}
	if c.AcceptBy.IsZero() {
		return receipt, nil
	}
	if now := e.now(); now.Before(c.AcceptBy) {
		return Receipt{}, inProgress
	}
	next := e.now().Add(e.opt.AcceptWithin)
	ok, err := e.store.Renew(ctx, c.Present.ID, c.AcceptBy, next)
	if err != nil {
		return Receipt{}, err
	}
	if !ok {
		return Receipt{}, inProgress
	}
	// The same id and fence as the first try: if both messages exist, the
	// second is recognised as a twin and dropped. Should the store forget in
	// between, the handler is at least told.
	m := task.First(task.Envelope{Spec: c.Present.Spec, Payload: payload}, c.Present.Version)
	m.Suspect = true
	if err := e.publishNew(ctx, m, next); err != nil {
		return Receipt{}, err
	}
	return receipt, nil
}

func digest(project, key string) string {
	sum := sha256.Sum256([]byte(project + "\x00" + key))
	return hex.EncodeToString(sum[:])
}

// ceilMillis rounds up: a task must not run a fraction of a millisecond early.
func ceilMillis(t time.Time) time.Time {
	if r := t.Truncate(time.Millisecond); r.Before(t) {
		return r.Add(time.Millisecond)
	}
	return t
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
