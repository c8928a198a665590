package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/taskgate/taskgate/client"
)

const (
	// tailPages bounds the pages of one round, and so what one round can see.
	tailPages = 4
	// tailSingles bounds the tasks that are asked for one by one in one round.
	tailSingles = 50
	// tailTasks bounds the tasks that are remembered.
	tailTasks = 100_000
	// tailOverlap is how long after a task's time it may appear in the list:
	// gateways have their own clocks, and an acceptance takes a moment.
	tailOverlap = 10 * time.Second
)

// tailCmd is "taskgate tail".
type tailCmd struct {
	Endpoint string            `help:"Only tasks of this endpoint." placeholder:"NAME"`
	State    []string          `enum:"scheduled,queued,running,retrying,awaiting,succeeded,failed,cancelled,expired" help:"Show only changes into this state; repeat it, or separate states by commas." placeholder:"STATE"`
	Label    map[string]string `help:"Only tasks with this label; repeated, all must match." mapsep:"none" placeholder:"KEY=VALUE"`
	Interval time.Duration     `default:"2s" help:"Time between two rounds, at least 100ms." placeholder:"DURATION"`
	Timeout  time.Duration     `help:"End after this time." placeholder:"DURATION"`
}

// Help is the command's longer help.
func (*tailCmd) Help() string {
	return fmt.Sprintf(`Shows every change that it sees once, until it is interrupted (exit code 0). Tasks that have not ended when it begins
are followed without being shown at first.

The API has no stream of events yet, so this asks in rounds: states that a task passes through between two rounds are
not seen, only where it then stands; nor is the replay of a task that had ended before. A round makes at most %d
requests: %d pages of the list, and %d single tasks when they are too old for these pages. When more tasks arrive in one
round than its pages hold, that is said.`,
		tailPages+tailSingles, tailPages, tailSingles)
}

// Run follows until the command is interrupted or its time is over.
func (c *tailCmd) Run(ctx context.Context, s *session) error {
	follow, stop := context.WithCancel(ctx)
	if c.Timeout > 0 {
		follow, stop = context.WithTimeout(ctx, c.Timeout)
	}
	defer stop()
	t := newTail(s, filter{Endpoint: c.Endpoint, Label: c.Label}, c.State)
	err := t.seed(follow)
	for err == nil {
		if err = pause(follow, max(c.Interval, 100*time.Millisecond)); err == nil {
			err = t.round(follow)
		}
	}
	var sig interrupted
	if errors.As(err, &sig) || ctx.Err() == nil && follow.Err() != nil {
		return nil // the ways in which it is meant to end
	}
	return err
}

// seen is a task as it was last seen.
type seen struct {
	state      client.TaskState
	generation int
	attempts   int
	created    time.Time
	looked     int // the round it was looked at
}

// tail follows tasks by the list.
type tail struct {
	s      *session
	filter filter
	show   []string // states; none means all

	tasks map[string]seen // live ones, and ended ones that pages may show again
	front time.Time       // accepted-at of the newest task seen, by the server's clock
	n     int             // rounds
	down  bool            // the server did not answer in the last round
}

func newTail(s *session, f filter, show []string) *tail {
	return &tail{s: s, filter: f, show: show, tasks: map[string]seen{}}
}

// change is one line of the output for programs.
type change struct {
	From client.TaskState `json:"from,omitempty"` // absent for a new task
	Task json.RawMessage  `json:"task"`
}

// seed learns what is there already: the tasks at the front of the list, and
// those that are live.
func (t *tail) seed(ctx context.Context) error {
	params := t.params()
	one := 1
	params.Limit = &one
	first, err := t.s.page(ctx, params)
	if err != nil {
		return err
	}
	t.front = first.at
	note := func(p page) (bool, error) {
		for _, task := range p.tasks {
			t.note(task)
		}
		return true, nil
	}
	params = t.params()
	params.CreatedAfter = t.since(t.edge())
	if err := t.walk(ctx, params, note); err != nil {
		return err
	}
	params = t.params()
	params.State = []client.TaskState{
		client.TaskStateScheduled, client.TaskStateQueued, client.TaskStateRunning, client.TaskStateRetrying, client.TaskStateAwaiting,
	}
	return t.walk(ctx, params, note)
}

// edge divides the tasks that may be new from those that would have been
// seen before.
func (t *tail) edge() time.Time { return t.front.Add(-tailOverlap) }

func (t *tail) since(at time.Time) *string { return opt(at.UTC().Format(time.RFC3339Nano)) }

// params selects the tasks, a full page at a time.
func (t *tail) params() client.ListTasksParams {
	p := t.filter.params()
	limit := pageSize
	p.Limit = &limit
	return p
}

// walk gets at most tailPages pages.
func (t *tail) walk(ctx context.Context, params client.ListTasksParams, each func(p page) (bool, error)) error {
	for range tailPages {
		p, err := t.s.page(ctx, params)
		if err != nil {
			return err
		}
		more, err := each(p)
		if err != nil || !more || p.next == "" {
			return err
		}
		params.Cursor = &p.next
	}
	return nil
}

