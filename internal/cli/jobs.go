package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/client"
)

// bulkFlags select tasks by a filter, for a job.
type bulkFlags struct {
	filter

	After  string   `help:"Only tasks accepted since this time (RFC 3339), or in this last duration, such as 15m." placeholder:"TIME"`
	Before string   `help:"Only tasks accepted before this time, or more than this duration ago." placeholder:"TIME"`
	All    bool     `help:"Mean it, when the filter leaves nothing out."`
	Rate   *float64 `help:"Tasks to change per second at most." placeholder:"N"`
	DryRun bool     `help:"Only count what matches."`

	Wait    bool          `help:"Wait until the tasks have ended, or the job."`
	Timeout time.Duration `help:"With --wait: stop waiting after this time (exit code 4); the work goes on." placeholder:"DURATION"`
}

const bulkHelp = `With ids, each of these tasks is changed. Without, a job changes all that match the filter, on the server and in the
background; "taskgate jobs" tells of it. A filter that leaves nothing out needs --all.`

// asked tells whether a job is meant, and refuses what is neither or both.
func (f *bulkFlags) asked(ids []string) (bool, error) {
	filtered := f.Endpoint != "" || len(f.State) > 0 || len(f.Label) > 0 || f.After != "" || f.Before != ""
	job := filtered || f.All || f.Rate != nil || f.DryRun
	switch {
	case job && len(ids) > 0:
		return false, usage("ids and a filter do not go together")
	case !job && len(ids) == 0:
		return false, usage("give ids, or a filter such as --endpoint NAME, or --all")
	}
	return job, nil
}

// run starts the job, and waits for it if asked.
func (f *bulkFlags) run(ctx context.Context, s *session, err error, start func(*client.Client, client.BulkRequest) (*http.Response, error)) error {
	if err != nil {
		return err
	}
	body, err := f.request()
	if err != nil {
		return err
	}
	begun := time.Now()
	r, err := s.send(ctx, call{repeatable: f.DryRun}, func(api *client.Client) (*http.Response, error) { return start(api, body) })
	if err != nil {
		return err
	}
	if f.DryRun {
		return s.printDoc(r.body, func() (string, error) {
			p, err := decode[client.BulkPreview](r)
			return previewText(p), err
		})
	}
	job, err := decode[client.Job](r)
	if err != nil {
		return err
	}
	if f.Wait {
		return s.waitForJob(ctx, job.Id, deadline(begun, f.Timeout))
	}
	return s.printDoc(r.body, func() (string, error) { return jobLine(job), nil })
}

func (f *bulkFlags) request() (client.BulkRequest, error) {
	now := time.Now()
	after, err := instant("--after", f.After, now)
	if err != nil {
		return client.BulkRequest{}, err
	}
	before, err := instant("--before", f.Before, now)
	if err != nil {
		return client.BulkRequest{}, err
	}
	which := client.BulkFilter{
		Endpoint: opt(f.Endpoint), Labels: optMap[client.Labels](f.Label), CreatedAfter: opt(after), CreatedBefore: opt(before),
	}
	for _, state := range f.State {
		which.States = append(which.States, client.TaskState(state))
	}
	out := client.BulkRequest{Filter: &which, Rate: f.Rate}
	if f.DryRun {
		out.DryRun = &f.DryRun
	}
	if f.All {
		out.All = &f.All
	}
	return out, nil
}

func previewText(p client.BulkPreview) string {
	least := ""
	if !p.Complete {
		least = "at least "
	}
	lines := []string{fmt.Sprintf("%s%d tasks match", least, p.Matched)}
	for _, id := range p.Sample {
		lines = append(lines, clean(id))
	}
	return strings.Join(lines, "\n") + "\n"
}

// jobsCmd is "taskgate jobs".
type jobsCmd struct {
	List   jobsListCmd   `cmd:"" help:"List jobs, newest first."`
	Get    jobsGetCmd    `cmd:"" help:"Show jobs."`
	Wait   jobsWaitCmd   `cmd:"" help:"Wait until jobs have ended."`
	Cancel jobsCancelCmd `cmd:"" help:"Cancel jobs: what they have changed stays changed."`
}

type jobsListCmd struct{}

