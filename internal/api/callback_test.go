package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/contracttest"
	"github.com/taskgate/taskgate/internal/task"
)

func TestSubmitCallback(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	for in, want := range map[string]*task.Callback{
		`{"url":"https://a.example/h"}`: {URL: "https://a.example/h"},
		`{"endpoint":"emails","on":["expired","failed"],"headers":{"X-B":"2","X-A":"1"}}`: {
			Endpoint: "emails", On: []task.State{task.Expired, task.Failed},
			Headers: []task.Header{{Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2"}},
		},
	} {
		a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails","callback":`+in+`}`)
		a.wantStatus(t, 202)
		if diff := cmp.Diff(want, last(w).Callback); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
		shown := a.task.Callback
		if shown == nil || *a.task.Links.Callbacks != a.task.Links.Self+"/callbacks" || len(shown.On) == 0 || strings.Contains(a.Body.String(), "X-A") {
			t.Errorf("%s shows %s", in, a.Body)
		}
	}
	a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
	if last(w).Callback != nil || a.task.Callback != nil || a.task.Links.Callbacks != nil {
		t.Errorf("without one: %s", a.Body)
	}
}

func TestSubmitRawCallback(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	to := "/v1/endpoints/emails/tasks"
	c.send(t, "POST", to+"?callback_url=https://a.example/h%3Fx%3D1&callback_on=failed,%20cancelled", "x",
		"Taskgate-Callback-Header-X-A: 1", "Taskgate-Header-X-B: 2").wantStatus(t, 202)
	want := &task.Callback{
		URL: "https://a.example/h?x=1", On: []task.State{task.Failed, task.Cancelled}, Headers: []task.Header{{Name: "X-A", Value: "1"}},
	}
	if diff := cmp.Diff(want, last(w).Callback); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]task.Header{{Name: "X-B", Value: "2"}}, last(w).Headers); diff != "" {
		t.Error(diff)
	}
	c.send(t, "POST", to, "x", "Taskgate-Callback-Endpoint: emails", "Taskgate-Callback-On: succeeded").wantStatus(t, 202)
	want = &task.Callback{Endpoint: "emails", On: []task.State{task.Succeeded}}
	if diff := cmp.Diff(want, last(w).Callback); diff != "" {
		t.Error(diff)
	}
	c.send(t, "POST", to, "x").wantStatus(t, 202)
	if last(w).Callback != nil {
		t.Error("a callback that nobody asked for")
	}
}

// ended is a task that has ended in the given state.
func ended(state task.State) *task.Snapshot {
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	spec := task.Spec{
		ID: "01kad2t5m6f0q9v3zj8y4w7xhc7", Project: project, Endpoint: "emails", CreatedAt: at, Labels: map[string]string{"a": "<b>"},
		Callback: &task.Callback{URL: "https://a.example/h", Headers: []task.Header{{Name: "Authorization", Value: "hush"}}},
	}
	r := task.NewRecord(&spec)
	r.State, r.Starts, r.EndedAt = state, 1, at.Add(1500*time.Millisecond)
	return &task.Snapshot{Spec: spec, Record: r}
}

// tell renders a callback, and holds it against the contract.
func tell(t *testing.T, s *task.Snapshot, r *task.Result) (gen.TaskEvent, []byte) {
	t.Helper()
	body, err := api.CallbackBody(s, r)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := contracttest.Document()
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	var event gen.TaskEvent
	if err := json.Unmarshal(body, &plain); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	if err := doc.Components.Schemas["TaskEvent"].Value.VisitJSON(plain); err != nil {
		t.Errorf("%.200s: %v", body, err)
	}
	if len(body) > task.MaxCallbackBody || strings.Contains(string(body), "hush") {
		t.Errorf("%d bytes: %.200s", len(body), body)
	}
	return event, body
}

