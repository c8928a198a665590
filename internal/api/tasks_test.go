package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

func TestGetTask(t *testing.T) {
	for _, state := range task.States() {
		t.Run(string(state), func(t *testing.T) {
			w := newWorld()
			stored := w.put(state, &task.Result{Status: 200, Headers: []task.Header{{Name: "X-N", Value: "1"}}, Discarded: true})
			stored.Labels = map[string]string{"a": "b"}
			if state == task.Scheduled {
				stored.RunAt = stored.CreatedAt.Add(time.Hour)
				stored.ETA = stored.RunAt
			}
			a := newClient(t, w.server(t)).send(t, "GET", "/v1/tasks/"+string(stored.ID), "")
			a.wantStatus(t, 200)
			if a.task.Id != string(stored.ID) || string(a.task.State) != string(state) || a.task.Labels["a"] != "b" {
				t.Errorf("got %s", a.Body)
			}
			if waits := state == task.Scheduled || state == task.Retrying; (a.task.NextAttemptAt != nil) != waits {
				t.Errorf("next attempt: %s", a.Body)
			}
			if (a.task.Result != nil) != (state == task.Succeeded) || (a.task.EndedAt != nil) != state.Final() {
				t.Errorf("got %s", a.Body)
			}
		})
	}
}

func TestGetTaskDueIsQueued(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Scheduled, nil)
	stored.ETA = time.Now().Add(-time.Second)
	if a := newClient(t, w.server(t)).send(t, "GET", "/v1/tasks/"+string(stored.ID), ""); a.task.State != "queued" {
		t.Errorf("got %s", a.Body)
	}
}

func TestGetTaskOfAnotherProject(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Queued, nil)
	stored.Project = "other"
	c := newClient(t, w.server(t))
	path := "/v1/tasks/" + string(stored.ID)
	for _, target := range []string{path, path + "?wait=50s", path + "/result", path + "/attempts"} {
		c.send(t, "GET", target, "").want(t, 404, "not_found")
	}
	for _, target := range []string{path + "/cancel", path + "/retry", path + "/reschedule"} {
		c.send(t, "POST", target, `{"delay":"1h"}`).want(t, 404, "not_found")
	}
	if slices.Contains(w.log, "wait") {
		t.Error("a stranger's task was waited for")
	}
}

func TestGetTaskWait(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Running, nil)
	c := newClient(t, w.server(t))
	done := make(chan *answer)
	go func() {
		done <- c.send(t, "GET", "/v1/tasks/"+string(stored.ID), "", "Prefer: foo; bar=\"a,b\", wait=50")
	}()
	w.waitFor(t, "wait")
	w.finish(&task.Result{Status: 200})
	a := <-done
	a.wantStatus(t, 200)
	if a.task.State != "succeeded" || a.task.Result == nil || a.Header().Get("Preference-Applied") != "wait=50" {
		t.Errorf("got %s, %v", a.Body, a.Header())
	}
	// A final task is shown at once.
	c.send(t, "GET", "/v1/tasks/"+string(stored.ID)+"?wait=50s", "").wantStatus(t, 200)
}

func TestGetTaskGoneWhileWaiting(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Running, nil)
	c := newClient(t, w.server(t))
	done := make(chan *answer)
	go func() { done <- c.send(t, "GET", "/v1/tasks/"+string(stored.ID)+"?wait=50s", "") }()
	w.waitFor(t, "wait")
	w.mu.Lock()
	delete(w.tasks, stored.ID)
	w.mu.Unlock()
	close(w.ends)
	(<-done).want(t, 404, "not_found")
}

func TestGetTaskStoreAway(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Running, nil)
	c := newClient(t, w.server(t))
	w.fail["wait"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
	c.send(t, "GET", "/v1/tasks/"+string(stored.ID)+"?wait=1s", "").want(t, 503, "unavailable")
	w.fail["find"] = errDown
	c.send(t, "GET", "/v1/tasks/"+string(stored.ID), "").want(t, 500, "internal")
}