// Run lists the jobs.
func (*jobsListCmd) Run(ctx context.Context, s *session) error {
	return s.docs(ctx, []string{"ID", "ACTION", "STATE", "CHANGED", "SKIPPED", "FAILED", "STARTED"},
		func(api *client.Client, limit *int, cursor *string) (*http.Response, error) {
			return api.ListJobs(ctx, &client.ListJobsParams{Limit: limit, Cursor: cursor})
		}, func(doc json.RawMessage) ([]string, error) {
			j, err := decode[client.Job](reply{body: doc})
			return []string{
				j.Id, string(j.Action), string(j.State), strconv.Itoa(j.Changed), strconv.Itoa(j.Skipped), strconv.Itoa(j.Failed), stamp(j.StartedAt),
			}, err
		})
}

type jobsGetCmd struct {
	ID []string `arg:"" help:"Ids of jobs." name:"id"`
}

// Run shows every job.
func (c *jobsGetCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.ID, func(id string) error {
		r, j, err := s.job(ctx, id, 0)
		if err != nil {
			return err
		}
		return s.printDoc(r.body, func() (string, error) { return jobBlock(j), nil })
	})
}

type jobsWaitCmd struct {
	ID      []string      `arg:"" help:"Ids of jobs." name:"id"`
	Timeout time.Duration `help:"Stop waiting after this time (exit code 4); the jobs go on." placeholder:"DURATION"`
}

// Run waits for every job.
func (c *jobsWaitCmd) Run(ctx context.Context, s *session) error {
	until := deadline(time.Now(), c.Timeout)
	return s.each(ctx, c.ID, func(id string) error { return s.waitForJob(ctx, id, until) })
}

type jobsCancelCmd struct {
	ID []string `arg:"" help:"Ids of jobs." name:"id"`
}

// Run cancels every job.
func (c *jobsCancelCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.ID, func(id string) error {
		return show(ctx, s, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return api.CancelJob(ctx, id) }, jobLine)
	})
}

// waitForJob waits for the end of a job and prints it. A job that was not
// done, or changed less than it should, is exit code 1.
func (s *session) waitForJob(ctx context.Context, id string, until time.Time) error {
	var j client.Job
	r, ended, err := s.poll(ctx, "job "+id, until, func(wait time.Duration) (reply, bool, string, error) {
		r, got, err := s.job(ctx, id, wait)
		j = got
		return r, got.State != client.JobStateRunning, fmt.Sprintf("%d changed, %d skipped, %d failed", got.Changed, got.Skipped, got.Failed), err
	})
	if err != nil {
		return err
	}
	if err := s.printDoc(r.body, func() (string, error) { return jobBlock(j), nil }); err != nil {
		return err
	}
	switch {
	case !ended:
		return quiet(s.report(id, &failure{exit: ExitTimeout, Code: "timeout", Title: "The time is over", Detail: "the job goes on"}))
	case j.State != client.JobStateDone || j.Failed > 0:
		return quiet(ExitNo)
	}
	return nil
}

// job gets a job, waiting for its end if asked.
func (s *session) job(ctx context.Context, id string, wait time.Duration) (reply, client.Job, error) {
	params := client.GetJobParams{Wait: waitParam(wait)}
	r, err := s.send(ctx, call{repeatable: true, limit: wait + pollMargin}, func(api *client.Client) (*http.Response, error) {
		return api.GetJob(ctx, id, &params)
	})
	if err != nil {
		return r, client.Job{}, err
	}
	j, err := decode[client.Job](r)
	return r, j, err
}

func jobLine(j client.Job) string {
	return fmt.Sprintf("%s  %s  %s  %d changed\n", clean(j.Id), j.Action, j.State, j.Changed)
}

func jobBlock(j client.Job) string {
	var b block
	b.add("id", j.Id)
	b.add("action", string(j.Action))
	b.add("state", string(j.State))
	if j.Detail != nil {
		b.add("detail", *j.Detail)
	}
	states := make([]string, len(j.Filter.States))
	for i, state := range j.Filter.States {
		states[i] = string(state)
	}
	if j.Filter.Endpoint != nil {
		b.add("endpoint", *j.Filter.Endpoint)
	}
	b.add("states", strings.Join(states, ", "))
	b.pairs("label", j.Filter.Labels)
	b.time("after", j.Filter.CreatedAfter)
	b.time("before", j.Filter.CreatedBefore)
	b.number("matched", j.Matched)
	b.number("changed", j.Changed)
	b.number("skipped", j.Skipped)
	b.number("failed", j.Failed)
	for _, code := range slices.Sorted(maps.Keys(j.Reasons)) {
		b.add("reason", fmt.Sprintf("%s: %d", code, j.Reasons[code]))
	}
	b.add("started", stamp(j.StartedAt))
	b.time("reached", j.Reached)
	b.time("ended", j.EndedAt)
	return b.String()
}
