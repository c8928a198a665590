package task_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func TestSealedSecret(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	first := task.SealedSecret{Current: []byte("a")}
	second := first.Rotated([]byte("b"), "", now.Add(time.Hour))
	again := second.Rotated([]byte("c"), "", now.Add(time.Hour))
	none := first.Rotated([]byte("b"), "", now)
	for name, c := range map[string]struct {
		secret task.SealedSecret
		at     time.Time
		want   string
	}{
		"nothing":                 {task.SealedSecret{}, now, ""},
		"never rotated":           {first, now, "a"},
		"within the overlap":      {second, now.Add(time.Hour - 1), "ba"},
		"at its end":              {second, now.Add(time.Hour), "b"},
		"rotated twice":           {again, now, "cb"},
		"rotated with no overlap": {none, now, "b"},
	} {
		got := ""
		for _, sealed := range c.secret.At(c.at) {
			got += string(sealed)
		}
		if got != c.want {
			t.Errorf("%s: signs with %q, want %q", name, got, c.want)
		}
	}
	if !(task.SealedSecret{}).IsZero() || second.IsZero() {
		t.Error("wrong about which one is none")
	}
	clone := second.Clone()
	clone.Current[0], clone.Previous[0] = 'x', 'x'
	if string(second.Current) != "b" || string(second.Previous) != "a" {
		t.Error("a clone shares bytes")
	}
	text, err := json.Marshal(second)
	var back task.SealedSecret
	if err != nil || json.Unmarshal(text, &back) != nil || !reflect.DeepEqual(back, second) {
		t.Errorf("%s, %v", text, err)
	}
	if text, err = json.Marshal(first); err != nil || string(text) != `{"current":"YQ=="}` {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestCallbacksEndpoint(t *testing.T) {
	p := task.Project{Name: "acme", CallbackSecret: task.SealedSecret{Current: []byte("s")}}
	ep := p.Callbacks()
	if !ep.Builtin || !ep.Deliverable() || ep.ID() != task.MakeEndpointID("acme", "$callbacks") ||
		ep.TimeoutFor(&task.Spec{}) != 15*time.Second || string(ep.SealedSecret.Current) != "s" {
		t.Errorf("got %+v", ep)
	}
}

func TestPublicKeys(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	shared := task.SealedSecret{Current: []byte("a")}
	pair := shared.Rotated([]byte("b"), "pub-b", now.Add(time.Hour))
	next := pair.Rotated([]byte("c"), "pub-c", now.Add(time.Hour))
	for i, c := range []struct {
		s    task.SealedSecret
		at   time.Time
		want []string
	}{
		{shared, now, nil},
		{pair, now, []string{"pub-b"}},
		{next, now, []string{"pub-c", "pub-b"}},
		{next, now.Add(time.Hour), []string{"pub-c"}},
		{next.Rotated([]byte("d"), "", now.Add(time.Hour)), now, []string{"pub-c"}},
	} {
		if got := c.s.PublicAt(c.at); !slices.Equal(got, c.want) {
			t.Errorf("%d: %v", i, got)
		}
	}
}
