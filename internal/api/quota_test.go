package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

func TestKeyRate(t *testing.T) {
	w := newWorld()
	c := newClient(t, w.server(t))
	a := c.send(t, "POST", "/v1/keys", `{"name":"worker","scopes":["keys:*"],"rate":{"per_second":2.5}}`)
	a.wantStatus(t, 201)
	k := keyOf(t, a)
	want := &gen.Rate{PerSecond: 2.5, Burst: new(5)}
	if kept := w.apiKeys[k.Id].Rate; kept != (task.Rate{PerSecond: 2.5, Burst: 5}) || cmp.Diff(k.Rate, want) != "" {
		t.Errorf("kept %v, shown %v", kept, k.Rate)
	}
	a = c.send(t, "GET", "/v1/keys/"+k.Id, "")
	if got := keyOf(t, a); cmp.Diff(got.Rate, want) != "" {
		t.Errorf("later shown %v", got.Rate)
	}
}

// A key with a rate cannot make one that may more.
func TestKeyRateIsHandedDown(t *testing.T) {
	w := newWorld()
	own := task.Rate{PerSecond: 10, Burst: 20}
	c := w.client(t, auth.Principal{Project: project, Scopes: []auth.Scope{auth.ScopeKeys}, KeyID: "limited", Rate: own})
	for body, want := range map[string]task.Rate{
		`{"name":"x","scopes":["keys:*"]}`:                                     own,
		`{"name":"x","scopes":["keys:*"],"rate":{"per_second":10,"burst":20}}`: own,
		`{"name":"x","scopes":["keys:*"],"rate":{"per_second":1,"burst":1}}`:   {PerSecond: 1, Burst: 1},
	} {
		a := c.send(t, "POST", "/v1/keys", body)
		a.wantStatus(t, 201)
		if got := w.apiKeys[keyOf(t, a).Id].Rate; got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
	for _, more := range []string{`{"per_second":10.1,"burst":1}`, `{"per_second":1,"burst":21}`} {
		c.send(t, "POST", "/v1/keys", `{"name":"x","scopes":["keys:*"],"rate":`+more+`}`).want(t, 422, "invalid", "/rate")
	}
}

func TestProjectQuotas(t *testing.T) {
	w := newWorld()
	cl := newClient(t, w.server(t, func(_ *api.Deps, o *api.Options) {
		o.Quotas = task.Quotas{WaitingTasks: 1000, PayloadBytes: 1 << 20}
	}))
	shown := func(a *answer) *gen.Quotas {
		t.Helper()
		var p gen.Project
		decode(t, a.Body.Bytes(), &p)
		return p.Quotas
	}
	installation := &gen.Quotas{WaitingTasks: new(int64(1000)), PayloadBytes: new(int64(1 << 20))}
	for _, c := range []struct {
		body string
		want *gen.Quotas
	}{
		{`{}`, installation},
		{`{"quotas":{"waiting_tasks":7}}`, &gen.Quotas{WaitingTasks: new(int64(7)), PayloadBytes: new(int64(1 << 20))}},
		{`{}`, &gen.Quotas{WaitingTasks: new(int64(7)), PayloadBytes: new(int64(1 << 20))}},
		{
			`{"quotas":{"rate":{"per_second":0.25},"payload_bytes":2048}}`,
			&gen.Quotas{
				Rate: &gen.Rate{PerSecond: 0.25, Burst: new(1)}, WaitingTasks: new(int64(1000)), PayloadBytes: new(int64(2048)),
			},
		},
		{`{"quotas":{}}`, installation},
	} {
		if d := cmp.Diff(shown(cl.send(t, "PUT", "/v1/projects/acme", c.body)), c.want); d != "" {
			t.Errorf("%s: %s", c.body, d)
		}
	}
}

// spent is a project that has as much as it may have.
type spent struct{ excess *admission.Excess }

func (f *spent) Admit(context.Context, string, task.Quotas, int64) *admission.Excess { return f.excess }

func (f *spent) Full(context.Context, string, task.Quotas) *admission.Excess { return f.excess }

func TestQuotaExceeded(t *testing.T) {
	w := newWorld()
	quotas := &spent{}
	c := newClient(t, w.server(t, func(d *api.Deps, _ *api.Options) { d.Quotas = quotas }))
	ended := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`).task.Id
	c.send(t, "POST", "/v1/tasks/"+ended+"/cancel", "").wantStatus(t, 200)
	waits := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, `Idempotency-Key: "k"`).task.Id
	accepted := len(w.tasks)

	quotas.excess = &admission.Excess{Quota: admission.QuotaTasks, Used: 12, Most: 10}
	a := c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`)
	a.want(t, 429, "quota_exceeded")
	if d := *a.problem.Detail; !strings.Contains(d, "waiting_tasks") || !strings.Contains(d, "12") || !strings.Contains(d, "10") {
		t.Errorf("detail %q", d)
	}
	if a.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	c.send(t, "POST", "/v1/endpoints/emails/tasks", `raw`, "Content-Type: text/plain").want(t, 429, "quota_exceeded")
	c.send(t, "POST", "/v1/tasks/"+ended+"/retry", "").want(t, 429, "quota_exceeded")
	c.send(t, "POST", "/v1/tasks/retry", `{"filter":{"endpoint":"emails"}}`).want(t, 429, "quota_exceeded")
	if len(w.tasks) != accepted {
		t.Error("accepted, and refused")
	}
	// A repeat is answered with what was accepted.
	if a = c.send(t, "POST", "/v1/tasks", `{"endpoint":"emails"}`, `Idempotency-Key: "k"`); a.Code != 202 || a.task.Id != waits {
		t.Errorf("a repeat: %d %s", a.Code, a.Body)
	}
	// What waits and runs now takes up no more; neither does a look.
	c.send(t, "POST", "/v1/tasks/"+waits+"/retry", "").wantStatus(t, 202)
	c.send(t, "POST", "/v1/tasks/retry", `{"filter":{"endpoint":"emails"},"dry_run":true}`).wantStatus(t, 200)
}

func TestProjectUsage(t *testing.T) {
	w := newWorld()
	w.used = map[string]task.Usage{project: {WaitingTasks: 3, WaitingBytes: 2, KeptBytes: 1}}
	c := newClient(t, w.server(t))
	var p gen.Project
	decode(t, c.send(t, "GET", "/v1/projects/"+project, "").Body.Bytes(), &p)
	if d := cmp.Diff(p.Usage, &gen.ProjectUsage{WaitingTasks: 3, WaitingBytes: 2, KeptBytes: 1}); d != "" {
		t.Error(d)
	}
	w.fail["usage"] = task.Errorf(task.CodeUnavailable, "the task store cannot be reached now")
	a := c.send(t, "GET", "/v1/projects/"+project, "")
	a.wantStatus(t, 200)
	if strings.Contains(a.Body.String(), "usage") {
		t.Errorf("got %s", a.Body)
	}
}
