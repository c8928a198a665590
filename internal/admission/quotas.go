package admission

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Meter tells what a project uses.
type Meter interface {
	Usage(ctx context.Context, project string) (task.Usage, error)
}

const (
	// A look is used for freshFor, and for calmFor by a project that has used
	// less than half of each of its quotas.
	freshFor = time.Second
	calmFor  = 5 * time.Second
	lookTime = 500 * time.Millisecond
	// forgetAfter is how long a project that submits nothing is remembered.
	forgetAfter = time.Minute
)

// Quotas holds projects to how much they may have. It looks at what a project
// uses once a second at most, and adds what came in here since: no task costs
// a round trip. Beside that only what came in by way of other gateways within
// the last look's age, and what is under way here, may be too much.
//
// While the meter does not answer, the last look and what came in here since
// are all that is known: submissions without a record are bounded by that.
type Quotas struct {
	meter Meter
	now   func() time.Time

	mu       sync.Mutex
	projects map[string]*tab
	swept    time.Time
}

// tab is what is known of a project.
type tab struct {
	usage   task.Usage // as seen, and what came in since
	since   task.Usage // what came in since the look under way began
	looked  time.Time  // begin of the last look; zero: never
	looking chan struct{}
	used    time.Time
}

// NewQuotas makes it.
func NewQuotas(m Meter) *Quotas {
	return &Quotas{meter: m, now: time.Now, projects: make(map[string]*tab)}
}

// The quotas' names.
const (
	QuotaTasks = "waiting_tasks"
	QuotaBytes = "payload_bytes"
)

// Excess is a quota that is used up.
type Excess struct {
	Quota      string
	Used, Most int64
}

// Admit takes in a task with a payload of so many bytes, unless the project
// has as much as it may have. Who took one in that was not accepted after all
// need not say so: the next look knows.
func (q *Quotas) Admit(ctx context.Context, project string, may task.Quotas, bytes int64) *Excess {
	t := q.look(ctx, project, may)
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := exceeds(t.usage, may, bytes); e != nil {
		return e
	}
	more := task.Usage{WaitingTasks: 1, WaitingBytes: bytes}
	t.usage, t.since = t.usage.Add(more), t.since.Add(more)
	return nil
}

// Full reports a quota of which nothing is left.
func (q *Quotas) Full(ctx context.Context, project string, may task.Quotas) *Excess {
	t := q.look(ctx, project, may)
	q.mu.Lock()
	defer q.mu.Unlock()
	return exceeds(t.usage, may, 0)
}

// Keeps reports whether the payload of a task that fails now may be kept.
func (q *Quotas) Keeps(ctx context.Context, project string, may task.Quotas, bytes int64) bool {
	t := q.look(ctx, project, may)
	q.mu.Lock()
	defer q.mu.Unlock()
	if may.PayloadBytes > 0 && t.usage.KeptBytes+bytes > may.KeptBytes() {
		return false
	}
	t.usage.KeptBytes += bytes
	t.since.KeptBytes += bytes
	return true
}

func exceeds(u task.Usage, may task.Quotas, bytes int64) *Excess {
	switch {
	case may.WaitingTasks > 0 && u.WaitingTasks >= may.WaitingTasks:
		return &Excess{QuotaTasks, u.WaitingTasks, may.WaitingTasks}
	case may.PayloadBytes > 0 && (u.Bytes()+bytes > may.PayloadBytes || u.Bytes() >= may.PayloadBytes):
		return &Excess{QuotaBytes, u.Bytes(), may.PayloadBytes}
	}
	return nil
}

// look returns what is known of the project, of the last seconds if it can be.
// One caller looks, and only who knows nothing yet waits for it.
func (q *Quotas) look(ctx context.Context, project string, may task.Quotas) *tab {
	t, done, own := q.board(project, may)
	switch {
	case own:
		q.ask(ctx, project, t, done)
	case done != nil:
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return t
}

// board says what the caller is to do: look itself (own), wait for a look
// (done), or go by what is known.
func (q *Quotas) board(project string, may task.Quotas) (t *tab, done chan struct{}, own bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.sweep(now)
	if t = q.projects[project]; t == nil {
		t = &tab{}
		q.projects[project] = t
	}
	t.used = now
	switch {
	case t.looking != nil && t.looked.IsZero():
		return t, t.looking, false
	case t.looking != nil || !t.looked.IsZero() && now.Sub(t.looked) < t.fresh(may):
		return t, nil, false
	}
	t.looking, t.since = make(chan struct{}), task.Usage{}
	return t, t.looking, true
}

func (t *tab) fresh(may task.Quotas) time.Duration {
	const half = 2
	if t.usage.WaitingTasks > may.WaitingTasks/half || t.usage.Bytes() > may.PayloadBytes/half {
		return freshFor
	}
	return calmFor
}

func (q *Quotas) ask(ctx context.Context, project string, t *tab, done chan struct{}) {
	begin := q.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	seen, err := q.meter.Usage(ctx, project)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		t.usage = seen.Add(t.since)
	}
	t.looked, t.looking = begin, nil
	close(done)
}

func (q *Quotas) sweep(now time.Time) {
	if now.Sub(q.swept) < forgetAfter {
		return
	}
	q.swept = now
	for name, t := range q.projects {
		if t.looking == nil && now.Sub(t.used) > forgetAfter {
			delete(q.projects, name)
		}
	}
}
