package bulk

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// Changer changes one task (package lifecycle).
type Changer interface {
	CancelIf(ctx context.Context, project string, id task.ID, holds lifecycle.Condition) (*task.Snapshot, error)
	RetryIf(ctx context.Context, project string, id task.ID, holds lifecycle.Condition) (*task.Snapshot, error)
}

// Store finds tasks, and keeps jobs and who works them.
type Store interface {
	List(ctx context.Context, q task.Query) (task.Page, error)
	SwapDocument(ctx context.Context, doc task.Document) (present task.Document, ok bool, err error)
	ReadDocument(ctx context.Context, kind, group, name string) (task.Document, error)
	ListDocuments(ctx context.Context, kind, group, before string, limit int) (docs []task.Document, more bool, err error)
	Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
}

// Options of a [Service]. Zero values get defaults.
type Options struct {
	// Owner names this process and boot.
	Owner string
	// Stopping ends waits early when the process is about to stop.
	Stopping <-chan struct{}
	Now      func() time.Time
	Logger   *slog.Logger
}

// Service takes requests for jobs and, while Run runs, works them.
type Service struct {
	store  Store
	change Changer
	opt    Options
	kick   chan struct{} // a job was made here

	mu      sync.Mutex
	working map[string]struct{} // ids of jobs that this process works
	wg      sync.WaitGroup
}

