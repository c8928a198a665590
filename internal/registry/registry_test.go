package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/taskgate/taskgate/internal/registry"
	"github.com/taskgate/taskgate/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a registry store in memory that can be emptied, made to fail, and
// whose hints can be lost.
type fake struct {
	mu        sync.Mutex
	s         registry.State
	watchers  []func()
	deaf      bool
	failing   error
	beforePut func(*registry.State)
	ready     chan struct{}
	uses      map[string]time.Time
	touches   int
}

func newFake() *fake { return &fake{ready: make(chan struct{}, 9)} }

func (f *fake) Version(context.Context) (string, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s.Epoch, f.s.Version, f.failing
}

func (f *fake) Load(context.Context) (registry.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.s
	s.Items = slices.Clone(f.s.Items)
	return s, f.failing
}

func (f *fake) Put(_ context.Context, it registry.Item, expect int64, epoch string) (int64, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hook := f.beforePut; hook != nil {
		f.beforePut = nil
		hook(&f.s)
	}
	at := slices.IndexFunc(f.s.Items, func(i registry.Item) bool { return i.Key == it.Key })
	var present int64
	if at >= 0 && !f.s.Items[at].Deleted {
		present = f.s.Items[at].Revision
	}
	if f.failing != nil || expect != -1 && expect != present {
		return 0, false, f.failing
	}
	if f.s.Epoch == "" {
		f.s.Epoch = epoch
	}
	f.s.Version++
	it.Revision = f.s.Version
	if at >= 0 {
		f.s.Items[at] = it
	} else {
		f.s.Items = append(f.s.Items, it)
	}
	f.tell()
	return f.s.Version, true, nil
}

func (f *fake) Seed(_ context.Context, s registry.State) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil || f.s.Epoch != "" && (f.s.Epoch != s.Epoch || f.s.Version >= s.Version) {
		return false, f.failing
	}
	f.s = s
	f.s.Items = slices.Clone(s.Items)
	f.tell()
	return true, nil
}

func (f *fake) tell() {
	if f.deaf {
		return
	}
	for _, w := range f.watchers {
		w()
	}
}

func (f *fake) Watch(ctx context.Context, changed func()) error {
	f.mu.Lock()
	f.watchers = append(f.watchers, changed)
	f.mu.Unlock()
	changed()
	<-ctx.Done()
	return nil
}

func (f *fake) Touch(_ context.Context, uses map[string]time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil {
		return f.failing
	}
	if f.uses == nil {
		f.uses = make(map[string]time.Time)
	}
	f.touches++
	maps.Copy(f.uses, uses)
	return nil
}

func (f *fake) Touched(context.Context) (map[string]time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.uses), f.failing
}

func (f *fake) Close() error { return nil }

