package api_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/bulk"
	"github.com/taskgate/taskgate/internal/task"
)

func TestStartJob(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "POST", "/v1/tasks/cancel", `{"filter":{"endpoint":"emails","states":["queued","queued","scheduled"],
		"labels":{"a":"b"},"created_after":"2026-01-01T00:00:00+01:00","created_before":"2026-02-01T00:00:00Z"},"rate":2.5}`)
	a.wantStatus(t, 202)
	var job gen.Job
	decode(t, a.Body.Bytes(), &job)
	if a.Header().Get("Location") != "/v1/jobs/"+job.Id || job.Links.Self != "/v1/jobs/"+job.Id || job.State != "running" || job.Action != "cancel" {
		t.Errorf("got %s, %v", a.Body, a.Header())
	}
	want := bulk.Request{
		Project: project, Action: bulk.Cancel, Rate: 2.5, Filter: bulk.Filter{
			Endpoint: "emails", States: []task.State{task.Queued, task.Scheduled}, Labels: map[string]string{"a": "b"},
			CreatedAfter:  time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC),
			CreatedBefore: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
		},
	}
	if diff := cmp.Diff(want, w.jobs[0].Request); diff != "" {
		t.Error(diff)
	}

	a = c.send(t, "POST", "/v1/tasks/retry", `{"all":true}`)
	a.wantStatus(t, 202)
	decode(t, a.Body.Bytes(), &job)
	if len(job.Filter.States) != 1 || job.Filter.States[0] != "failed" {
		t.Errorf("what is meant is not told: %s", a.Body)
	}

	a = c.send(t, "POST", "/v1/tasks/retry", `{"filter":{"endpoint":"emails"},"dry_run":true}`)
	a.wantStatus(t, 200)
	var preview gen.BulkPreview
	decode(t, a.Body.Bytes(), &preview)
	if preview.Matched != 7 || preview.Complete || len(preview.Sample) != 1 || len(w.jobs) != 2 {
		t.Errorf("got %s, %d jobs", a.Body, len(w.jobs))
	}
	w.fail["start job"] = task.Errorf(task.CodeConflict, "20 jobs are under way")
	c.send(t, "POST", "/v1/tasks/retry", `{"all":true}`).want(t, 409, "conflict")
	w.fail["preview"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
	c.send(t, "POST", "/v1/tasks/cancel", `{"all":true,"dry_run":true}`).want(t, 503, "unavailable")
}

func TestJobs(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	var want []string
	for i := range 5 {
		job := bulk.Job{
			ID: fmt.Sprintf("%026d", i), Request: bulk.Request{Project: project, Action: bulk.Retry, Rate: 10}, State: bulk.Done,
			Counts:    bulk.Counts{Matched: 3, Changed: 1, Skipped: 1, Failed: 1, Reasons: map[task.Code]int{task.CodePayloadNotKept: 1}},
			StartedAt: time.Now().UTC(), EndedAt: time.Now().UTC(), Reached: time.Now().UTC(),
		}
		w.jobs = append(w.jobs, job)
		want = append(want, job.ID)
	}
	w.jobs = append(w.jobs, bulk.Job{ID: fmt.Sprintf("%026d", 9), Request: bulk.Request{Project: "other"}, State: bulk.Running})
	slices.Reverse(want)
	var got []string
	for target := "/v1/jobs?limit=2"; target != ""; {
		a := c.send(t, "GET", target, "")
		a.wantStatus(t, 200)
		var page gen.JobList
		decode(t, a.Body.Bytes(), &page)
		for _, j := range page.Data {
			got = append(got, j.Id)
		}
		if target = ""; page.NextCursor != nil {
			target = "/v1/jobs?limit=2&cursor=" + *page.NextCursor
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	a := c.send(t, "GET", "/v1/jobs/"+want[0]+"?wait=1s", "")
	a.wantStatus(t, 200)
	var job gen.Job
	decode(t, a.Body.Bytes(), &job)
	if job.Matched != 3 || job.Failed != 1 || job.Reasons["payload_not_kept"] != 1 || job.EndedAt == nil || job.Reached == nil {
		t.Errorf("got %s", a.Body)
	}
	c.send(t, "POST", "/v1/jobs/"+want[0]+"/cancel", "").want(t, 409, "conflict")
	w.jobs[0].State = bulk.Running
	c.send(t, "POST", "/v1/jobs/"+w.jobs[0].ID+"/cancel", `{}`).wantStatus(t, 200)
	for _, id := range []string{w.jobs[5].ID, "nope"} {
		c.send(t, "GET", "/v1/jobs/"+id, "").want(t, 404, "not_found")
		c.send(t, "POST", "/v1/jobs/"+id+"/cancel", "").want(t, 404, "not_found")
	}
}
