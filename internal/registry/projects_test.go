package registry_test

import (
	"slices"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/task"
)

func secret(text string) func(*task.Project) (task.Project, error) {
	return func(*task.Project) (task.Project, error) {
		return task.Project{CallbackSecret: task.SealedSecret{Current: []byte(text)}}, nil
	}
}

func putProject(t *testing.T, r *registry.Registry, name, text string) task.Project {
	t.Helper()
	_, p, err := r.UpdateProject(t.Context(), name, secret(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProjects(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	for _, name := range []string{"b", "a"} {
		if p := putProject(t, r, name, "1"); p.Name != name || p.CreatedAt.IsZero() || !p.CreatedAt.Equal(p.UpdatedAt) {
			t.Errorf("got %+v", p)
		}
	}
	created, p, err := r.UpdateProject(t.Context(), "a", secret("2"))
	if err != nil || created || p.UpdatedAt.Before(p.CreatedAt) {
		t.Errorf("%v %+v %v", created, p, err)
	}
	var names []string
	for _, p := range r.Projects() {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("got %v", names)
	}
	got, ok := r.Project("a")
	if !ok || string(got.CallbackSecret.Current) != "2" {
		t.Fatalf("%+v %v", got, ok)
	}
	got.CallbackSecret.Current[0] = 'x'
	if again, _ := r.Project("a"); string(again.CallbackSecret.Current) != "2" {
		t.Error("spoiled")
	}
	if _, ok := r.Project("c"); ok {
		t.Error("found")
	}
	if err := r.DeleteProject(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteProject(t.Context(), "a"); task.CodeOf(err) != task.CodeNotFound {
		t.Error(err)
	}
}

// TestBuiltin: a project brings an endpoint for its callbacks, for those who
// deliver and nobody else.
func TestBuiltin(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	putProject(t, r, "p", "hush")
	put(t, r, "p", "a")
	put(t, r, "o", "z")
	id := task.MakeEndpointID("p", task.CallbackEndpoint)
	ep, deleted, ok := r.EndpointByID(id)
	if !ok || deleted || !ep.Builtin || string(ep.SealedSecret.Current) != "hush" || ep.Timeout.Std() != 15*time.Second {
		t.Fatalf("%+v %v %v", ep, deleted, ok)
	}
	wantNames(t, r, "o/z", "p/$callbacks", "p/a")
	if got := r.Endpoints("p"); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("registered: %+v", got)
	}
	if _, ok := r.Endpoint("p", task.CallbackEndpoint); ok {
		t.Error("found by name")
	}

	// Nobody changes it.
	before := f.s.Version
	if held, err := r.DisableEndpoint(t.Context(), ep, task.ReasonGone); held || err != nil {
		t.Error(held, err)
	}
	if _, _, err := r.UpdateEndpoint(t.Context(), "p", task.CallbackEndpoint, url("x")); task.CodeOf(err) != task.CodeInvalid {
		t.Error(err)
	}
	if err := r.DeleteEndpoint(t.Context(), "p", task.CallbackEndpoint); task.CodeOf(err) != task.CodeNotFound {
		t.Error(err)
	}
	if ep, _, _ := r.EndpointByID(id); f.s.Version != before || !ep.Deliverable() {
		t.Errorf("changed: %+v", ep)
	}

	// It follows its project.
	putProject(t, r, "p", "new")
	if ep, _, _ := r.EndpointByID(id); string(ep.SealedSecret.Current) != "new" {
		t.Errorf("%+v", ep)
	}
	emptied(t, r, "p", "a")
	if err := r.DeleteProject(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if _, deleted, ok := r.EndpointByID(id); ok || !deleted {
		t.Errorf("deleted %v, ok %v", deleted, ok)
	}
	wantNames(t, r, "o/z")
	if got := r.EndpointNames("p"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("endpoints there ever were: %v", got)
	}
	if got := r.ProjectNames(); !slices.Equal(got, []string{"p"}) {
		t.Errorf("projects there ever were: %v", got)
	}
}

// emptied empties a project of its endpoint and a key; until then it stays.
func emptied(t *testing.T, r *registry.Registry, project, endpoint string) {
	t.Helper()
	addKey(t, r, project, "k")
	for _, next := range []func() error{
		func() error { return r.DeleteEndpoint(t.Context(), project, endpoint) },
		func() error { return r.DeleteKey(t.Context(), project, "k", nil) },
	} {
		if err := r.DeleteProject(t.Context(), project); task.CodeOf(err) != task.CodeConflict {
			t.Errorf("deleted although it is not empty: %v", err)
		}
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnchanged(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	leave := func(old *task.Project) (task.Project, error) {
		if old != nil {
			old.CallbackSecret.Current = []byte("spoiled")
		}
		return task.Project{}, task.ErrUnchanged
	}
	if _, _, err := r.UpdateProject(t.Context(), "p", leave); err != task.ErrUnchanged { //nolint:errorlint // as it is
		t.Errorf("of nothing: %v", err)
	}
	putProject(t, r, "p", "1")
	before := f.s.Version
	created, p, err := r.UpdateProject(t.Context(), "p", leave)
	if err != nil || created || string(p.CallbackSecret.Current) != "1" || f.s.Version != before {
		t.Errorf("%v %+v %v, version %d after %d", created, p, err, f.s.Version, before)
	}
}

// TestMergeKeepsElderProject: a process that starts on an emptied store makes
// the default project anew; who remembers the old one puts it back.
func TestMergeKeepsElderProject(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	putProject(t, r, "default", "old")
	putProject(t, r, "gone", "old")
	f.set(func(f *fake) { f.s = registry.State{} })
	fresh := registry.New(f, registry.Options{})
	putProject(t, fresh, "default", "new")
	putProject(t, fresh, "gone", "new")
	if err := fresh.DeleteProject(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*registry.Registry{r, fresh} {
		if err := who.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p, _ := who.Project("default"); string(p.CallbackSecret.Current) != "old" {
			t.Errorf("secret %s", p.CallbackSecret.Current)
		}
		if _, ok := who.Project("gone"); ok {
			t.Error("a deletion is undone")
		}
	}
}