func (f *fake) set(do func(f *fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

func url(to string) func(*task.Endpoint) (task.Endpoint, error) {
	return func(old *task.Endpoint) (task.Endpoint, error) {
		if old == nil {
			old = new(task.Endpoint)
		}
		old.URL = to
		return *old, nil
	}
}

func put(t *testing.T, r *registry.Registry, project, name string) {
	t.Helper()
	if _, _, err := r.UpdateEndpoint(t.Context(), project, name, url("http://"+name)); err != nil {
		t.Fatal(err)
	}
}

func names(r *registry.Registry) (out []string) {
	for _, ep := range r.Endpoints("") {
		out = append(out, ep.Project+"/"+ep.Name)
	}
	return out
}

func wantNames(t *testing.T, r *registry.Registry, want ...string) {
	t.Helper()
	if got := names(r); !slices.Equal(got, want) {
		t.Fatalf("endpoints %v, want %v", got, want)
	}
}

func TestUpdate(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	r := registry.New(newFake(), registry.Options{Now: func() time.Time { return now }})
	created, ep, err := r.UpdateEndpoint(t.Context(), "p", "a", url("http://one"))
	if err != nil || !created || ep.Project != "p" || ep.Name != "a" || !ep.CreatedAt.Equal(now) {
		t.Fatalf("%v %+v %v", created, ep, err)
	}
	then := now
	now = now.Add(time.Hour)
	created, ep, err = r.UpdateEndpoint(t.Context(), "p", "a", url("http://two"))
	if err != nil || created || !ep.CreatedAt.Equal(then) || !ep.UpdatedAt.Equal(now) {
		t.Fatalf("%v %+v %v", created, ep, err)
	}
	got, ok := r.Endpoint("p", "a")
	if !ok || got.URL != "http://two" {
		t.Fatalf("%+v %v", got, ok)
	}
	mine := errors.New("mine")
	_, _, err = r.UpdateEndpoint(t.Context(), "p", "a", func(*task.Endpoint) (task.Endpoint, error) {
		return task.Endpoint{}, mine
	})
	if err != mine { //nolint:errorlint // as it is
		t.Fatalf("got %v", err)
	}
}

func TestDelete(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	put(t, r, "p", "a")
	id := task.MakeEndpointID("p", "a")
	if err := r.DeleteEndpoint(t.Context(), "p", "a"); err != nil {
		t.Fatal(err)
	}
	if _, deleted, ok := r.EndpointByID(id); ok || !deleted {
		t.Fatalf("ok %v, deleted %v", ok, deleted)
	}
	if _, deleted, ok := r.EndpointByID("never heard of"); ok || deleted {
		t.Fatalf("ok %v, deleted %v", ok, deleted)
	}
	if err := r.DeleteEndpoint(t.Context(), "p", "a"); task.CodeOf(err) != task.CodeNotFound {
		t.Fatal(err)
	}
	put(t, r, "p", "a")
	if _, deleted, ok := r.EndpointByID(id); !ok || deleted {
		t.Fatalf("ok %v, deleted %v", ok, deleted)
	}
}

func TestDisable(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	put(t, r, "p", "a")
	id := task.MakeEndpointID("p", "a")
	called, _, _ := r.EndpointByID(id)
	for i, why := range []task.Reason{task.ReasonGone, task.ReasonInternal} {
		if held, err := r.DisableEndpoint(t.Context(), called, why); err != nil || held != (i == 0) {
			t.Fatal(held, err)
		}
	}
	if ep, _, _ := r.EndpointByID(id); ep.Disabled != task.ReasonGone {
		t.Fatalf("disabled %q", ep.Disabled)
	}
	nobody := &task.Endpoint{Project: "p", Name: "nobody"}
	if _, err := r.DisableEndpoint(t.Context(), nobody, task.ReasonGone); task.CodeOf(err) != task.CodeNotFound {
		t.Fatal(err)
	}
}

// What an old URL says late does not hold the tasks of the one that replaced it.
func TestDisableRepaired(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	put(t, r, "p", "a")
	id := task.MakeEndpointID("p", "a")
	called, _, _ := r.EndpointByID(id)
	if _, _, err := r.UpdateEndpoint(t.Context(), "p", "a", url("https://repaired.example/")); err != nil {
		t.Fatal(err)
	}
	if held, err := r.DisableEndpoint(t.Context(), called, task.ReasonGone); held || err != nil {
		t.Fatal(held, err)
	}
	if ep, _, _ := r.EndpointByID(id); ep.Disabled != task.ReasonNone {
		t.Fatalf("disabled %q", ep.Disabled)
	}
}

func TestCopies(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	attempts := 3
	_, _, err := r.UpdateEndpoint(t.Context(), "p", "a", func(*task.Endpoint) (task.Endpoint, error) {
		return task.Endpoint{
			Headers: map[string]string{"a": "b"}, Labels: map[string]string{"l": "m"}, SealedSecret: task.SealedSecret{Current: []byte{1}, Previous: []byte{1}},
			Retry:  &task.Retry{MaxAttempts: &attempts, RetryOn: task.StatusSet{"409"}},
			Result: task.ResultPolicy{KeepHeaders: []string{"x"}},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(ep *task.Endpoint) {
		ep.Headers["a"], ep.Labels["l"], ep.SealedSecret.Current[0] = "spoiled", "spoiled", 9
		*ep.Retry.MaxAttempts, ep.Retry.RetryOn[0], ep.Result.KeepHeaders[0] = 99, "500", "spoiled"
		ep.URL = "spoiled"
	}
	one, _ := r.Endpoint("p", "a")
	spoil(one)
	spoil(&r.Endpoints("")[0])
	two, _ := r.Endpoint("p", "a")
	if two.Headers["a"] != "b" || two.Labels["l"] != "m" || two.SealedSecret.Current[0] != 1 || *two.Retry.MaxAttempts != 3 ||
		two.Retry.RetryOn[0] != "409" || two.Result.KeepHeaders[0] != "x" || two.URL != "" {
		t.Fatalf("spoiled: %+v", two)
	}
}

func TestList(t *testing.T) {
	r := registry.New(newFake(), registry.Options{})
	for _, n := range []string{"b", "c", "a"} {
		put(t, r, "p", n)
		put(t, r, "o", n)
	}
	wantNames(t, r, "o/a", "o/b", "o/c", "p/a", "p/b", "p/c")
	if got := r.Endpoints("p"); len(got) != 3 || got[0].Name != "a" {
		t.Fatalf("%+v", got)
	}
}

// TestRaces: processes that change one endpoint at once lose nothing.
func TestRaces(t *testing.T) {
	f := newFake()
	rs := []*registry.Registry{registry.New(f, registry.Options{}), registry.New(f, registry.Options{})}
	const writers = 8
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, _, err := rs[i%2].UpdateEndpoint(t.Context(), "p", "a", func(old *task.Endpoint) (task.Endpoint, error) {
				ep := task.Endpoint{Labels: map[string]string{}}
				if old != nil {
					ep = *old
				}
				ep.Labels[fmt.Sprint(i)] = "was here"
				return ep, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range rs {
		if err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ep, _ := r.Endpoint("p", "a"); len(ep.Labels) != writers {
			t.Errorf("%d of %d changes", len(ep.Labels), writers)
		}
	}
}

// TestEmptied: an emptied store is seeded again, whoever notices, and however.
func TestEmptied(t *testing.T) {
	empty := func(f *fake) { f.s = registry.State{} }
	t.Run("sync", func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		put(t, r, "p", "a")
		f.set(empty)
		if err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, r, "p/a")
		if len(f.s.Items) != 1 {
			t.Error("not seeded")
		}
	})
	t.Run("update", func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		put(t, r, "p", "a")
		f.set(empty)
		put(t, r, "p", "b")
		other := registry.New(f, registry.Options{})
		if err := other.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, other, "p/a", "p/b")
	})
	t.Run("just before the write", func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		put(t, r, "p", "a")
		put(t, r, "p", "b")
		f.set(func(f *fake) { f.beforePut = func(s *registry.State) { *s = registry.State{} } })
		put(t, r, "p", "c")
		other := registry.New(f, registry.Options{})
		if err := other.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, other, "p/a", "p/b", "p/c")
		wantNames(t, r, "p/a", "p/b", "p/c")
	})
	t.Run("its tail", func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		put(t, r, "p", "a")
		old, _ := f.Load(t.Context())
		put(t, r, "p", "b")
		f.set(func(f *fake) { f.s = old })
		if err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(f.s.Items) != 2 {
			t.Error("not seeded")
		}
	})
	t.Run("and begun anew by another process", func(t *testing.T) {
		f := newFake()
		r := registry.New(f, registry.Options{})
		put(t, r, "p", "a")
		put(t, r, "p", "b")
		put(t, r, "p", "dead")
		if err := r.DeleteEndpoint(t.Context(), "p", "dead"); err != nil {
			t.Fatal(err)
		}
		f.set(empty)
		fresh := registry.New(f, registry.Options{})
		if _, _, err := fresh.UpdateEndpoint(t.Context(), "p", "b", url("http://newer")); err != nil {
			t.Fatal(err)
		}
		if err := r.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, r, "p/a", "p/b")
		if ep, _ := r.Endpoint("p", "b"); ep.URL != "http://newer" {
			t.Errorf("b is %s", ep.URL)
		}
	})
}

