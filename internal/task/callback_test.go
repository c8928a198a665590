package task_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

func TestCallbackDue(t *testing.T) {
	t.Parallel()
	var none *task.Callback
	all, some := &task.Callback{}, &task.Callback{On: []task.State{task.Failed, task.Expired}}
	for _, s := range task.States() {
		if none.Due(s) {
			t.Errorf("%s: due without a callback", s)
		}
		if all.Due(s) != s.Final() {
			t.Errorf("%s: without a list: %v", s, all.Due(s))
		}
		if want := s == task.Failed || s == task.Expired; some.Due(s) != want {
			t.Errorf("%s: with a list: %v", s, !want)
		}
	}
}

func TestCallbackID(t *testing.T) {
	t.Parallel()
	seen := map[task.ID]bool{}
	for shard := range task.Shards {
		of := task.MakeID("01JD3YV7Q8K3W5N6P7R8S9TABC", shard)
		for gen := 1; gen < 20; gen++ {
			id := task.CallbackID(of, gen)
			if again := task.CallbackID(of, gen); again != id {
				t.Fatalf("%s, then %s", id, again)
			}
			if parsed, ok := task.ParseID(string(id)); !ok || parsed != id || id.Shard() != shard || id[:10] != of[:10] {
				t.Fatalf("%s is no id beside %s", id, of)
			}
			if seen[id] {
				t.Fatalf("%s twice", id)
			}
			seen[id] = true
		}
	}
}

func TestCallbackSpec(t *testing.T) {
	t.Parallel()
	s := task.Snapshot{Spec: spec(), Record: task.Record{Gen: 3}}
	s.TraceParent, s.ResultTTL = "trace", task.Duration(time.Minute)
	s.Callback = &task.Callback{URL: "https://example.com/", Headers: []task.Header{{Name: "A", Value: "b"}}}
	want := task.Spec{
		ID: task.CallbackID(s.ID, 3), Project: "default", Endpoint: task.CallbackEndpoint, CreatedAt: t0,
		ContentType: "application/json", PayloadSize: 7, CallbackOf: s.ID, URL: "https://example.com/",
		TraceParent: "trace", ResultTTL: task.Duration(time.Minute), Headers: s.Callback.Headers,
	}
	if d := cmp.Diff(want, s.CallbackSpec(7, t0)); d != "" {
		t.Error(d)
	}
	s.Callback = &task.Callback{Endpoint: "hooks"}
	if got := s.CallbackSpec(7, t0); got.Endpoint != "hooks" || got.URL != "" {
		t.Errorf("to an endpoint: %+v", got)
	}
}

// TestRebuilt: a record made of a message says so until its generation ends
// to be the present one.
func TestRebuilt(t *testing.T) {
	t.Parallel()
	env := task.Envelope{Spec: spec()}
	m := task.First(env, 0)
	r := m.Rebuild().Started(&m, task.Lease{}, false, false, t0)
	again := r.Started(&m, task.Lease{}, true, true, t0)
	ended := again.Settled(task.Decision{State: task.Failed}, t0)
	for name, r := range map[string]task.Record{"begun": r, "again": again, "ended": ended} {
		if !r.Rebuilt {
			t.Errorf("%s: the mark is gone", name)
		}
	}
	next, ok := ended.Restarted(t0)
	if !ok || next.Rebuilt {
		t.Error("a replay's generation is new")
	}
	ahead := next.Next(env)
	if got := ended.Started(&ahead, task.Lease{}, false, false, t0); !got.Rebuilt || got.Gen != 2 {
		t.Errorf("a message ahead of its record: %+v", got)
	}
	if got := next.Started(&ahead, task.Lease{}, false, false, t0); got.Rebuilt {
		t.Error("a message that fits its record rebuilds nothing")
	}
	if got := ended.Reached(&ahead); !got.Rebuilt || got.Gen != 2 {
		t.Errorf("reached: %+v", got)
	}
}
