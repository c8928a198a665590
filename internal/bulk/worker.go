package bulk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

const (
	// pollEvery is how often a process looks for jobs that nobody works.
	pollEvery = 2 * time.Second
	// leaseTTL is how long a job whose process died waits for the next one.
	leaseTTL = 10 * time.Second
	// maxWorking is how many jobs one process works at the same time. Most of
	// them wait for their rate.
	maxWorking = 256
	// orphanAfter is when a pointer without a job is taken for the rest of a
	// request that failed.
	orphanAfter = time.Minute
	// tidyTime bounds what is written when the process stops.
	tidyTime = 5 * time.Second
)

// Run works jobs until ctx ends, and returns when the last one here has been
// laid down. Others go on with them.
func (s *Service) Run(ctx context.Context) error {
	defer s.wg.Wait()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.opt.Logger.WarnContext(ctx, "bulk jobs not looked for", "error", err)
		}
		select {
		case <-tick.C:
		case <-s.kick:
		case <-ctx.Done():
		}
	}
	return nil
}

// look takes up open jobs that nobody works, the oldest first.
func (s *Service) look(ctx context.Context) error {
	open, _, err := s.store.ListDocuments(ctx, kindOpen, "", "", maxPointers)
	if err != nil {
		return err
	}
	for _, pointer := range slices.Backward(open) {
		if !s.take(pointer.Name) {
			continue
		}
		lead, err := s.store.Lead(ctx, leaseOf(pointer.Name), s.opt.Owner, leaseTTL)
		if err != nil || !lead {
			s.drop(pointer.Name)
			if err != nil {
				return err
			}
			continue
		}
		s.wg.Go(func() {
			defer s.drop(pointer.Name)
			s.work(ctx, pointer)
		})
	}
	return nil
}

func leaseOf(id string) string { return "job:" + id }

// take notes that this process works a job; false: it does already, or has
// enough to do.
func (s *Service) take(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.working[id]; known || len(s.working) >= maxWorking {
		return false
	}
	s.working[id] = struct{}{}
	return true
}

func (s *Service) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.working, id)
}

// work works a job to its end, or until something keeps this process from it:
// then the pointer stays, and the next look goes on.
func (s *Service) work(ctx context.Context, pointer task.Document) {
	log := s.opt.Logger.With("job", pointer.Name, "project", string(pointer.Data))
	r, err := s.load(ctx, pointer)
	switch {
	case err != nil && task.CodeOf(err) != task.CodeUnavailable && ctx.Err() == nil:
		log.ErrorContext(ctx, "bulk job cannot be read; it is given up", "error", err)
	case err != nil:
		return
	case r != nil:
		began := r.Counts
		err = r.run(ctx)
		switch {
		case errors.Is(err, errTakenOver):
			log.WarnContext(ctx, "bulk job was taken over by another process")
			return
		case err != nil:
			s.layDown(ctx, r)
			if ctx.Err() == nil {
				log.WarnContext(ctx, "bulk job interrupted; it goes on soon", "error", err)
			}
			return
		}
		log.InfoContext(ctx, "bulk job ended", "action", r.Action, "state", r.State, "changed", r.Changed,
			"skipped", r.Skipped, "failed", r.Counts.Failed, "changed_here", r.Changed-began.Changed)
	case !s.orphan(pointer):
		return // it is being made right now
	}
	pointer.Data = nil
	if _, _, err := s.store.SwapDocument(context.WithoutCancel(ctx), pointer); err != nil {
		log.DebugContext(ctx, "pointer to a bulk job stays for now", "error", err)
	}
}

// orphan reports whether a pointer without a job is old enough to go.
func (s *Service) orphan(pointer task.Document) bool {
	return !IsID(pointer.Name) || s.now().Sub(madeAt(pointer.Name)) > orphanAfter
}

// load reads the pointer's job; nil when there is none.
func (s *Service) load(ctx context.Context, pointer task.Document) (*run, error) {
	st, err := s.read(ctx, string(pointer.Data), pointer.Name)
	if task.CodeOf(err) == task.CodeNotFound {
		return nil, nil //nolint:nilnil // no job is an answer
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &run{s: s, state: st, doubtful: len(st.Hand), looked: now, saved: now}, nil
}

// layDown writes how far the job got and frees it for others, so that they
// need not wait for the lease's end.
func (s *Service) layDown(ctx context.Context, r *run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	if err := r.save(ctx); err != nil {
		s.opt.Logger.DebugContext(ctx, "progress of a bulk job not written", "job", r.ID, "error", err)
	}
	_, _ = s.store.Lead(ctx, leaseOf(r.ID), s.opt.Owner, time.Millisecond) // it ends by itself otherwise
}