// New makes a service.
func New(s Store, c Changer, opt Options) *Service {
	if opt.Owner == "" {
		opt.Owner = rand.Text()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{store: s, change: c, opt: opt, kick: make(chan struct{}, 1), working: make(map[string]struct{})}
}

func (s *Service) now() time.Time { return s.opt.Now().UTC().Truncate(time.Millisecond) }

const (
	// maxOpen is how many jobs a project may have under way.
	maxOpen = 20
	// maxPointers bounds a look at the open jobs of all projects.
	maxPointers = 1000
	// maxRaces bounds how often a write is tried against concurrent ones.
	maxRaces = 10
)

// Start makes a job. It is durable when this returns, and some process works
// it soon. task.CodeConflict when the project has too many under way.
func (s *Service) Start(ctx context.Context, r Request) (Job, error) {
	open, _, err := s.store.ListDocuments(ctx, kindOpen, "", "", maxPointers)
	if err != nil {
		return Job{}, err
	}
	n := 0
	for i := range open {
		if string(open[i].Data) == r.Project {
			n++
		}
	}
	if n >= maxOpen {
		return Job{}, task.Errorf(task.CodeConflict, "%d jobs are under way; wait for one to end, or cancel one", n)
	}
	if r.Rate == 0 {
		r.Rate = MaxRate
	}
	now := s.now()
	st := &state{Job: Job{
		ID:      strings.ToLower(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String()),
		Request: r, State: Running, StartedAt: now,
	}}
	// The pointer first: a pointer without a job is cleaned up, a job without
	// one would never be worked.
	pointer := task.Document{Kind: kindOpen, Name: st.ID, Data: []byte(r.Project), KeepTill: now.Add(keepOpen)}
	if err := s.mustSwap(ctx, pointer); err != nil {
		return Job{}, err
	}
	doc, err := st.document(now)
	if err != nil {
		return Job{}, err
	}
	if err := s.mustSwap(ctx, doc); err != nil {
		return Job{}, err
	}
	s.wake()
	return st.Job, nil
}

// mustSwap writes what nobody else writes.
func (s *Service) mustSwap(ctx context.Context, doc task.Document) error {
	_, ok, err := s.store.SwapDocument(ctx, doc)
	if err == nil && !ok {
		err = task.Errorf(task.CodeUnavailable, "the job was changed at the same moment; repeat")
	}
	return err
}

func (s *Service) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// IsID reports whether text can be the id of a job.
func IsID(text string) bool {
	_, err := ulid.ParseStrict(text)
	return err == nil && text == strings.ToLower(text)
}

func errNoJob() error { return task.Errorf(task.CodeNotFound, "no such job") }

// Get returns a job of a project, or task.CodeNotFound.
func (s *Service) Get(ctx context.Context, project, id string) (Job, error) {
	st, err := s.read(ctx, project, id)
	if err != nil {
		return Job{}, err
	}
	return st.Job, nil
}

func (s *Service) read(ctx context.Context, project, id string) (*state, error) {
	if !IsID(id) {
		return nil, errNoJob()
	}
	doc, err := s.store.ReadDocument(ctx, kindJob, project, id)
	if err != nil {
		return nil, err
	}
	if doc.Version == 0 {
		return nil, errNoJob()
	}
	return decode(doc)
}

// lookEvery is how often a waiting caller's job is read.
const lookEvery = 250 * time.Millisecond

// Wait returns a job as soon as it has ended, or at until as it is then.
func (s *Service) Wait(ctx context.Context, project, id string, until time.Time) (Job, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	for last := time.Until(until) <= 0; ; {
		job, err := s.Get(ctx, project, id)
		if err != nil || last || job.Ended() {
			return job, err
		}
		select {
		case <-tick.C:
		case <-end.C:
			last = true
		case <-s.opt.Stopping:
			last = true
		case <-ctx.Done():
			return Job{}, context.Cause(ctx)
		}
	}
}

// List returns jobs of a project, the newest first, those made before the one
// with the id before; more tells whether the list goes on.
func (s *Service) List(ctx context.Context, project, before string, limit int) (jobs []Job, more bool, err error) {
	docs, more, err := s.store.ListDocuments(ctx, kindJob, project, before, limit)
	if err != nil {
		return nil, false, err
	}
	for i := range docs {
		st, err := decode(docs[i])
		if err != nil {
			return nil, false, err
		}
		jobs = append(jobs, st.Job)
	}
	return jobs, more, nil
}

// Stop cancels a job: what it has changed stays changed. Cancelling a
// cancelled job changes nothing; one that ended otherwise is
// task.CodeConflict.
func (s *Service) Stop(ctx context.Context, project, id string) (Job, error) {
	for range maxRaces {
		st, err := s.read(ctx, project, id)
		if err != nil {
			return Job{}, err
		}
		switch st.State {
		case Cancelled:
			return st.Job, nil
		case Done, Failed:
			return Job{}, task.Errorf(task.CodeConflict, "the job has ended already: it is %s", st.State)
		case Running:
		}
		st.end(Cancelled, s.now())
		doc, err := st.document(s.now())
		if err != nil {
			return Job{}, err
		}
		_, ok, err := s.store.SwapDocument(ctx, doc)
		if err != nil || ok {
			return st.Job, err
		}
	}
	return Job{}, task.Errorf(task.CodeUnavailable, "the job changes too fast; repeat")
}

// Preview is what a job would find now.
type Preview struct {
	Matched int
	// Complete is false when only a part was looked at: Matched is then the
	// least that match.
	Complete bool
	Sample   []task.ID // some of them, the newest
}

// Bounds of a preview.
const (
	maxPreviewPages = 20
	previewPage     = 500
	previewTime     = 5 * time.Second
	maxSample       = 20
)

// Preview counts what the request matches now and changes nothing.
func (s *Service) Preview(ctx context.Context, r Request) (Preview, error) {
	q := r.query(s.now().Add(time.Millisecond))
	q.Limit = previewPage
	var p Preview
	for began, n := time.Now(), 0; n < maxPreviewPages && time.Since(began) < previewTime; n++ {
		q.Now = s.now()
		page, err := s.store.List(ctx, q)
		if err != nil {
			return Preview{}, err
		}
		p.Matched += len(page.Items)
		for i := range page.Items[:min(len(page.Items), maxSample-len(p.Sample))] {
			p.Sample = append(p.Sample, page.Items[i].ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			p.Complete = true
			break
		}
	}
	return p, nil
}
