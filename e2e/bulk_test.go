package e2e_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// bulk starts a job.
func (tg *target) bulk(t *testing.T, action string, request obj) obj {
	t.Helper()
	r := tg.want(t, http.StatusAccepted, "POST", "/v1/tasks/"+action, request)
	if got := r.header.Get("Location"); got != "/v1/jobs/"+r.obj.str("id") {
		t.Errorf("Location %q", got)
	}
	return r.obj
}

// jobEnds waits for a job's end and checks its counts.
func (tg *target) jobEnds(t *testing.T, id, state string, changed int) obj {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		r := got(tg.expect(t, http.StatusOK).GetJobWithResponse(t.Context(), id, &client.GetJobParams{Wait: new("20s")}))
		if r.JSON200.State == client.JobStateRunning {
			continue
		}
		job := untyped(t, r.JSON200)
		if job.str("state") != state || job.num("changed") != changed || job.str("ended_at") == "" {
			t.Fatalf("job ended as %v, want %s with %d changed", job, state, changed)
		}
		return job
	}
	t.Fatalf("job %s did not end", id)
	return nil
}

// count counts an endpoint's tasks that match.
func (tg *target) count(t *testing.T, ep, query string, match func(task obj) bool) (n int) {
	t.Helper()
	path := "/v1/tasks?limit=100&endpoint=" + ep + query
	for cursor := ""; ; {
		page := tg.want(t, 200, "GET", path+cursor, nil).obj
		list, _ := page["data"].([]any)
		for _, v := range list {
			item, _ := v.(map[string]any)
			if match(item) {
				n++
			}
		}
		if page.str("next_cursor") == "" {
			return n
		}
		cursor = "&cursor=" + page.str("next_cursor")
	}
}

func inState(state string) func(obj) bool {
	return func(task obj) bool { return task.str("state") == state }
}

func TestBulkCancel(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, serve(t, status(200)).URL, nil)
		for n := range 25 {
			tier := "gold"
			if n%5 == 0 {
				tier = "tin"
			}
			tg.submit(t, ep, obj{"delay": "1h", "labels": obj{"tier": tier}})
		}
		filter := obj{"endpoint": ep, "labels": obj{"tier": "gold"}}
		r := got(tg.expect(t, http.StatusOK).CancelTasksWithResponse(t.Context(), typed[client.BulkRequest](t, obj{"filter": filter, "dry_run": true})))
		if p := r.JSON200; p.Matched != 20 || !p.Complete || len(p.Sample) != 20 {
			t.Errorf("dry run: %+v", p)
		}
		if n := tg.count(t, ep, "", inState("scheduled")); n != 25 {
			t.Fatalf("%d are scheduled after a dry run", n)
		}
		job := tg.bulk(t, "cancel", obj{"filter": filter})
		late := tg.submit(t, ep, obj{"delay": "1h", "labels": obj{"tier": "gold"}}).str("id")
		if got := tg.jobEnds(t, job.str("id"), "done", 20); got.num("matched") != 20 || got.num("skipped") != 0 {
			t.Errorf("job: %v", got)
		}
		if n := tg.count(t, ep, "&label=tier:gold", inState("cancelled")); n != 20 {
			t.Errorf("%d were cancelled", n)
		}
		if n := tg.count(t, ep, "&label=tier:tin", inState("scheduled")); n != 5 {
			t.Errorf("%d of the others are scheduled", n)
		}
		if got := tg.want(t, 200, "GET", "/v1/tasks/"+late, nil).obj; got.str("state") != "scheduled" {
			t.Errorf("a task of after the job's begin is %s", got.str("state"))
		}
		page := got(tg.expect(t, http.StatusOK).ListJobsWithResponse(t.Context(), &client.ListJobsParams{Limit: new(500)}))
		found := false
		for _, j := range page.JSON200.Data {
			found = found || j.Id == job.str("id")
		}
		if !found {
			t.Error("the job is not listed")
		}
	})
}