// round looks once and shows what has changed, the oldest task first. A
// server that does not answer is waited for.
func (t *tail) round(ctx context.Context) error {
	t.n++
	docs, err := t.look(ctx)
	var f *failure
	if errors.As(err, &f) && f.exit == ExitUnavailable && ctx.Err() == nil {
		if !t.down {
			t.down = true
			t.s.report("", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	t.down = false
	t.s.progress.stop()
	edge := t.edge()
	for _, p := range slices.Backward(docs) {
		for i, task := range slices.Backward(p.tasks) {
			if err := t.meet(p.docs[i], task, edge); err != nil {
				return err
			}
		}
	}
	t.forget()
	return nil
}

// look gets the tasks that may be new and those that may have changed: by
// pages from the newest one on, and one by one where that is cheaper or the
// pages do not reach.
func (t *tail) look(ctx context.Context) ([]page, error) {
	left := t.live()
	edge := t.edge()
	params := t.params()
	params.CreatedAfter = t.since(edge)
	if len(left) > tailSingles {
		for _, was := range left {
			if was.created.Before(edge) {
				edge = was.created
			}
		}
		params.CreatedAfter = t.since(edge)
	}
	var pages []page
	reached := false
	err := t.walk(ctx, params, func(p page) (bool, error) {
		pages = append(pages, p)
		news := false
		for _, task := range p.tasks {
			delete(left, task.Id)
			if _, known := t.tasks[task.Id]; !known && !task.CreatedAt.Before(t.edge()) {
				news = true
			}
		}
		reached = reached || p.next == "" || !news
		// Beyond what may be new, a page must show more than single requests would.
		return !reached || len(left) > tailSingles, nil
	})
	if err != nil {
		return nil, err
	}
	if !reached {
		t.s.report("", &failure{Title: "More tasks arrived than a round can show", Code: "tail_behind", Detail: "the oldest of them are left out"})
	}
	singles, err := t.singles(ctx, left)
	return append(pages, singles), err
}

// live are the tasks that can still change by themselves.
func (t *tail) live() map[string]seen {
	out := make(map[string]seen)
	for id, was := range t.tasks {
		if !final(was.state) {
			out[id] = was
		}
	}
	return out
}

// singles asks for the tasks that have not been looked at for longest.
func (t *tail) singles(ctx context.Context, left map[string]seen) (page, error) {
	ids := make([]string, 0, len(left))
	for id := range left {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if d := left[a].looked - left[b].looked; d != 0 {
			return d
		}
		return left[b].created.Compare(left[a].created) // newest first, as in pages
	})
	var out page
	for _, id := range ids[:min(len(ids), tailSingles)] {
		r, task, err := t.s.task(ctx, id, 0)
		if statusOf(err) == http.StatusNotFound {
			delete(t.tasks, id)
			continue
		}
		if err != nil {
			return out, err
		}
		out.docs, out.tasks = append(out.docs, r.body), append(out.tasks, task)
	}
	return out, nil
}

// meet shows a task if it has changed since it was last seen.
func (t *tail) meet(doc []byte, task client.Task, edge time.Time) error {
	was, known := t.tasks[task.Id]
	if !known && task.CreatedAt.Before(edge) {
		return nil // from before the tail, or from before what can be remembered
	}
	t.note(task)
	if known && was.state == task.State && was.generation == task.Generation && was.attempts == task.Attempts {
		return nil
	}
	if len(t.show) > 0 && !slices.Contains(t.show, string(task.State)) {
		return nil
	}
	if t.s.asJSON {
		text, err := line(change{was.state, compact(doc)})
		if err != nil {
			return err
		}
		return t.s.print(text)
	}
	return t.s.print(changeLine(was, task))
}

// changeLine is a change for people.
func changeLine(was seen, task client.Task) string {
	from := ""
	if was.state != "" {
		from = string(was.state) + " → "
	}
	attempts := ""
	if task.Attempts > 0 {
		attempts = fmt.Sprintf(" attempts: %d", task.Attempts)
	}
	return fmt.Sprintf("%s  %s  %s  %s%s%s\n", stamp(changedAt(task)), clean(task.Id), clean(task.Endpoint), from, clean(stateText(task)), attempts)
}

// changedAt is the best that is known of when the task came into its state.
func changedAt(task client.Task) time.Time {
	switch {
	case task.EndedAt != nil:
		return *task.EndedAt
	case task.StartedAt != nil:
		return *task.StartedAt
	}
	return task.CreatedAt
}

// note remembers a task.
func (t *tail) note(task client.Task) {
	t.tasks[task.Id] = seen{task.State, task.Generation, task.Attempts, task.CreatedAt, t.n}
	if task.CreatedAt.After(t.front) {
		t.front = task.CreatedAt
	}
}

// forget drops tasks that no round takes for new ones: ended ones beyond the
// edge and, when there are too many, the oldest live ones.
func (t *tail) forget() {
	edge := t.edge()
	var live []string
	for id, was := range t.tasks {
		switch {
		case !was.created.Before(edge):
		case final(was.state):
			delete(t.tasks, id)
		default:
			live = append(live, id)
		}
	}
	over := min(len(t.tasks)-tailTasks, len(live))
	if over <= 0 {
		return
	}
	slices.SortFunc(live, func(a, b string) int { return t.tasks[a].created.Compare(t.tasks[b].created) })
	for _, id := range live[:over] {
		delete(t.tasks, id)
	}
	t.s.report("", &failure{Title: "More tasks are live than can be followed", Code: "tail_full", Detail: "the oldest of them are left out"})
}
