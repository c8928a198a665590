package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

const (
	adminKey = "tg_test_0123456789abcdef"
	project  = auth.DefaultProject
)

// world is everything below the API, in memory.
type world struct {
	mu        sync.Mutex
	log       []string // what was called, in order
	tasks     map[task.ID]*stored
	keys      map[string]*stored
	endpoints map[string]task.Endpoint
	// everywhere: every project has them.
	everywhere bool
	projects   map[string]task.Project
	apiKeys    map[string]task.APIKey
	uses       map[string]time.Time
	submitted  []lifecycle.Submission
	ends       chan struct{} // closed when a task ended
	fail       map[string]error
	lastQuery  task.Query
	jobs       []bulk.Job // oldest first
	page       task.Page
	tried      []task.Trial

	purgeUntil time.Time

	trial    task.TrialResult
	figures  map[task.EndpointID]task.Figures
	circuits map[task.EndpointID]task.StoredCircuit
	logged   strings.Builder
	changed  chan struct{} // closed and replaced when log grows
	used     map[string]task.Usage
}

type stored struct {
	task.Snapshot
	result      *task.Result
	attempts    []task.Attempt
	fingerprint string
}

func newWorld() *world {
	return &world{
		projects: map[string]task.Project{project: {Name: project, CallbackSecret: task.SealedSecret{Current: []byte("sealed")}}},
		apiKeys:  make(map[string]task.APIKey), uses: make(map[string]time.Time),
		tasks: make(map[task.ID]*stored), keys: make(map[string]*stored), endpoints: make(map[string]task.Endpoint),
		fail: make(map[string]error), ends: make(chan struct{}), changed: make(chan struct{}),
	}
}

func (w *world) enter(what string) error {
	w.log = append(w.log, what)
	close(w.changed)
	w.changed = make(chan struct{})
	return w.fail[what]
}

// server makes an API over w with one endpoint, "emails".
func (w *world) server(tb testing.TB, change ...func(*api.Deps, *api.Options)) *api.Server {
	tb.Helper()
	w.endpoints["emails"] = task.Endpoint{
		Project: project, Name: "emails", URL: "https://app.example.com/", Method: "POST",
		Timeout: task.Duration(30 * time.Second), Result: task.ResultPolicy{MaxBytes: 1000},
		SealedSecret: task.SealedSecret{Current: []byte("sealed")}, CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	key, err := auth.NewAdminKey(adminKey)
	if err != nil {
		tb.Fatal(err)
	}
	deps := api.Deps{
		Engine: w, Results: w, Waiter: w, Jobs: jobs{w}, Endpoints: registry{w},
		Projects: registry{w}, Keys: registry{w}, Queues: queues{w}, Secrets: secrets{}, Auth: key,
		Trials:   w,
		CheckURL: checkURL,
		Ready: []api.Check{
			{Name: "store", Ready: func(context.Context) error { return w.failing("store") }},
			{Name: "broker", Ready: func(context.Context) error { return w.failing("broker") }},
			{Name: "registry", Optional: true, Ready: func(context.Context) error { return w.failing("registry") }},
		},
	}
	opt := api.Options{MaxPayload: 4096, Logger: slog.New(slog.NewTextHandler(&lockedWriter{w: w}, nil))}
	for _, f := range change {
		f(&deps, &opt)
	}
	s, err := api.New(deps, opt)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

type lockedWriter struct{ w *world }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logged.Write(p)
}

func (w *world) failing(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail[what]
}

func checkURL(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" {
		return "must be an absolute http or https URL", false
	}
	return "", true
}