func TestResult(t *testing.T) {
	w := newWorld()
	body := "<script>alert(1)</script>\x00\xff"
	stored := w.put(task.Succeeded, &task.Result{
		Status: 206, ContentType: "text/html; charset=latin1", Body: []byte(body),
		Headers: []task.Header{{Name: "X-Total", Value: "7"}, {Name: "Set-Cookie", Value: "a=b"}},
	})
	path := "/v1/tasks/" + string(stored.ID) + "/result"
	c := newClient(t, w.server(t))
	a := c.send(t, "GET", path, "", "Accept: text/html")
	a.wantStatus(t, 200)
	if a.Body.String() != body {
		t.Errorf("the bytes changed: %q", a.Body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=latin1", "Taskgate-Status": "206", "Taskgate-Result-X-Total": "7",
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
		"Taskgate-Discarded": "", "Set-Cookie": "",
	} {
		if got := a.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	stored.result = &task.Result{Status: 204, Discarded: true}
	a = c.send(t, "GET", path, "")
	a.wantStatus(t, 200)
	if a.Body.Len() != 0 || a.Header().Get("Content-Type") != "application/octet-stream" || a.Header().Get("Taskgate-Discarded") != "true" {
		t.Errorf("got %q, %v", a.Body, a.Header())
	}
	stored.result = nil
	c.send(t, "GET", path, "").want(t, 409, "no_result")
}

func TestResultOfOthers(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	for _, state := range task.States() {
		if state == task.Succeeded {
			continue
		}
		stored := w.put(state, nil)
		a := c.send(t, "GET", "/v1/tasks/"+string(stored.ID)+"/result", "")
		if !state.Final() {
			a.wantStatus(t, 202)
			continue
		}
		a.want(t, 409, "no_result")
		if a.problem.TaskId == nil || *a.problem.TaskId != string(stored.ID) {
			t.Errorf("got %s", a.Body)
		}
	}
}

func TestAttempts(t *testing.T) {
	w := newWorld()
	stored := w.put(task.Failed, nil)
	stored.attempts = []task.Attempt{
		{
			Number: 1, Gen: 1, StartedAt: time.Now(), Took: task.Duration(1500 * time.Millisecond), Status: 500, Reason: task.ReasonHandler5xx,
			Answer: []byte("oops \xff"), NextAt: time.Now().Add(time.Minute),
		},
		{Number: 2, Gen: 1, StartedAt: time.Now(), Reason: task.ReasonTimeout, Suspect: true},
	}
	a := newClient(t, w.server(t)).send(t, "GET", "/v1/tasks/"+string(stored.ID)+"/attempts", "")
	a.wantStatus(t, 200)
	var v struct{ Data []map[string]any }
	decode(t, a.Body.Bytes(), &v)
	if v.Data[0]["duration_ms"] != 1500.0 || v.Data[0]["answer"] != "oops \uFFFD" || v.Data[1]["suspect"] != true || v.Data[1]["status"] != nil {
		t.Errorf("got %s", a.Body)
	}
	none := w.put(task.Queued, nil)
	if a := newClient(t, w.server(t)).send(t, "GET", "/v1/tasks/"+string(none.ID)+"/attempts", ""); !strings.Contains(a.Body.String(), `"data":[]`) {
		t.Errorf("got %s", a.Body)
	}
}

func TestCancelAndRetry(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	path := "/v1/tasks/" + string(w.put(task.Queued, nil).ID)
	a := c.send(t, "POST", path+"/cancel", "")
	a.wantStatus(t, 200)
	if a.task.State != "cancelled" || string(*a.task.Reason) != "cancelled" {
		t.Errorf("got %s", a.Body)
	}
	c.send(t, "POST", path+"/cancel", "").want(t, 409, "conflict")
	a = c.send(t, "POST", path+"/retry", `{}`)
	a.wantStatus(t, 202)
	if a.task.State != "queued" || a.task.Generation != 2 || a.Header().Get("Location") != path {
		t.Errorf("got %s", a.Body)
	}
	w.fail["retry"] = task.Errorf(task.CodePayloadNotKept, "too large")
	c.send(t, "POST", path+"/retry", "").want(t, 409, "payload_not_kept")
}

func TestReschedule(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	stored := w.put(task.Retrying, nil)
	stored.ExpiresAt = time.Now().Add(24 * time.Hour)
	path := "/v1/tasks/" + string(stored.ID) + "/reschedule"
	a := c.send(t, "POST", path, `{"delay":"2h"}`)
	a.wantStatus(t, 200)
	if a.task.State != "scheduled" || a.task.Generation != 2 || string(*a.task.Reason) != "rescheduled" ||
		a.task.NextAttemptAt == nil || time.Until(*a.task.NextAttemptAt) < time.Hour {
		t.Errorf("got %s", a.Body)
	}
	a = c.send(t, "POST", path, `{"run_at":"2020-01-01T00:00:00Z"}`)
	a.wantStatus(t, 200)
	if a.task.State != "queued" || a.task.Generation != 3 {
		t.Errorf("got %s", a.Body)
	}
	for body, pointers := range map[string][]string{
		`{"delay":"25h"}`: {"/delay"},
		`{"run_at":"` + time.Now().Add(25*time.Hour).Format(time.RFC3339) + `"}`: {"/run_at"},
	} {
		c.send(t, "POST", path, body).want(t, 422, "invalid", pointers...)
	}
	path = "/v1/tasks/" + string(w.put(task.Running, nil).ID) + "/reschedule"
	c.send(t, "POST", path, `{"delay":"1h"}`).want(t, 409, "conflict")
	w.fail["reschedule"] = task.Wrap(task.CodeOutcomeUnknown, errDown, "repeat")
	c.send(t, "POST", path, `{"delay":"1h"}`).want(t, 503, "outcome_unknown")
}

func TestListTasks(t *testing.T) {
	w := newWorld()
	w.page = task.Page{Items: []task.Snapshot{w.put(task.Failed, nil).Snapshot, w.put(task.Queued, nil).Snapshot}, Next: "more"}
	c := newClient(t, w.server(t))
	a := c.send(t, "GET", "/v1/tasks?endpoint=emails&state=failed,queued&state=running&label=a:b:c&label=d:e"+
		"&created_after=2026-01-01T00:00:00%2B01:00&created_before=2027-01-01T00:00:00Z&limit=7&cursor=abc", "")
	a.wantStatus(t, 200)
	var v struct {
		Data       []struct{ State string }
		NextCursor string `json:"next_cursor"`
	}
	decode(t, a.Body.Bytes(), &v)
	if len(v.Data) != 2 || v.Data[0].State != "failed" || v.NextCursor != "more" {
		t.Errorf("got %s", a.Body)
	}
	got := w.lastQuery
	got.Now = time.Time{}
	want := task.Query{
		Project: project, Endpoint: "emails", States: []task.State{task.Failed, task.Queued, task.Running},
		Labels: map[string]string{"a": "b:c", "d": "e"}, Limit: 7, Cursor: "abc",
		CreatedAfter: time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC), CreatedBefore: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.page = task.Page{}
	a = c.send(t, "GET", "/v1/tasks", "", "Accept: application/*")
	if a.Code != http.StatusOK || strings.TrimSpace(a.Body.String()) != `{"data":[]}` || w.lastQuery.Limit != 50 {
		t.Errorf("got %s", a.Body)
	}
	w.fail["list"] = task.Wrap(task.CodeUnavailable, errDown, "the store is away")
	c.send(t, "GET", "/v1/tasks", "").want(t, 503, "unavailable")
}