func TestUnavailable(t *testing.T) {
	f := newFake()
	r := registry.New(f, registry.Options{})
	put(t, r, "p", "a")
	f.set(func(f *fake) { f.failing = registry.ErrUnavailable })
	if err := r.Sync(t.Context()); task.CodeOf(err) != task.CodeUnavailable {
		t.Error(err)
	}
	if _, _, err := r.UpdateEndpoint(t.Context(), "p", "b", url("x")); task.CodeOf(err) != task.CodeUnavailable {
		t.Error(err)
	}
	wantNames(t, r, "p/a")
}

// The status tells how old the memory may be while the store is away.
func TestStatus(t *testing.T) {
	f, now := newFake(), time.Unix(1000, 0)
	r := registry.New(f, registry.Options{Now: func() time.Time { return now }})
	if st := r.Status(); st != (registry.Status{}) {
		t.Errorf("before the first look: %+v", st)
	}
	put(t, r, "p", "a")
	put(t, r, "p", "b")
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := registry.Status{Version: 2, Synced: now, Endpoints: 2}
	if st := r.Status(); st != want {
		t.Errorf("%+v, want %+v", st, want)
	}
	f.set(func(f *fake) { f.failing = registry.ErrUnavailable })
	now = now.Add(time.Minute)
	_ = r.Sync(t.Context())
	if st := r.Status(); st != want {
		t.Errorf("%+v after a failure, want %+v", st, want)
	}
}

func TestUnreadableItem(t *testing.T) {
	f := newFake()
	f.s = registry.State{Epoch: "e", Version: 1, Items: []registry.Item{
		{Key: registry.Key{Kind: "endpoint", Project: "p", Name: "a"}, Value: []byte("garbage"), Revision: 1},
		{Key: registry.Key{Kind: "schedule", Project: "p", Name: "a"}, Value: []byte("not ours"), Revision: 1},
	}}
	r := registry.New(f, registry.Options{})
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, r)
}

// TestRun: a change of another process shows at once by its hint, and within
// the poll's 5 s without.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r, other := registry.New(f, registry.Options{}), registry.New(f, registry.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		changed := r.Changes()
		put(t, other, "p", "a")
		<-changed
		wantNames(t, r, "p/a")

		f.set(func(f *fake) { f.deaf = true })
		changed = r.Changes()
		start := time.Now()
		put(t, other, "p", "b")
		<-changed
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("seen after %v", took)
		}
		wantNames(t, r, "p/a", "p/b")

		f.set(func(f *fake) { f.failing = registry.ErrUnavailable })
		synctest.Wait()
		f.set(func(f *fake) { f.failing, f.s = nil, registry.State{} })
		timer := time.NewTimer(6 * time.Second)
		<-timer.C
		synctest.Wait()
		if s, _ := f.Load(ctx); len(s.Items) != 2 {
			t.Errorf("%d items given back", len(s.Items))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