func (w *world) Accept(_ context.Context, s lifecycle.Submission) (lifecycle.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("accept"); err != nil {
		return lifecycle.Receipt{}, err
	}
	w.submitted = append(w.submitted, s)
	if old := w.keys[s.IdempotencyKey]; old != nil {
		if old.fingerprint != s.Fingerprint {
			return lifecycle.Receipt{}, task.Errorf(task.CodeKeyReused, "another request used the key")
		}
		return lifecycle.Receipt{Task: old.Snapshot, Replayed: true}, nil
	}
	if s.Late != nil {
		return lifecycle.Receipt{}, s.Late
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	spec := task.Spec{
		ID: task.MakeID(ulid.Make().String(), 3), Project: s.Project, Endpoint: s.Endpoint, CreatedAt: now, RunAt: s.RunAt,
		ExpiresAt: s.ExpiresAt, Labels: s.Labels, ContentType: s.ContentType, PayloadSize: len(s.Payload), Callback: s.Callback,
	}
	t := &stored{Snapshot: task.Snapshot{Spec: spec, Record: task.NewRecord(&spec)}, fingerprint: s.Fingerprint}
	w.tasks[spec.ID] = t
	if s.IdempotencyKey != "" {
		w.keys[s.IdempotencyKey] = t
	}
	return lifecycle.Receipt{Task: t.Snapshot}, nil
}

func (w *world) Find(_ context.Context, project string, id task.ID) (*task.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("find"); err != nil {
		return nil, err
	}
	t := w.tasks[id]
	if t == nil || t.Project != project {
		return nil, task.Errorf(task.CodeNotFound, "no such task")
	}
	return new(t.Snapshot), nil
}

func (w *world) change(project string, id task.ID, f func(task.Record) (task.Record, bool)) (*task.Snapshot, error) {
	t := w.tasks[id]
	if t == nil || t.Project != project {
		return nil, task.Errorf(task.CodeNotFound, "no such task")
	}
	next, ok := f(t.Record)
	if !ok {
		return nil, task.Errorf(task.CodeConflict, "not now")
	}
	t.Record = next
	return new(t.Snapshot), nil
}

func (w *world) Cancel(_ context.Context, project string, id task.ID) (*task.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("cancel"); err != nil {
		return nil, err
	}
	return w.change(project, id, func(r task.Record) (task.Record, bool) {
		return r.Ended(task.Cancelled, task.ReasonCancelled, time.Now())
	})
}

func (w *world) Retry(_ context.Context, project string, id task.ID) (*task.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("retry"); err != nil {
		return nil, err
	}
	return w.change(project, id, func(r task.Record) (task.Record, bool) { return r.Restarted(time.Now()) })
}

func (w *world) Reschedule(_ context.Context, project string, id task.ID, at time.Time) (*task.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("reschedule"); err != nil {
		return nil, err
	}
	if t := w.tasks[id]; t != nil && t.ExpiredAt(at) {
		return nil, task.Errorf(task.CodeInvalid, "must be before the task's expires_at")
	}
	return w.change(project, id, func(r task.Record) (task.Record, bool) { return r.Rescheduled(at, time.Now()) })
}

func (w *world) CancelEndpoint(_ context.Context, _, endpoint string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, t := range w.tasks {
		if next, ok := t.Ended(task.Cancelled, task.ReasonCancelled, time.Now()); ok && t.Endpoint == endpoint {
			t.Record = next
			n++
		}
	}
	return n, w.enter("cancel endpoint")
}

func (w *world) Purge(_ context.Context, q task.Query, until time.Time) (int, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastQuery, w.purgeUntil = q, until
	return len(q.States), w.page.Next, w.enter("purge")
}

func (w *world) GetResult(_ context.Context, id task.ID) (*task.Snapshot, *task.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enter("get result"); err != nil || w.tasks[id] == nil {
		return nil, nil, err
	}
	return new(w.tasks[id].Snapshot), w.tasks[id].result, nil
}

func (w *world) Attempts(_ context.Context, id task.ID) ([]task.Attempt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[id].attempts, w.enter("attempts")
}

func (w *world) List(_ context.Context, q task.Query) (task.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastQuery = q
	if q.Cursor != "" && q.Cursor != "abc" {
		return task.Page{}, &task.Error{
			Code: task.CodeInvalid, Faults: []task.Fault{{Pointer: "cursor", Detail: "is not one that this list gave"}},
		}
	}
	return w.page, w.enter("list")
}

func (w *world) GetMany(_ context.Context, ids []task.ID) ([]task.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []task.Snapshot
	for _, id := range ids {
		if t := w.tasks[id]; t != nil {
			out = append(out, t.Snapshot)
		}
	}
	return out, w.enter("get many")
}

func (w *world) Usage(_ context.Context, project string) (task.Usage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used[project], w.enter("usage")
}

func (w *world) Depths(_ context.Context, project string, ep task.EndpointID) (task.Depths, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	depths := task.Depths{}
	for _, t := range w.tasks {
		if t.EndpointID() == ep && t.Project == project && !t.State.Final() {
			d := depths[t.State]
			d.Tasks++
			if d.Oldest.IsZero() || t.CreatedAt.Before(d.Oldest) {
				d.Oldest = t.CreatedAt
			}
			depths[t.State] = d
		}
	}
	return depths, w.enter("count")
}

func (w *world) Circuits(context.Context) (map[task.EndpointID]task.StoredCircuit, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.circuits, w.enter("circuits")
}

func (w *world) Figures(_ context.Context, eps []task.EndpointID, _ time.Time) ([]task.Figures, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]task.Figures, len(eps))
	for i, ep := range eps {
		out[i] = w.figures[ep]
		out[i].Over = 250 * time.Second
	}
	return out, w.enter("figures")
}

