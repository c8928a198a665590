package registry_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/task"
)

// indented is what an item looks like after a way through a file.
func indented(t *testing.T, it registry.Item) registry.Item {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, it.Value, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return registry.Item{Key: it.Key, Value: out.Bytes()}
}

func TestBackup(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	for _, name := range []string{"p", "a"} {
		putProject(t, r, name, "<s&>")
		put(t, r, name, "e")
		addKey(t, r, name, "1"+name)
		addKey(t, r, name, "2"+name)
	}
	put(t, r, "p", "gone")
	if err := r.DeleteEndpoint(t.Context(), "p", "gone"); err != nil {
		t.Fatal(err)
	}
	items, err := r.Export(t.Context())
	if err != nil || len(items) != 8 || items[0].Kind != "project" || items[1].Kind != "project" || items[0].Project != "a" {
		t.Fatalf("%+v, %v", items, err)
	}
	count := func(r *registry.Registry, dry bool) map[registry.Imported]int {
		t.Helper()
		got := make(map[registry.Imported]int)
		for _, it := range items {
			did, err := r.Import(t.Context(), indented(t, it), dry)
			if err != nil {
				t.Fatal(err)
			}
			got[did]++
		}
		return got
	}
	want := func(got map[registry.Imported]int, want map[registry.Imported]int) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}

	// Into an emptied store that nobody remembers.
	empty := newFake()
	other := registry.New(empty, registry.Options{})
	want(count(other, true), map[registry.Imported]int{registry.ImportCreated: 8})
	if empty.s.Version != 0 {
		t.Error("a dry run writes")
	}
	want(count(other, false), map[registry.Imported]int{registry.ImportCreated: 8})
	want(count(other, false), map[registry.Imported]int{registry.ImportUnchanged: 8})
	again, err := other.Export(t.Context())
	if err != nil || len(again) != len(items) {
		t.Fatalf("%d items, %v", len(again), err)
	}
	for i := range items {
		if again[i].Key != items[i].Key || !bytes.Equal(again[i].Value, items[i].Value) {
			t.Errorf("got %s, want %s", again[i].Value, items[i].Value)
		}
	}

	// Into one that went on.
	putProject(t, other, "p", "newer")
	if err := other.DeleteEndpoint(t.Context(), "a", "e"); err != nil {
		t.Fatal(err)
	}
	if err := other.DeleteKey(t.Context(), "a", "1a", nil); err != nil {
		t.Fatal(err)
	}
	mixed := map[registry.Imported]int{
		registry.ImportUnchanged: 5, registry.ImportReplaced: 1, registry.ImportCreated: 1, registry.ImportRevoked: 1,
	}
	want(count(other, true), mixed)
	want(count(other, false), mixed)
	if p, _ := other.Project("p"); string(p.CallbackSecret.Current) != "<s&>" {
		t.Errorf("%s", p.CallbackSecret.Current)
	}
	if k, _ := other.FindKey("1a"); k != nil {
		t.Error("a revoked key is back")
	}
	wantNames(t, other, "a/$callbacks", "a/e", "p/$callbacks", "p/e")
}

func TestImportRefuses(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	for name, it := range map[string]registry.Item{
		"unknown kind": {Key: registry.Key{Kind: "schedule", Project: "p", Name: "a"}, Value: []byte(`{}`)},
		"no JSON":      {Key: registry.Key{Kind: "endpoint", Project: "p", Name: "a"}, Value: []byte(`{`)},
		"other name":   {Key: registry.Key{Kind: "endpoint", Project: "p", Name: "a"}, Value: []byte(`{"project":"p","name":"b"}`)},
		"other type":   {Key: registry.Key{Kind: "project", Project: "p"}, Value: []byte(`{"name":5}`)},
		"other owner":  {Key: registry.Key{Kind: "key", Project: "p", Name: "a"}, Value: []byte(`{"id":"a","project":"q"}`)},
	} {
		if _, err := r.Import(t.Context(), it, false); task.CodeOf(err) != task.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFake()
	f.failing = registry.ErrUnavailable
	it := registry.Item{Key: registry.Key{Kind: "project", Project: "p"}, Value: []byte(`{"name":"p"}`)}
	if _, err := registry.New(f, registry.Options{}).Import(t.Context(), it, true); task.CodeOf(err) != task.CodeUnavailable {
		t.Error(err)
	}
}
