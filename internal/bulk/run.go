package bulk

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskgate/taskgate/internal/task"
)

const (
	// handTime is how much work a hand holds, at the job's rate.
	handTime = time.Second
	maxHand  = 200
	// side is how many tasks are changed side by side, for the time that a
	// chunk takes at the job's rate.
	maxSide  = 8
	sideTime = 50 * time.Millisecond
	// lookTime is how often a worker makes sure that the job is still its own
	// and still wanted, and saveTime how often it writes its progress.
	lookTime = time.Second
	saveTime = time.Second
)

// errTakenOver: another process works the job now.
var errTakenOver = errors.New("the job is another process's now")

// run is a job in the hands of this process.
type run struct {
	s *Service
	*state

	// doubtful is how many at the front of the hand an earlier process, or an
	// earlier try, may have changed already.
	doubtful int
	next     time.Time // of the next change, by the rate
	looked   time.Time
	saved    time.Time
}

// run works until the job has ended; nil means that it has, and is written.
func (r *run) run(ctx context.Context) error {
	for !r.Ended() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := r.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step finds tasks, or changes some of those found.
func (r *run) step(ctx context.Context) error {
	if len(r.Hand) == 0 {
		return r.find(ctx)
	}
	part := r.Hand[:min(len(r.Hand), r.perTime(sideTime, maxSide))]
	if err := r.pace(ctx, len(part)); err != nil || r.Ended() {
		return err
	}
	// A change that has begun is brought to its end; it is bounded by itself.
	if err := r.tally(r.changeAll(context.WithoutCancel(ctx), part)); err != nil {
		return err
	}
	r.Hand = r.Hand[len(part):]
	r.doubtful = max(0, r.doubtful-len(part))
	if time.Since(r.saved) > saveTime {
		return r.save(ctx)
	}
	return nil
}

// perTime is how many tasks the rate allows in d, from 1 to most.
func (r *run) perTime(d time.Duration, most int) int {
	return min(max(int(r.Rate*d.Seconds()), 1), most)
}

// find fills the hand, or ends the job when there is nothing more.
func (r *run) find(ctx context.Context) error {
	if r.Listed {
		r.end(Done, r.s.now())
		return r.save(ctx)
	}
	// A task accepted in the same millisecond may have been there before us.
	q := r.query(r.StartedAt.Add(time.Millisecond))
	q.Cursor, q.Limit, q.Now = r.Cursor, r.perTime(handTime, maxHand), r.s.now()
	page, err := r.s.store.List(ctx, q)
	switch code := task.CodeOf(err); {
	case code == task.CodeInvalid || code == task.CodeInternal && ctx.Err() == nil:
		r.s.opt.Logger.ErrorContext(ctx, "bulk job cannot find its tasks", "job", r.ID, "error", err)
		r.end(Failed, r.s.now())
		r.Detail = "the list of tasks cannot be read"
		return r.save(ctx)
	case err != nil:
		return err
	}
	for i := range page.Items {
		r.Hand = append(r.Hand, held{ID: page.Items[i].ID, Gen: page.Items[i].Gen})
		r.Reached = page.Items[i].CreatedAt
	}
	r.Matched += len(page.Items)
	r.Cursor, r.Listed = page.Next, page.Next == ""
	if len(r.Hand) == 0 && time.Since(r.saved) < saveTime {
		return r.look(ctx)
	}
	return r.save(ctx)
}

// pace waits until n more tasks may be changed by the rate. It never makes up
// for time that was lost: the rate is a bound, not an average to reach.
func (r *run) pace(ctx context.Context, n int) error {
	if now := time.Now(); r.next.Before(now) {
		r.next = now
	}
	at := r.next
	r.next = at.Add(time.Duration(float64(n) / r.Rate * float64(time.Second)))
	for !r.Ended() {
		left := time.Until(at)
		if left <= 0 {
			return r.look(ctx)
		}
		if err := sleep(ctx, min(left, lookTime)); err != nil {
			return err
		}
		if err := r.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// look makes sure now and then that the job is still ours and still wanted.
func (r *run) look(ctx context.Context) error {
	if time.Since(r.looked) < lookTime {
		return nil
	}
	if err := r.lead(ctx); err != nil {
		return err
	}
	doc, err := r.s.store.ReadDocument(ctx, kindJob, r.Project, r.ID)
	if err != nil || doc.Version == r.version {
		return err
	}
	return r.overtaken(ctx, doc)
}

func (r *run) lead(ctx context.Context) error {
	ok, err := r.s.store.Lead(ctx, leaseOf(r.ID), r.s.opt.Owner, leaseTTL)
	if err != nil {
		return err
	}
	if !ok {
		return errTakenOver
	}
	r.looked = time.Now()
	return nil
}

// save writes the job as it is here.
func (r *run) save(ctx context.Context) error {
	doc, err := r.document(r.s.now())
	if err != nil {
		return err
	}
	present, ok, err := r.s.store.SwapDocument(ctx, doc)
	switch {
	case err != nil:
		return err
	case !ok:
		return r.overtaken(ctx, present)
	}
	r.version++
	r.saved = time.Now()
	return nil
}

// overtaken: somebody else wrote the job. If it was cancelled, what was done
// since the last save is added to it; anything else is another worker's.
func (r *run) overtaken(ctx context.Context, present task.Document) error {
	if present.Version == 0 {
		return errTakenOver // forgotten, with the store's memory
	}
	st, err := decode(present)
	if err != nil {
		return err
	}
	if st.State != Cancelled || r.State == Cancelled {
		return errTakenOver
	}
	mine, reached := r.Counts, r.Reached
	r.state = st
	if mine.worked() <= st.worked() {
		return nil
	}
	st.Counts, st.Reached = mine, reached
	return r.save(ctx)
}

// outcome is what became of one task.
type outcome struct {
	changed bool
	err     error
}

func (r *run) changeAll(ctx context.Context, part []held) []outcome {
	out := make([]outcome, len(part))
	var wg sync.WaitGroup
	for i, h := range part {
		wg.Go(func() { out[i] = r.changeOne(ctx, h, i < r.doubtful) })
	}
	wg.Wait()
	return out
}

// changeOne changes a task if it is still as it was found. One that was
// perhaps changed already shows it: a retry made another generation of it, a
// cancellation ended it.
func (r *run) changeOne(ctx context.Context, h held, doubtful bool) outcome {
	already := false
	states := r.Meant()
	holds := func(s *task.Snapshot) bool {
		moved := s.Gen != h.Gen
		switch {
		case r.Action == Retry && moved, r.Action == Cancel && !moved && s.State == task.Cancelled:
			already = true
			return false
		case moved && doubtful:
			return false // cancelled by us perhaps, and retried since
		}
		return slices.Contains(states, s.StateAt(r.s.now()))
	}
	change := r.s.change.CancelIf
	if r.Action == Retry {
		change = r.s.change.RetryIf
	}
	_, err := change(ctx, r.Project, h.ID, holds)
	return outcome{changed: err == nil || already, err: err}
}

// tally counts what became of a part of the hand. Trouble with broker or store
// is nobody's outcome: nothing is counted, and the part is tried again, with
// doubt.
func (r *run) tally(outcomes []outcome) error {
	for _, o := range outcomes {
		if !o.changed && passing(o.err) {
			r.doubtful = max(r.doubtful, len(outcomes))
			return o.err
		}
	}
	for _, o := range outcomes {
		code := task.CodeOf(o.err)
		switch {
		case o.changed:
			r.Changed++
		case code == task.CodeConflict || code == task.CodeNotFound || code == task.CodePayloadNotKept:
			r.Skipped++
			r.because(code)
		default:
			r.Counts.Failed++
			r.because(code)
		}
	}
	return nil
}

// passing reports whether err is the trouble of a moment.
func passing(err error) bool {
	code := task.CodeOf(err)
	return code == task.CodeUnavailable || code == task.CodeNotAccepted || code == task.CodeOutcomeUnknown
}

// madeAt is the time in a job's id.
func madeAt(id string) time.Time {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time())
}
