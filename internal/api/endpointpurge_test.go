package api_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

func TestPurgeEndpoint(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	purge := func(body string) gen.EndpointPurged {
		t.Helper()
		a := c.send(t, "POST", "/v1/endpoints/emails/purge", body)
		a.wantStatus(t, 200)
		var out gen.EndpointPurged
		decode(t, a.Body.Bytes(), &out)
		if left := time.Until(w.purgeUntil); left < time.Second || left > time.Minute {
			t.Errorf("it may take %s", left)
		}
		return out
	}
	for _, body := range []string{"", "{}"} {
		if got := purge(body); got.Cancelled != 3 || got.NextCursor != nil {
			t.Errorf("got %+v", got)
		}
		q := w.lastQuery
		if q.Project != project || q.Endpoint != "emails" || q.Cursor != "" ||
			!slices.Equal(q.States, []task.State{task.Scheduled, task.Queued, task.Retrying}) {
			t.Errorf("asked for %+v", q)
		}
	}
	w.page.Next = "on"
	if got := purge(`{"states":["running","awaiting"],"cursor":"here"}`); got.Cancelled != 2 || *got.NextCursor != "on" {
		t.Errorf("got %+v", got)
	}
	if q := w.lastQuery; q.Cursor != "here" || !slices.Equal(q.States, []task.State{task.Running, task.Awaiting}) {
		t.Errorf("asked for %+v", q)
	}

	w.fail["purge"] = task.Wrap(task.CodeUnavailable, errDown, "the task store cannot be reached now")
	a := c.send(t, "POST", "/v1/endpoints/emails/purge", "")
	a.want(t, 503, "unavailable")
	if want := "3 tasks were cancelled, then the task store could not be reached; repeat"; *a.problem.Detail != want {
		t.Errorf("detail %q", *a.problem.Detail)
	}
	w.fail["purge"] = task.Errorf(task.CodeInvalid, "the cursor is of another list")
	c.send(t, "POST", "/v1/endpoints/emails/purge", `{"cursor":"other"}`).want(t, 422, "invalid", "/cursor")
}