func TestCallbackBody(t *testing.T) {
	for _, state := range task.Finals() {
		e, _ := tell(t, ended(state), nil)
		if string(e.Type) != "task."+string(state) || e.Data.Id != string(ended(state).ID) || !e.Timestamp.Equal(ended(state).EndedAt) ||
			e.Data.Result != nil || e.Data.ResultOmitted != nil {
			t.Errorf("%s: %+v", state, e)
		}
	}
	e, body := tell(t, ended(task.Succeeded), &task.Result{Status: 200, ContentType: "application/json", Body: []byte(`{"a": "<&>"}`)})
	if string(e.Data.Result.Body) != `{"a":"<&>"}` || e.Data.ResultOmitted != nil {
		t.Errorf("%s", body)
	}
	e, body = tell(t, ended(task.Succeeded), &task.Result{Status: 200, ContentType: "text/plain", Body: []byte(`hello`)})
	if e.Data.Result.Body != nil || e.Data.Result.Size != 5 || e.Data.ResultOmitted != nil {
		t.Errorf("%s", body)
	}
}

// TestCallbackBodyIsBounded: a long result is in it as far as it goes; what
// does not fit is left out, and it says so.
func TestCallbackBodyIsBounded(t *testing.T) {
	result := func(n int) *task.Result {
		return &task.Result{Status: 200, ContentType: "application/json", Body: []byte(`"` + strings.Repeat("x", n-2) + `"`)}
	}
	if e, _ := tell(t, ended(task.Succeeded), result(1000<<10)); len(e.Data.Result.Body) != 1000<<10 || e.Data.ResultOmitted != nil {
		t.Error("a result that fits is not in it")
	}
	e, _ := tell(t, ended(task.Succeeded), result(1<<20))
	if e.Data.Result.Body != nil || e.Data.Result.Size != 1<<20 || e.Data.ResultOmitted == nil || !*e.Data.ResultOmitted {
		t.Errorf("over the bound: %+v", e.Data)
	}
	r := result(1 << 10)
	r.Headers = []task.Header{{Name: "X", Value: strings.Repeat("x", 1<<20)}}
	e, _ = tell(t, ended(task.Succeeded), r)
	if e.Data.Result != nil || e.Data.ResultOmitted == nil || !*e.Data.ResultOmitted {
		t.Errorf("headers over the bound: %+v", e.Data)
	}
}

func TestListCallbacks(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	of := ended(task.Succeeded)
	of.Gen = 3
	w.tasks[of.ID] = &stored{Snapshot: *of}
	list := func() (out gen.CallbackTaskList) {
		t.Helper()
		a := c.send(t, "GET", "/v1/tasks/"+string(of.ID)+"/callbacks", "")
		a.wantStatus(t, http.StatusOK)
		decode(t, a.Body.Bytes(), &out)
		return out
	}
	if got := list(); len(got.Data) != 0 {
		t.Errorf("before any: %+v", got)
	}
	for _, generation := range []int{1, 3} {
		parent := *of
		parent.Gen = generation
		spec := parent.CallbackSpec(2, time.Now())
		cb := task.Snapshot{Spec: spec, Record: task.NewRecord(&spec)}
		cb.State, cb.Starts, cb.Status, cb.Reason = task.Retrying, generation, 503, task.ReasonHandler5xx
		cb.ETA = time.Now().Add(time.Minute)
		w.tasks[cb.ID] = &stored{Snapshot: cb}
	}
	got := list()
	if len(got.Data) != 2 || got.Data[0].Generation != 1 || got.Data[1].Generation != 3 {
		t.Fatalf("got %+v", got)
	}
	one := got.Data[1]
	if one.Id != string(task.CallbackID(of.ID, 3)) || one.Attempts != 3 || *one.LastStatus != 503 || *one.Reason != "handler_5xx" ||
		*one.Url != "https://a.example/h" || one.Endpoint != nil || one.NextAttemptAt == nil || one.EndedAt != nil {
		t.Errorf("got %+v", one)
	}
	// It is a task.
	a := c.send(t, "GET", one.Links.Self, "")
	a.wantStatus(t, http.StatusOK)
	if a.task.CallbackOf == nil || *a.task.CallbackOf != string(of.ID) || a.task.Callback != nil {
		t.Errorf("got %s", a.Body)
	}
	a = c.send(t, "GET", one.Links.Self+"/callbacks", "")
	if a.wantStatus(t, http.StatusOK); !strings.Contains(a.Body.String(), `"data":[]`) {
		t.Errorf("a callback's callbacks: %s", a.Body)
	}
}