func (w *world) Try(_ context.Context, t task.Trial) (task.TrialResult, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried = append(w.tried, t)
	return w.trial, w.enter("try")
}

// Wait waits for the test to end a task.
func (w *world) Wait(ctx context.Context, id task.ID, until time.Time) (*task.Snapshot, error) {
	w.mu.Lock()
	err := w.enter("wait")
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-w.ends:
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[id] == nil {
		return nil, nil //nolint:nilnil // an unknown task, as Waiter says
	}
	return new(w.tasks[id].Snapshot), nil
}

// put stores a task in a state, with a result if it succeeded.
func (w *world) put(s task.State, result *task.Result) *stored {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Millisecond)
	spec := task.Spec{ID: task.MakeID(ulid.Make().String(), 1), Project: project, Endpoint: "emails", CreatedAt: now, PayloadSize: 2}
	t := &stored{Snapshot: task.Snapshot{Spec: spec, Record: task.NewRecord(&spec)}, result: result}
	t.State = s
	switch {
	case s.Final():
		t.EndedAt, t.StartedAt, t.Starts = now, now, 1
	case s == task.Retrying:
		t.Reason, t.ETA = task.ReasonTimeout, now.Add(time.Hour)
	}
	w.tasks[spec.ID] = t
	return t
}

// finish ends every task with a result and wakes waiters.
func (w *world) finish(result *task.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks {
		t.State, t.result, t.EndedAt = task.Succeeded, result, time.Now().UTC()
	}
	close(w.ends)
}

// jobs does nothing but remember.
type jobs struct{ w *world }

func (j jobs) Start(_ context.Context, r bulk.Request) (bulk.Job, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	job := bulk.Job{
		ID: strings.ToLower(ulid.Make().String()), Request: r, State: bulk.Running, StartedAt: time.Now().UTC(),
	}
	err := j.w.enter("start job")
	if err == nil {
		j.w.jobs = append(j.w.jobs, job)
	}
	return job, err
}

func (j jobs) Preview(context.Context, bulk.Request) (bulk.Preview, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return bulk.Preview{Matched: 7, Sample: []task.ID{"01kad2t5m6f0q9v3zj8y4w7xhc7"}}, j.w.enter("preview")
}

func (j jobs) find(project, id string) (*bulk.Job, error) {
	for i := range j.w.jobs {
		if j.w.jobs[i].ID == id && j.w.jobs[i].Project == project {
			return &j.w.jobs[i], nil
		}
	}
	return nil, task.Errorf(task.CodeNotFound, "no such job")
}

func (j jobs) Wait(_ context.Context, project, id string, _ time.Time) (bulk.Job, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	job, err := j.find(project, id)
	if err != nil {
		return bulk.Job{}, err
	}
	return *job, j.w.enter("wait for job")
}

func (j jobs) List(_ context.Context, project, before string, limit int) (out []bulk.Job, more bool, err error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	for _, job := range slices.Backward(j.w.jobs) {
		if job.Project == project && (before == "" || job.ID < before) {
			out = append(out, job)
		}
	}
	more = len(out) > limit
	return out[:min(len(out), limit)], more, j.w.enter("list jobs")
}

func (j jobs) Stop(_ context.Context, project, id string) (bulk.Job, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	job, err := j.find(project, id)
	if err != nil {
		return bulk.Job{}, err
	}
	if job.State == bulk.Done {
		return bulk.Job{}, task.Errorf(task.CodeConflict, "the job has ended already")
	}
	job.State, job.EndedAt = bulk.Cancelled, time.Now().UTC()
	return *job, nil
}

type registry struct{ w *world }

func (r registry) Endpoint(project, name string) (*task.Endpoint, bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	ep, ok := r.w.endpoints[name]
	return &ep, ok && (ep.Project == project || r.w.everywhere)
}