func TestBulkRetry(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		var well atomic.Bool
		h := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if !well.Load() {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		ep, _ := tg.register(t, h.URL, nil)
		var ids []string
		for range 15 {
			ids = append(ids, tg.submit(t, ep, nil).str("id"))
		}
		for _, id := range ids {
			tg.ends(t, id, "failed", "permanent_status")
		}
		well.Store(true)
		job := tg.bulk(t, "retry", obj{"filter": obj{"endpoint": ep, "states": []string{"failed"}}, "rate": 200})
		tg.jobEnds(t, job.str("id"), "done", 15)
		for _, id := range ids {
			if got := tg.ends(t, id, "succeeded", ""); got.num("generation") != 2 {
				t.Errorf("retried as %v", got)
			}
		}
		tg.want(t, 409, "POST", "/v1/jobs/"+job.str("id")+"/cancel", nil)
		tg.want(t, 422, "POST", "/v1/tasks/retry", obj{})
	})
}

func TestBulkJobIsCancelled(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		ep, _ := tg.register(t, serve(t, status(200)).URL, nil)
		const all = 40
		for range all {
			tg.submit(t, ep, obj{"delay": "1h"})
		}
		job := tg.bulk(t, "cancel", obj{"filter": obj{"endpoint": ep}, "rate": 4})
		path := "/v1/jobs/" + job.str("id")
		until(t, "it has begun", func() bool { return tg.want(t, 200, "GET", path, nil).obj.num("changed") > 0 })
		tg.want(t, 200, "POST", path+"/cancel", nil)
		// What it changed is told when its worker has heard of the end.
		var changed int
		until(t, "its count is what was changed", func() bool {
			changed = tg.count(t, ep, "", inState("cancelled"))
			return tg.want(t, 200, "GET", path, nil).obj.num("changed") == changed
		})
		if changed == all {
			t.Error("everything was changed")
		}
		tg.jobEnds(t, job.str("id"), "cancelled", changed)
	})
}

// failMany submits tasks to a handler that refuses them for good, and waits
// for their ends.
func failMany(t *testing.T, tg *target, n int) (ep string) {
	t.Helper()
	ep, _ = tg.register(t, serve(t, status(400)).URL, nil)
	for range n {
		tg.submit(t, ep, nil)
	}
	until(t, "all have failed", func() bool { return tg.count(t, ep, "&state=failed", inState("failed")) == n })
	return ep
}

// checkTakenOver: the job goes on from where it was, and retries each task
// once, though each fails again at once.
func checkTakenOver(t *testing.T, tg *target, ep, id string, n int) {
	t.Helper()
	if got := tg.jobEnds(t, id, "done", n); got.num("matched") != n {
		t.Errorf("job: %v", got)
	}
	until(t, "the last one has failed again", func() bool { return tg.count(t, ep, "&state=failed", inState("failed")) == n })
	if once := tg.count(t, ep, "", func(task obj) bool { return task.num("generation") == 2 }); once != n {
		t.Errorf("%d of %d were retried once", once, n)
	}
}

// killUnder starts a slow job and returns when it has changed some tasks.
func killUnder(t *testing.T, tg *target, ep string) (id string) {
	t.Helper()
	id = tg.bulk(t, "retry", obj{"filter": obj{"endpoint": ep}, "rate": 10}).str("id")
	until(t, "it has begun", func() bool {
		return tg.count(t, ep, "", func(task obj) bool { return task.num("generation") == 2 }) > 5
	})
	return id
}

func TestKillGatewayUnderAJob(t *testing.T) {
	t.Parallel()
	needServices(t)
	env := servicesEnv(namespace())
	d, err := start("dispatcher", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	var gws []*process
	for range 2 {
		gw, err := start("gateway", env)
		if err != nil {
			t.Fatal(err)
		}
		gws = append(gws, gw)
	}
	t.Cleanup(gws[1].stop)
	const n = 60
	first := &target{name: "first", bases: []string{gws[0].base}, key: adminKey, t: t}
	second := &target{name: "second", bases: []string{gws[1].base}, key: adminKey, t: t}
	ep := failMany(t, second, n)
	id := killUnder(t, first, ep)
	gws[0].kill()
	checkTakenOver(t, second, ep, id, n)
}

func TestKillServeUnderAJob(t *testing.T) {
	t.Parallel()
	tg := serveAlone(t)
	const n = 60
	ep := failMany(t, tg.target, n)
	id := killUnder(t, tg.target, ep)
	tg.kill()
	tg.again(t)
	checkTakenOver(t, tg.target, ep, id, n)
}
