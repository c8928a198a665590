package registry_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/task"
)

func addKey(t *testing.T, r *registry.Registry, project, id string) {
	t.Helper()
	k, err := r.AddKey(t.Context(), task.APIKey{ID: id, Project: project, Scopes: []task.Scope{"admin"}, Digest: []byte{1}})
	if err != nil || k.CreatedAt.IsZero() {
		t.Fatal(k, err)
	}
}

func TestKeys(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	if _, err := r.AddKey(t.Context(), task.APIKey{ID: "1", Project: "p"}); task.CodeOf(err) != task.CodeNotFound {
		t.Errorf("a key of no project: %v", err)
	}
	for _, project := range []string{"p", "q"} {
		putProject(t, r, project, "s")
	}
	for _, id := range []string{"3", "1", "2"} {
		addKey(t, r, "p", id)
	}
	addKey(t, r, "q", "4")
	if _, err := r.AddKey(t.Context(), task.APIKey{ID: "1", Project: "p"}); task.CodeOf(err) != task.CodeConflict {
		t.Errorf("the same id twice: %v", err)
	}
	if all := r.Keys("p"); len(all) != 3 || all[0].ID != "1" || all[2].ID != "3" {
		t.Errorf("got %+v", all)
	}
	k, ok := r.Key("p", "1")
	if !ok {
		t.Fatal("not found")
	}
	k.Scopes[0], k.Digest[0] = "spoiled", 9
	if found, known := r.FindKey("1"); !known || found.Project != "p" || found.Scopes[0] != "admin" || found.Digest[0] != 1 {
		t.Errorf("%+v %v", found, known)
	}
	if _, ok := r.Key("q", "1"); ok {
		t.Error("found in another project")
	}
	if err := r.DeleteKey(t.Context(), "q", "1", nil); task.CodeOf(err) != task.CodeNotFound {
		t.Errorf("deleted in another project: %v", err)
	}
	no := task.Errorf(task.CodeReadOnly, "no")
	if err := r.DeleteKey(t.Context(), "p", "1", func(*task.APIKey) error { return no }); err != error(no) { //nolint:errorlint // as it is
		t.Errorf("got %v", err)
	}
	if err := r.DeleteKey(t.Context(), "p", "1", nil); err != nil {
		t.Fatal(err)
	}
	if found, known := r.FindKey("1"); found != nil || !known {
		t.Errorf("%+v %v", found, known)
	}
	if found, known := r.FindKey("never"); found != nil || known {
		t.Errorf("%+v %v", found, known)
	}
}

func TestKeysAreBounded(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	putProject(t, r, "p", "s")
	value := `{"id":"%[1]d","project":"p","name":"","scopes":null,"digest":"","created_at":"2026-01-01T00:00:00Z"}`
	f.set(func(f *fake) {
		for i := range registry.MaxKeys {
			f.s.Version++
			f.s.Items = append(f.s.Items, registry.Item{
				Key:   registry.Key{Kind: "key", Project: "p", Name: fmt.Sprint(i)},
				Value: fmt.Appendf(nil, value, i), Revision: f.s.Version,
			})
		}
	})
	_, err := r.AddKey(t.Context(), task.APIKey{ID: "one more", Project: "p"})
	if n := len(r.Keys("p")); n != registry.MaxKeys || task.CodeOf(err) != task.CodeConflict {
		t.Fatalf("%d keys, %v", n, err)
	}
	if err := r.DeleteKey(t.Context(), "p", "7", nil); err != nil {
		t.Fatal(err)
	}
	addKey(t, r, "p", "one more")
}

// TestRevokedKeyStaysRevoked: a process that has not heard of the end of a
// key puts it back into a store that began anew; who has ends it again.
func TestRevokedKeyStaysRevoked(t *testing.T) {
	f := newFake()
	knows, behind := registry.New(f, registry.Options{}), registry.New(f, registry.Options{})
	putProject(t, knows, "p", "s")
	addKey(t, knows, "p", "1")
	if err := behind.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := knows.DeleteKey(t.Context(), "p", "1", nil); err != nil {
		t.Fatal(err)
	}
	f.set(func(f *fake) { f.s = registry.State{} })
	put(t, registry.New(f, registry.Options{}), "p", "made anew")
	for _, r := range []*registry.Registry{behind, knows, behind} {
		if err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*registry.Registry{knows, behind} {
		if k, known := r.FindKey("1"); k != nil || !known {
			t.Errorf("%+v %v", k, known)
		}
	}
}

// TestUses: last uses are written seldom, survive the process, and change
// nothing in the registry.
func TestUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		putProject(t, r, "p", "s")
		addKey(t, r, "p", "1")
		addKey(t, r, "p", "2")
		version := f.s.Version
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		used := time.Now()
		sleep := func(d time.Duration) {
			timer := time.NewTimer(d)
			<-timer.C
			synctest.Wait()
		}
		// Ten minutes of use, three times a second.
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); sleep(333 * time.Millisecond) {
			used = time.Now()
			r.UseKey("1", used)
			r.UseKey("gone", used)
		}
		if f.touches < 9 || f.touches > 11 {
			t.Errorf("%d writes in ten minutes", f.touches)
		}
		other := registry.New(f, registry.Options{})
		check := func(r *registry.Registry, late time.Duration) {
			t.Helper()
			uses, err := r.KeyUses(t.Context())
			if at := uses["1"]; err != nil || used.Sub(at) > late || at.After(used) {
				t.Errorf("last use %v before, %v", used.Sub(at), err)
			}
			if _, ok := uses["2"]; ok {
				t.Error("used is what never was")
			}
		}
		check(r, time.Millisecond)
		check(other, time.Minute+6*time.Second)

		// A store that is away is tried again.
		f.set(func(f *fake) { f.failing = registry.ErrUnavailable })
		sleep(2 * time.Minute)
		if _, err := r.KeyUses(t.Context()); task.CodeOf(err) != task.CodeUnavailable {
			t.Error(err)
		}
		f.set(func(f *fake) { f.failing = nil })
		sleep(6 * time.Second)
		check(other, time.Millisecond)

		// The end writes what is left.
		used = time.Now()
		r.UseKey("1", used)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		check(other, time.Millisecond)
		if f.s.Version != version {
			t.Errorf("version %d after %d", f.s.Version, version)
		}
		if _, ok := f.uses["gone"]; ok {
			t.Error("a use of no key is kept")
		}
	})
}

func TestUsesOfRevokedKey(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	putProject(t, r, "p", "s")
	addKey(t, r, "p", "1")
	r.UseKey("1", time.Now())
	if err := r.DeleteKey(t.Context(), "p", "1", nil); err != nil {
		t.Fatal(err)
	}
	if uses, err := r.KeyUses(t.Context()); err != nil || !uses["1"].IsZero() {
		t.Errorf("%v, %v", uses, err)
	}
}
