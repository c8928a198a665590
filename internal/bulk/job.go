package bulk

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Action is what a job does to each task.
type Action string

// The actions.
const (
	Cancel Action = "cancel"
	Retry  Action = "retry" // replay what has ended, run now what waits
)

// Takes reports whether tasks in this state can be asked for.
func (a Action) Takes(s task.State) bool {
	if a == Cancel {
		return !s.Final()
	}
	// Tasks that are due need no retry, those that run cannot be retried.
	return s.Final() || s == task.Scheduled || s == task.Retrying
}

// usual are the states that are meant when none are named.
func (a Action) usual() []task.State {
	if a == Retry {
		return []task.State{task.Failed}
	}
	return slices.DeleteFunc(task.States(), task.State.Final)
}

// Filter says which tasks of a project; zero values mean any.
type Filter struct {
	Endpoint string            `json:"endpoint,omitempty"`
	States   []task.State      `json:"states,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // all must match
	// CreatedAfter is included, CreatedBefore is not.
	CreatedAfter  time.Time `json:"created_after,omitzero"`
	CreatedBefore time.Time `json:"created_before,omitzero"`
	// Within is what whoever asks is bound to.
	Within task.EndpointSet `json:"within,omitempty"`
}

// VisibleTo reports whether the filter is about what a caller is bound to.
func (f *Filter) VisibleTo(bound task.EndpointSet) bool {
	return bound.Covers(f.Within) || f.Endpoint != "" && bound.Has(f.Endpoint)
}

// Empty reports whether the filter leaves nothing out of what may be asked for.
func (f *Filter) Empty() bool {
	return f.Endpoint == "" && len(f.States)+len(f.Labels) == 0 && f.CreatedAfter.IsZero() && f.CreatedBefore.IsZero()
}

// Request asks for a job.
type Request struct {
	Project string  `json:"project"`
	Action  Action  `json:"action"`
	Filter  Filter  `json:"filter"`
	Rate    float64 `json:"rate"` // tasks per second, from MinRate to MaxRate; 0: MaxRate
}

// Bounds of a rate, in tasks per second.
const (
	MinRate = 0.1
	MaxRate = 1000
)

// query asks for the tasks of the request that were accepted before end.
func (r *Request) query(end time.Time) task.Query {
	q := task.Query{
		Project: r.Project, Endpoint: r.Filter.Endpoint, Within: r.Filter.Within,
		States: r.Meant(), Labels: r.Filter.Labels,
		CreatedAfter: r.Filter.CreatedAfter, CreatedBefore: r.Filter.CreatedBefore,
	}
	if q.CreatedBefore.IsZero() || end.Before(q.CreatedBefore) {
		q.CreatedBefore = end
	}
	return q
}

// Meant are the states asked for, or those that are meant when none are named.
func (r *Request) Meant() []task.State {
	if len(r.Filter.States) > 0 {
		return r.Filter.States
	}
	return r.Action.usual()
}

// State is where a job stands.
type State string

// The states. All but Running are final.
const (
	Running   State = "running"
	Done      State = "done"
	Cancelled State = "cancelled"
	Failed    State = "failed" // it could not go on: a fault of ours
)

// Counts is a job's progress.
type Counts struct {
	Matched int `json:"matched"` // found by the filter so far
	Changed int `json:"changed"`
	// Skipped tasks could not be changed as they were by then, Failed ones
	// for a fault of ours.
	Skipped int `json:"skipped"`
	Failed  int `json:"failed"`
	// Reasons counts those by the code that the single operation answers with.
	Reasons map[task.Code]int `json:"reasons,omitempty"`
}

// worked is how many tasks were dealt with.
func (c *Counts) worked() int { return c.Changed + c.Skipped + c.Failed }

func (c *Counts) because(code task.Code) {
	if c.Reasons == nil {
		c.Reasons = make(map[task.Code]int)
	}
	c.Reasons[code]++
}

// Job is a request on its way.
type Job struct {
	ID string `json:"id"`
	Request
	State State `json:"state"`
	Counts
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Reached says how far the job got: tasks accepted at this time or later
	// have been looked at. It goes from the newest to the oldest.
	Reached time.Time `json:"reached,omitzero"`
	// Detail says why the job failed.
	Detail string `json:"detail,omitempty"`
}

// Ended reports whether the job is over.
func (j *Job) Ended() bool { return j.State != Running }

// held is a task in a job's hand, as it was found.
type held struct {
	ID  task.ID `json:"i"`
	Gen int     `json:"g"`
}

// state is a job as it is stored.
type state struct {
	Job
	// Cursor is where the list goes on; Listed: it has ended.
	Cursor string `json:"cursor,omitempty"`
	Listed bool   `json:"listed,omitempty"`
	// Hand is what is being changed, written before any of it is.
	Hand []held `json:"hand,omitempty"`

	version int64
}

// The kinds of documents. Jobs are in the group of their project, pointers to
// those that have not ended in one group for all.
const (
	kindJob  = "job"
	kindOpen = "job-open"
)

// How long a job is remembered.
const (
	keepOpen  = 365 * 24 * time.Hour // from its last step
	keepEnded = 7 * 24 * time.Hour
)

func (s *state) document(now time.Time) (task.Document, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return task.Document{}, fmt.Errorf("encode job: %w", err)
	}
	doc := task.Document{
		Kind: kindJob, Group: s.Project, Name: s.ID, Version: s.version, Data: data, KeepTill: now.Add(keepOpen),
	}
	if s.Ended() {
		doc.KeepTill = s.EndedAt.Add(keepEnded)
	}
	return doc, nil
}

func decode(doc task.Document) (*state, error) {
	s := new(state)
	if err := json.Unmarshal(doc.Data, s); err != nil {
		return nil, task.Wrap(task.CodeInternal, fmt.Errorf("decode job %s: %w", doc.Name, err), "")
	}
	s.version = doc.Version
	return s, nil
}

// end makes the job final.
func (s *state) end(as State, now time.Time) {
	s.State, s.EndedAt, s.Hand, s.Cursor = as, now, nil, ""
}
