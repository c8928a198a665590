package results

import (
	"context"
	"errors"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Store keeps tasks. It encodes, decodes and indexes; every rule of its
// [Driver] holds for it. Errors carry task.CodeUnavailable when the store
// cannot be reached, else task.CodeInternal.
type Store struct {
	d Driver
}

// NewStore makes a store over a driver, which stays the caller's to close.
func NewStore(d Driver) *Store { return &Store{d: d} }

// topicCancel carries the ids of tasks whose running request is to be aborted.
const topicCancel Topic = "cancel"

var errLongDocument = errors.New("a document is too long")

func fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnavailable):
		return task.Wrap(task.CodeUnavailable, err, "the task store cannot be reached now")
	}
	return task.Wrap(task.CodeInternal, err, "the task store failed")
}

// Create stores a task and claims its idempotency key, or says whose key it
// is.
func (s *Store) Create(ctx context.Context, t task.NewTask) (task.Claim, error) {
	c, err := encodeNew(t)
	if err != nil {
		return task.Claim{}, fail(err)
	}
	got, err := s.d.Create(ctx, c)
	if err != nil {
		return task.Claim{}, fail(err)
	}
	if got.New {
		return task.Claim{New: true}, nil
	}
	present, err := snapshot(got.Row)
	if err != nil {
		return task.Claim{}, fail(err)
	}
	return task.Claim{Present: present, SameRequest: got.SameRequest, AcceptBy: got.AcceptBy}, nil
}

// Accepted notes that the submitter is being told.
func (s *Store) Accepted(ctx context.Context, id task.ID) error { return fail(s.d.Accepted(ctx, id)) }

// Renew gives a task that was not noted as accepted a new AcceptBy; false
// when another caller was faster.
func (s *Store) Renew(ctx context.Context, id task.ID, old, next time.Time) (bool, error) {
	ok, err := s.d.Renew(ctx, id, old, next)
	return ok, fail(err)
}

// Abandon removes up to limit tasks that nobody was told of in time.
func (s *Store) Abandon(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := s.d.Abandon(ctx, now, limit)
	return n, fail(err)
}

// Swap changes a task's record if it has the expected version. Waiters hear
// of it when the next state is final.
func (s *Store) Swap(ctx context.Context, c task.Change) (task.ChangeReply, error) {
	sw, err := encodeChange(c)
	if err != nil {
		return task.ChangeReply{}, fail(err)
	}
	got, err := s.d.Swap(ctx, sw)
	if err != nil || got.OK {
		return task.ChangeReply{OK: got.OK}, fail(err)
	}
	present, err := snapshot(got.Row)
	return task.ChangeReply{Present: present}, fail(err)
}

// Get returns a task, nil for an unknown id.
func (s *Store) Get(ctx context.Context, id task.ID) (*task.Snapshot, error) {
	row, err := s.d.Read(ctx, id, false)
	if err != nil {
		return nil, fail(err)
	}
	snap, err := snapshot(row)
	return snap, fail(err)
}

// GetMany returns the tasks of ids that are there, in order.
func (s *Store) GetMany(ctx context.Context, ids []task.ID) ([]task.Snapshot, error) {
	rows, err := s.d.ReadMany(ctx, ids)
	if err != nil {
		return nil, fail(err)
	}
	out := make([]task.Snapshot, 0, len(rows))
	for _, r := range rows {
		snap, err := snapshot(r)
		if err != nil {
			return nil, fail(err)
		}
		if snap != nil {
			out = append(out, *snap)
		}
	}
	return out, nil
}

// Outbox returns up to limit tasks whose callback was due before the given
// time and may not be published yet.
func (s *Store) Outbox(ctx context.Context, before time.Time, limit int) ([]task.ID, error) {
	ids, err := s.d.Flagged(ctx, before, limit)
	return ids, fail(err)
}

// LeaveOutbox notes that the callback of generation t.Outbox is published. The
// task is kept at least until keep.
func (s *Store) LeaveOutbox(ctx context.Context, t *task.Snapshot, keep time.Time) error {
	done := *t
	done.Outbox = 0
	if own := done.KeepUntil(); own.After(keep) {
		keep = own
	}
	return fail(s.d.Unflag(ctx, Unflag{ID: t.ID, Flag: t.Outbox, Version: t.Version, KeepTill: keep}))
}

