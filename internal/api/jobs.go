package api

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/task"
)

// CancelTasks cancels many tasks.
func (s *Server) CancelTasks(c echo.Context) error { return s.bulk(c, bulk.Cancel) }

// RetryTasks retries many tasks.
func (s *Server) RetryTasks(c echo.Context) error { return s.bulk(c, bulk.Retry) }

func (s *Server) bulk(c echo.Context, action bulk.Action) error {
	own, ctx := callOf(c), c.Request().Context()
	var in gen.BulkRequest
	if _, _, err := s.readJSON(c, &in, ""); err != nil {
		return err
	}
	r := bulk.Request{Project: own.who.Project, Action: action}
	if in.Filter != nil {
		r.Filter = s.bulkFilter(in.Filter, action, own.faults.inBody)
	}
	if in.Rate != nil {
		r.Rate = *in.Rate
	}
	switch all := in.All != nil && *in.All; {
	case r.Filter.Empty() && !all:
		own.faults.inBody("/filter", "leaves nothing out; set all to true if every task is meant")
	case !r.Filter.Empty() && all:
		own.faults.inBody("/all", "must not be true together with a filter")
	}
	r.Filter.Within = own.who.Endpoints
	if err := own.faults.err(); err != nil {
		return err
	}
	if in.DryRun != nil && *in.DryRun {
		own.target = "dry run"
		p, err := s.Jobs.Preview(ctx, r)
		if err != nil {
			return err
		}
		return s.json(c, http.StatusOK, viewPreview(&p))
	}
	return s.startJob(c, r)
}

func (s *Server) startJob(c echo.Context, r bulk.Request) error {
	ctx := c.Request().Context()
	if r.Action == bulk.Retry {
		if err := s.fullFor(ctx, r.Project); err != nil {
			return err
		}
	}
	job, err := s.Jobs.Start(ctx, r)
	if err != nil {
		return err
	}
	callOf(c).target = job.ID
	c.Response().Header().Set(echo.HeaderLocation, jobPath(job.ID))
	return s.json(c, http.StatusAccepted, viewJob(&job))
}

// bulkFilter reads the filter; faults are noted.
func (s *Server) bulkFilter(in *gen.BulkFilter, action bulk.Action, note func(pointer, detail string)) bulk.Filter {
	r := reader{prefix: "/filter/", note: note, opt: &s.opt}
	var f bulk.Filter
	f.CreatedAfter, _ = r.time("created_after", in.CreatedAfter)
	f.CreatedBefore, _ = r.time("created_before", in.CreatedBefore)
	r.window("created_before", f.CreatedAfter, f.CreatedBefore)
	if in.Endpoint != nil {
		f.Endpoint = *in.Endpoint
	}
	for i, word := range in.States {
		state := task.State(word)
		if state.Valid() && !action.Takes(state) {
			r.fault("states/"+strconv.Itoa(i), "is a state in which no task can be changed so")
		}
		if !slices.Contains(f.States, state) {
			f.States = append(f.States, state)
		}
	}
	if in.Labels != nil {
		checkLabels(*in.Labels, "/filter/labels", note)
		f.Labels = *in.Labels
	}
	return f
}

// GetJob shows a job; with wait it is a long-poll.
func (s *Server) GetJob(c echo.Context, id gen.JobId, params gen.GetJobParams) error {
	own := callOf(c)
	wait := s.wait(c, params.Wait, params.Prefer)
	if err := own.faults.err(); err != nil {
		return err
	}
	job, err := s.findJob(c.Request().Context(), &own.who, id)
	if err == nil && wait > 0 && !job.Ended() {
		if err := s.park(c); err != nil {
			return err
		}
		s.extend(c, wait)
		job, err = s.Jobs.Wait(c.Request().Context(), own.who.Project, id, time.Now().Add(wait))
	}
	if err != nil {
		return err
	}
	return s.json(c, http.StatusOK, viewJob(&job))
}

// CancelJob keeps a job from changing more.
func (s *Server) CancelJob(c echo.Context, id gen.JobId) error {
	ctx, who := c.Request().Context(), &callOf(c).who
	if who.Endpoints.Bound() {
		if _, err := s.findJob(ctx, who, id); err != nil {
			return err
		}
	}
	job, err := s.Jobs.Stop(ctx, who.Project, id)
	if err != nil {
		return err
	}
	return s.json(c, http.StatusOK, viewJob(&job))
}

// jobCursor marks a cursor of this list and its version.
const jobCursor = "j1."

// ListJobs lists jobs.
func (s *Server) ListJobs(c echo.Context, params gen.ListJobsParams) error {
	before, err := parseJobCursor(params.Cursor)
	if err != nil {
		return err
	}
	limit := defaultLimit
	if params.Limit != nil {
		limit = *params.Limit
	}
	jobs, next, err := s.listJobs(c.Request().Context(), &callOf(c).who, before, limit)
	if err != nil {
		return err
	}
	out := gen.JobList{Data: make([]gen.Job, len(jobs))}
	for i := range jobs {
		out.Data[i] = viewJob(&jobs[i])
	}
	if next != "" {
		out.NextCursor = new(base64.RawURLEncoding.EncodeToString([]byte(jobCursor + next)))
	}
	return s.json(c, http.StatusOK, out)
}

func parseJobCursor(cursor *string) (before string, err error) {
	if cursor == nil || *cursor == "" {
		return "", nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(*cursor)
	id, ok := strings.CutPrefix(string(plain), jobCursor)
	if err != nil || !ok || !bulk.IsID(id) {
		return "", badCursor()
	}
	return id, nil
}

func jobPath(id string) string { return "/v1/jobs/" + id }

func viewJob(j *bulk.Job) gen.Job {
	out := gen.Job{
		Id: j.ID, Action: gen.JobAction(j.Action), State: gen.JobState(j.State), Rate: j.Rate,
		Matched: j.Matched, Changed: j.Changed, Skipped: j.Skipped, Failed: j.Counts.Failed,
		StartedAt: j.StartedAt, EndedAt: viewTime(j.EndedAt), Reached: viewTime(j.Reached),
		Detail: unlessZero(j.Detail), Links: gen.JobLinks{Self: jobPath(j.ID)},
		Filter: gen.JobFilter{
			Endpoint: unlessZero(j.Filter.Endpoint), Within: j.Filter.Within, Labels: j.Filter.Labels, States: []gen.TaskState{},
			CreatedAfter: viewTime(j.Filter.CreatedAfter), CreatedBefore: viewTime(j.Filter.CreatedBefore),
		},
	}
	for _, state := range j.Meant() {
		out.Filter.States = append(out.Filter.States, gen.TaskState(state))
	}
	for code, n := range j.Reasons {
		if out.Reasons == nil {
			out.Reasons = make(map[string]int, len(j.Reasons))
		}
		out.Reasons[string(code)] = n
	}
	return out
}

func viewPreview(p *bulk.Preview) gen.BulkPreview {
	out := gen.BulkPreview{Matched: p.Matched, Complete: p.Complete, Sample: make([]string, len(p.Sample))}
	for i, id := range p.Sample {
		out.Sample[i] = string(id)
	}
	return out
}
