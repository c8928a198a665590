package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