func (r registry) Endpoints(project string) []task.Endpoint {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	var out []task.Endpoint
	for _, ep := range r.w.endpoints {
		if ep.Project == project {
			out = append(out, ep)
		}
	}
	slices.SortFunc(out, func(a, b task.Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (r registry) UpdateEndpoint(
	_ context.Context, project, name string, fn func(*task.Endpoint) (task.Endpoint, error),
) (bool, task.Endpoint, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if err := r.w.enter("update endpoint"); err != nil {
		return false, task.Endpoint{}, err
	}
	var old *task.Endpoint
	if ep, ok := r.w.endpoints[name]; ok && ep.Project == project {
		old = &ep
	}
	_, _ = fn(old) // a race may call it twice
	ep, err := fn(old)
	if errors.Is(err, task.ErrUnchanged) && old != nil {
		return false, *old, nil
	}
	if err != nil {
		return false, task.Endpoint{}, err
	}
	ep.Project, ep.Name, ep.CreatedAt, ep.UpdatedAt = project, name, time.Now(), time.Now()
	r.w.endpoints[name] = ep
	return old == nil, ep, nil
}

func (r registry) Sync(context.Context) error { return nil }

func (r registry) DeleteEndpoint(_ context.Context, _, name string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	delete(r.w.endpoints, name)
	return r.w.enter("delete endpoint")
}

func (r registry) Project(name string) (*task.Project, bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	p, ok := r.w.projects[name]
	return &p, ok
}

func (r registry) Projects() []task.Project {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.w.projects), func(a, b task.Project) int { return strings.Compare(a.Name, b.Name) })
}

func (r registry) EndpointNames(string) []string { return []string{"emails"} }

func (r registry) UpdateProject(
	_ context.Context, name string, fn func(*task.Project) (task.Project, error),
) (bool, task.Project, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if err := r.w.enter("update project"); err != nil {
		return false, task.Project{}, err
	}
	var old *task.Project
	if p, ok := r.w.projects[name]; ok {
		old = &p
	}
	_, _ = fn(old) // a race may call it twice
	p, err := fn(old)
	if errors.Is(err, task.ErrUnchanged) && old != nil {
		return false, *old, nil
	}
	if err != nil {
		return false, task.Project{}, err
	}
	p.Name, p.CreatedAt, p.UpdatedAt = name, time.Now(), time.Now()
	r.w.projects[name] = p
	return old == nil, p, nil
}

func (r registry) DeleteProject(_ context.Context, name string) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	delete(r.w.projects, name)
	return r.w.enter("delete project")
}

func (r registry) Key(project, id string) (*task.APIKey, bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	k, ok := r.w.apiKeys[id]
	return &k, ok && k.Project == project
}

func (r registry) Keys(project string) []task.APIKey {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	all := slices.SortedFunc(maps.Values(r.w.apiKeys), func(a, b task.APIKey) int { return strings.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(all, func(k task.APIKey) bool { return k.Project != project })
}

func (r registry) AddKey(_ context.Context, k task.APIKey) (task.APIKey, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	k.CreatedAt = time.Now()
	r.w.apiKeys[k.ID] = k
	return k, r.w.enter("add key")
}

func (r registry) DeleteKey(_ context.Context, project, id string, allowed func(*task.APIKey) error) error {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	k, ok := r.w.apiKeys[id]
	if !ok || k.Project != project {
		return task.Errorf(task.CodeNotFound, "registry's own words")
	}
	if err := allowed(&k); err != nil {
		return err
	}
	delete(r.w.apiKeys, id)
	return r.w.enter("delete key")
}

func (r registry) KeyUses(context.Context) (map[string]time.Time, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	return r.w.uses, r.w.enter("key uses")
}

type queues struct{ w *world }

func (q queues) Declare(context.Context, task.EndpointID) error {
	q.w.mu.Lock()
	defer q.w.mu.Unlock()
	return q.w.enter("declare queue")
}

func (q queues) Delete(context.Context, task.EndpointID) error {
	q.w.mu.Lock()
	defer q.w.mu.Unlock()
	return q.w.enter("delete queue")
}

type secrets struct{}

func (secrets) Generate() string { return "whsec_generated" }

func (secrets) Check(s string) (string, bool) {
	return `must be "whsec_" and the base64 of 24 to 64 bytes`, strings.HasPrefix(s, "whsec_") || strings.HasPrefix(s, "whsk_")
}

func (secrets) Asks(ep *task.Endpoint, s task.TargetSecret) bool {
	return ep.Auth != nil && string(ep.Auth.Sealed) == fmt.Sprintf("sealed:%+v", s)
}

func (secrets) Signs(ep *task.Endpoint, s string) bool {
	return string(ep.SealedSecret.Current) == "sealed:"+s
}

func (secrets) GeneratePair() string { return "whsk_generated" }

func (secrets) Public(secret string) string {
	if text, ok := strings.CutPrefix(secret, "whsk_"); ok {
		return "whpk_" + text
	}
	return ""
}

func (secrets) SealTarget(_, _ string, s task.TargetSecret) ([]byte, error) {
	return []byte("sealed:" + s.Password + s.Token + s.ClientSecret + s.PrivateKey), nil
}
func (secrets) Seal(_, _, secret string) ([]byte, error) { return []byte("sealed:" + secret), nil }

var errDown = errors.New("dial tcp 10.0.0.7:6379: connection refused")

// waitFor returns when what was called.
func (w *world) waitFor(t *testing.T, what string) {
	t.Helper()
	for {
		w.mu.Lock()
		called, changed := slices.Contains(w.log, what), w.changed
		w.mu.Unlock()
		if called {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("never called: " + what)
		}
	}
}