// GetResult returns a task with its result; both may be nil.
func (s *Store) GetResult(ctx context.Context, id task.ID) (*task.Snapshot, *task.Result, error) {
	row, err := s.d.Read(ctx, id, true)
	if err != nil {
		return nil, nil, fail(err)
	}
	snap, err := snapshot(row)
	if err != nil || row.Result == nil {
		return snap, nil, fail(err)
	}
	r, err := task.DecodeResult(row.Result)
	if err != nil {
		return snap, nil, fail(err)
	}
	return snap, &r, nil
}

// Payload returns the payload; false when it was not kept.
func (s *Store) Payload(ctx context.Context, id task.ID) ([]byte, bool, error) {
	p, ok, err := s.d.Payload(ctx, id)
	return p, ok, fail(err)
}

// Attempts returns the latest attempts, at most 1000, in order.
func (s *Store) Attempts(ctx context.Context, id task.ID) ([]task.Attempt, error) {
	rows, err := s.d.Attempts(ctx, id)
	if err != nil {
		return nil, fail(err)
	}
	out := make([]task.Attempt, len(rows))
	for i, b := range rows {
		if out[i], err = task.DecodeAttempt(b); err != nil {
			return nil, fail(err)
		}
	}
	return out, nil
}

// Depths counts the endpoint's tasks that have not ended by state, leaving
// out states without any. A task counts as scheduled until its attempt begins.
func (s *Store) Depths(ctx context.Context, project string, ep task.EndpointID) (task.Depths, error) {
	counts, err := s.d.CountLanes(ctx, project, ep)
	if err != nil {
		return nil, fail(err)
	}
	d := make(task.Depths, len(counts))
	for lane, c := range counts {
		if c.Rows > 0 {
			d[lanes[lane]] = task.Depth{Tasks: c.Rows, Oldest: c.Oldest}
		}
	}
	return d, nil
}

// Expiring returns up to limit tasks that wait though their time is over.
func (s *Store) Expiring(ctx context.Context, now time.Time, limit int) ([]task.ID, error) {
	ids, err := s.d.Expiring(ctx, now, limit)
	return ids, fail(err)
}

// SwapDocument writes a document if the present one has the document's version
// (0: there is none), which grows by one; Data nil removes it. When it is not
// ok, present is what is there.
func (s *Store) SwapDocument(ctx context.Context, doc task.Document) (present task.Document, ok bool, err error) {
	if len(doc.Data) > task.MaxDocument {
		return task.Document{}, false, fail(errLongDocument)
	}
	present, ok, err = s.d.SwapDocument(ctx, doc)
	return present, ok, fail(err)
}

// ReadDocument returns a document, Version 0 when there is none.
func (s *Store) ReadDocument(ctx context.Context, kind, group, name string) (task.Document, error) {
	doc, err := s.d.ReadDocument(ctx, kind, group, name)
	return doc, fail(err)
}

// ListDocuments returns up to limit documents of a group, names descending,
// those below before ("": from the last name).
func (s *Store) ListDocuments(
	ctx context.Context, kind, group, before string, limit int,
) (docs []task.Document, more bool, err error) {
	docs, more, err = s.d.ListDocuments(ctx, kind, group, before, limit)
	return docs, more, fail(err)
}

// Forget does a bounded step of cleaning up after TTLs.
func (s *Store) Forget(ctx context.Context, project string, now time.Time) error {
	return fail(s.d.Forget(ctx, project, now))
}

// Beat says that owner lives for ttl.
func (s *Store) Beat(ctx context.Context, owner string, ttl time.Duration) error {
	return fail(s.d.Beat(ctx, owner, ttl))
}

// Alive asks whether owner has beaten within its ttl.
func (s *Store) Alive(ctx context.Context, owner string) (bool, error) {
	ok, err := s.d.Alive(ctx, owner)
	return ok, fail(err)
}

// Lead takes or renews the named lease for owner.
func (s *Store) Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	ok, err := s.d.Lead(ctx, name, owner, ttl)
	return ok, fail(err)
}

// HintCancel asks whoever runs the task to abort its request.
func (s *Store) HintCancel(ctx context.Context, id task.ID) error {
	return fail(s.d.Hint(ctx, topicCancel, string(id)))
}

// OnCancel calls fn for every hint of [Store.HintCancel] until ctx ends. It
// blocks; fn must not.
func (s *Store) OnCancel(ctx context.Context, fn func(task.ID)) error {
	hear := func(msg string) {
		if id, ok := task.ParseID(msg); ok {
			fn(id)
		}
	}
	return fail(s.d.Subscribe(ctx, topicCancel, hear, func() {}))
}

// Ready reports nil when the store answers.
func (s *Store) Ready(ctx context.Context) error { return fail(s.d.Ready(ctx)) }
