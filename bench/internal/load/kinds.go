package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// maxFailures ends a load that gets nowhere.
const maxFailures = 100

func (r *runner) hopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed >= maxFailures
}

// closed has each submitter wait for its task before it begins the next one.
func (r *runner) closed(ctx context.Context) {
	r.plan()
	ctx, cancel := context.WithDeadline(ctx, r.end.Add(tail))
	defer cancel()
	var numbers atomic.Int64
	var wg sync.WaitGroup
	for range r.job.Submitters {
		wg.Go(func() {
			rec := &record{}
			defer r.merge(rec)
			for {
				due := time.Now()
				if !due.Before(r.end) || ctx.Err() != nil || r.hopeless() {
					return
				}
				r.one(ctx, numbers.Add(1), due, rec)
			}
		})
	}
	r.windows(ctx)
	wg.Wait()
}

// open submits by a schedule. What does not fit any more counts as failed: the system is too slow
// for this rate.
func (r *runner) open(ctx context.Context) {
	start := r.plan()
	ctx, cancel := context.WithDeadline(ctx, r.end.Add(tail))
	defer cancel()
	marked := make(chan struct{})
	go func() {
		defer close(marked)
		r.windows(ctx)
	}()
	plan := stats.Schedule{Start: start, Rate: r.job.Rate}
	places := make(chan struct{}, r.job.Submitters)
	var wg sync.WaitGroup
	for i := range plan.Count(r.job.Warm + r.job.For) {
		due := plan.At(i)
		time.Sleep(time.Until(due)) //nolint:forbidigo // milliseconds; a timer's channel would come later still
		r.lag = max(r.lag, time.Since(due))
		select {
		case places <- struct{}{}:
		default:
			r.fail(fmt.Errorf("%d tasks are under way: too slow for this rate", r.job.Submitters))
			continue
		}
		if ctx.Err() != nil || r.hopeless() {
			break
		}
		wg.Go(func() {
			rec := &record{}
			r.one(ctx, int64(i), due, rec)
			r.merge(rec)
			<-places
		})
	}
	wg.Wait()
	<-marked
}

// fill submits N tasks, and measures the submissions.
func (r *runner) fill(ctx context.Context) {
	r.begin = time.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, r.begin.Add(r.job.For), errors.New("not filled in time"))
	defer cancel()
	r.mark(wire.Begin)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range r.job.Submitters {
		wg.Go(func() {
			rec := &record{}
			defer r.merge(rec)
			for n := next.Add(1) - 1; n < int64(r.job.N) && !r.hopeless(); n = next.Add(1) - 1 {
				r.accept(ctx, n, rec)
			}
		})
	}
	wg.Wait()
	r.end = time.Now()
	r.mark(wire.End)
}

// accept submits task n.
func (r *runner) accept(ctx context.Context, n int64, rec *record) {
	began := time.Now()
	if _, err := r.target.submit(ctx, n, wire.Payload(n, r.job.Size)); err != nil {
		r.fail(err)
		return
	}
	rec.tasks++
	rec.all++
	rec.submit = append(rec.submit, time.Since(began))
}

// park submits N tasks and, when told to go on, keeps a long-poll for each until ctx ends.
func (r *runner) park(ctx context.Context) error {
	h, ok := r.target.(*httpTarget)
	if !ok {
		return errors.New("only what has an HTTP front has long-polls")
	}
	handles := make([]string, r.job.N)
	if err := r.submitAll(ctx, handles); err != nil {
		return err
	}
	r.mark(wire.Begin)
	select {
	case <-r.proceed:
	case <-ctx.Done():
	}
	var sent atomic.Int64
	all := make(chan struct{})
	var wg sync.WaitGroup
	pace := stats.Schedule{Start: time.Now(), Rate: parkRate}
	for i, handle := range handles {
		wg.Go(func() {
			if !sleep(ctx, time.Until(pace.At(i))) {
				return
			}
			r.stay(ctx, h, handle, func() {
				if sent.Add(1) == int64(len(handles)) {
					close(all)
				}
			})
		})
	}
	select {
	case <-all:
		r.mark(wire.Parked)
	case <-ctx.Done():
	}
	<-ctx.Done()
	wg.Wait()
	r.report()
	return nil
}

func (r *runner) submitAll(ctx context.Context, handles []string) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range r.job.Submitters {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(handles)) && !r.hopeless(); i = next.Add(1) - 1 {
				handle, err := r.target.submit(ctx, i, wire.Payload(i, r.job.Size))
				if err != nil {
					r.fail(err)
				}
				handles[i] = handle
			}
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// parkRate is how many polls a second begin: people do not all come within the same millisecond.
const parkRate = 500

// sleep waits; false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// stay polls for a task that does not end; sent is called once the first poll is written.
func (r *runner) stay(ctx context.Context, h *httpTarget, handle string, sent func()) {
	first := tracing(ctx, sent)
	for poll := first; ctx.Err() == nil; poll = ctx {
		b, err := h.poll(poll, handle, parkedWait)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.fail(err)
			return
		case b != nil:
			r.fail(fmt.Errorf("a task that should not end has the result %.100q", b))
			return
		}
	}
}
