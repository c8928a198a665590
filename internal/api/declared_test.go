package api_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/task"
)

// environment of the files.
func environment(name string) (string, bool) {
	value, ok := map[string]string{
		"EMAILS_SECRET": "whsec_from_the_environment", "TOKEN": "poison-token", "BAD": "poison", "EMPTY": "",
	}[name]
	return value, ok
}

func declare(t *testing.T, text string) *api.Declared {
	t.Helper()
	d, err := api.ReadDeclared([]byte(text), environment, api.Deps{CheckURL: checkURL, Secrets: secrets{}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Every fault of a file is told at once, with its line, and without a value
// that may be a secret.
func TestDeclaredFaults(t *testing.T) {
	long := strings.Repeat("x", 101)
	bomb := "x-a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("x-%c: &%c [%s]\n", 'b'+i, 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", 'a'+i), 10), ","))
	}
	for name, c := range map[string]struct {
		file string
		want []string // "line pointer"
	}{
		"empty":            {"", []string{"0 "}},
		"only a comment":   {"# nothing\n", []string{"0 "}},
		"null":             {"null\n", []string{"0 "}},
		"a list":           {"- a\n", []string{"1 "}},
		"not YAML":         {"endpoints:\n  a: [poison\n", []string{"1 "}},
		"two documents":    {"endpoints: {}\n---\nendpoints: {}\n", []string{"2 "}},
		"unknown fields":   {"endpoint: {}\nprojects:\n  acme:\n    sceret: x\n", []string{"1 /endpoint", "4 /projects/acme/sceret"}},
		"names":            {"endpoints:\n  a b: {url: 'https://a'}\n  $callbacks: {url: 'https://a'}\n  " + long + ": {url: 'https://a'}\nprojects:\n  Acme: {}\n", []string{"2 /endpoints/a b", "3 /endpoints/$callbacks", "4 /endpoints/" + long, "6 /projects/Acme"}},
		"name twice":       {"endpoints:\n  a: {url: 'https://a'}\n  a: {url: 'https://b'}\n", []string{"3 /endpoints/a"}},
		"merge key":        {"x-shared: &x {url: 'https://a'}\nendpoints:\n  a:\n    <<: *x\n", []string{"3 /endpoints/a/url", "4 /endpoints/a/<<"}},
		"no URL":           {"endpoints:\n  a: {}\n  b:\n", []string{"2 /endpoints/a/url", "3 /endpoints/b"}},
		"not a mapping":    {"endpoints: [a]\nprojects: 1\n", []string{"1 /endpoints", "2 /projects"}},
		"project is text":  {"projects:\n  acme: yes please\n", []string{"2 /projects/acme"}},
		"secret":           {"projects:\n  acme:\n    secret: poison\n  other:\n    secret: 5\n", []string{"3 /projects/acme/secret", "5 /projects/other/secret"}},
		"environment":      {"endpoints:\n  a:\n    url: https://a\n    secret: ${NOT_SET}\n  b:\n    url: https://a\n    secret: ${BAD}\n  c:\n    url: https://a\n    secret: ${EMPTY}\n", []string{"10 /endpoints/c/secret", "4 /endpoints/a/secret", "7 /endpoints/b/secret"}},
		"auth":             {"endpoints:\n  b:\n    url: https://a\n    auth:\n      type: bearer\n", []string{"4 /endpoints/b/auth/token"}},
		"auth's value":     {"endpoints:\n  b:\n    url: https://a\n    auth: {type: bearer, token: 'poison poison'}\n", []string{"4 /endpoints/b/auth/token"}},
		"types":            {"endpoints:\n  b:\n    url: 5\n    paused: 'yes'\n    labels: {a: 1}\n    retry: {max_attempts: 1.5, jitter: .inf}\n", []string{"3 /endpoints/b/url", "4 /endpoints/b/paused", "5 /endpoints/b/labels/a", "6 /endpoints/b/retry/jitter", "6 /endpoints/b/retry/max_attempts"}},
		"meaning":          {"endpoints:\n  b:\n    url: ftp://a\n    timeout: 26m\n    retry:\n      min_backoff: 2h\n      max_backoff: 1h\n      schedule: [1s, soon]\nprojects:\n  acme:\n    endpoints:\n      c: {url: 'https://a', headers: {Cookie: poison}}\n", []string{"3 /endpoints/b/url", "4 /endpoints/b/timeout", "6 /endpoints/b/retry/min_backoff", "8 /endpoints/b/retry/schedule/1", "12 /projects/acme/endpoints/c/headers/Cookie"}},
		"aliases multiply": {bomb + "endpoints: *i\n", []string{"1 "}},
		"nested too deep":  {"endpoints:\n  a: " + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "\n", []string{"2 /endpoints/a", "2 /endpoints/a" + strings.Repeat("/0", 31)}},
		"names itself":     {"endpoints: &a\n  a: *a\n", []string{"2 /endpoints" + strings.Repeat("/a", 32), "2 /endpoints/a/a", "2 /endpoints/a/url"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := api.ReadDeclared([]byte(c.file), environment, api.Deps{CheckURL: checkURL, Secrets: secrets{}})
			faults, _ := errors.AsType[api.FileErrors](err)
			var got []string
			for _, f := range faults {
				got = append(got, fmt.Sprintf("%d %s", f.Line, f.Pointer))
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q: %v", got, c.want, err)
			}
			if err != nil && strings.Contains(err.Error(), "poison") {
				t.Errorf("a value is told: %v", err)
			}
		})
	}
}

// applying is an API and the files that it is given.
type applying struct {
	*world
	*client
	server *api.Server
}

func newApplying(t *testing.T) *applying {
	t.Helper()
	w := newWorld()
	s := w.server(t)
	return &applying{world: w, client: newClient(t, s), server: s}
}

func (a *applying) apply(t *testing.T, text string) api.Applied {
	t.Helper()
	a.log = nil
	applied, err := a.server.Apply(t.Context(), declare(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// unchanged: the file is what is there already.
func (a *applying) unchanged(t *testing.T, text string) {
	t.Helper()
	if again := a.apply(t, text); len(again.Set)+len(again.Unlisted) > 0 {
		t.Errorf("the same file changed %+v", again)
	}
}

const declaredFile = `
endpoints:
  new:
    url: https://a.example/
    secret: ${EMAILS_SECRET}
    retry: &r {max_attempts: 3, min_backoff: 10s}
    auth: {type: bearer, token: "${TOKEN}"}
    paused: false
  second: {url: https://b.example/, retry: *r}
projects:
  acme: {secret: whsec_acme}
`

func TestApply(t *testing.T) {
	a := newApplying(t)
	first := a.apply(t, declaredFile)
	if !slices.Equal(first.Set, []string{"acme/", "default/new", "default/second"}) || len(first.Unlisted) > 0 {
		t.Fatalf("%+v", first)
	}
	ep := a.endpoints["new"]
	if string(ep.SealedSecret.Current) != "sealed:whsec_from_the_environment" || ep.Source != task.SourceFile || *ep.Retry.MaxAttempts != 3 ||
		!strings.Contains(string(ep.Auth.Sealed), "poison-token") || ep.Timeout.Std() != 30*time.Second || !ep.FixedSecret || !ep.FixedPaused {
		t.Errorf("%+v", ep)
	}
	if p := a.projects["acme"]; string(p.CallbackSecret.Current) != "sealed:whsec_acme" || p.Source != task.SourceFile {
		t.Errorf("%+v", p)
	}
	if i, j := slices.Index(a.log, "declare queue"), slices.Index(a.log, "update endpoint"); i < 0 || j < i {
		t.Errorf("the queue must be there first: %v", a.log)
	}
	a.unchanged(t, declaredFile)
	readOnly(t, a.client)
	a.unchanged(t, declaredFile)

	// A secret that changes is rotated; what else changes is replaced.
	changed := a.apply(t, strings.NewReplacer("${EMAILS_SECRET}", "whsec_next", "whsec_acme", "whsec_acme2", "https://b", "https://c").Replace(declaredFile))
	if !slices.Equal(changed.Set, first.Set) {
		t.Errorf("%+v", changed)
	}
	ep = a.endpoints["new"]
	if at := ep.SealedSecret.At(time.Now()); len(at) != 2 || string(at[0]) != "sealed:whsec_next" || len(a.projects["acme"].CallbackSecret.At(time.Now())) != 2 {
		t.Errorf("%q", at)
	}
	if a.endpoints["second"].URL != "https://c.example/" {
		t.Errorf("%+v", a.endpoints["second"])
	}
}

// What was there before is taken over, and keeps its secret.
func TestApplyTakesOver(t *testing.T) {
	a := newApplying(t)
	before := string(a.endpoints["emails"].SealedSecret.Current)
	const file = "endpoints: {emails: {url: 'https://d.example/'}}\nprojects: {more: {endpoints: {}}}"
	if set := a.apply(t, file).Set; !slices.Equal(set, []string{"more/", "default/emails"}) {
		t.Errorf("set %v", set)
	}
	if ep := a.endpoints["emails"]; ep.URL != "https://d.example/" || string(ep.SealedSecret.Current) != before || ep.Source != task.SourceFile {
		t.Errorf("%+v", ep)
	}
	a.unchanged(t, file)
}

// What is gone is disabled, not dropped.
func TestApplyUnlists(t *testing.T) {
	a := newApplying(t)
	a.apply(t, declaredFile)
	const less = "endpoints: {new: {url: 'https://a.example/'}}"
	gone := a.apply(t, less)
	if !slices.Equal(gone.Unlisted, []string{"default/second"}) {
		t.Errorf("%+v", gone)
	}
	if ep := a.endpoints["second"]; ep.Source != task.SourceUnlisted || ep.Disabled != task.ReasonEndpointUnlisted || ep.Deliverable() {
		t.Errorf("%+v", ep)
	}
	if p := a.projects["acme"]; p.Source != task.SourceAPI || p.FixedSecret {
		t.Errorf("%+v", p)
	}
	shown := endpointOf(t, a.send(t, "GET", "/v1/endpoints/second", ""))
	if shown.Source != "unlisted" || *shown.DisabledReason != "endpoint_unlisted" {
		t.Errorf("%+v", shown)
	}
	a.unchanged(t, less)
	back := a.apply(t, less[:len(less)-1]+", second: {url: 'https://b.example/'}}")
	if ep := a.endpoints["second"]; len(back.Set) != 1 || ep.Source != task.SourceFile || !ep.Deliverable() {
		t.Errorf("%+v, %+v", back, ep)
	}

	// Who resumes it takes it over; it can be deleted, too.
	a.apply(t, "endpoints: {}")
	resumed := endpointOf(t, a.send(t, "POST", "/v1/endpoints/second/resume", ""))
	if resumed.Source != "api" || resumed.DisabledReason != nil {
		t.Errorf("%+v", resumed)
	}
	a.send(t, "PATCH", "/v1/endpoints/second", `{"timeout":"5s"}`, "Content-Type: application/merge-patch+json").wantStatus(t, 200)
	a.unchanged(t, "endpoints: {}")
	a.send(t, "DELETE", "/v1/endpoints/new", "").wantStatus(t, 204)
}

// readOnly: what the file says is not changed over the API, the rest is.
func readOnly(t *testing.T, c *client) {
	t.Helper()
	for _, name := range []string{"new", "second"} {
		if ep := endpointOf(t, c.send(t, "GET", "/v1/endpoints/"+name, "")); ep.Source != "file" {
			t.Errorf("%s is of %s", name, ep.Source)
		}
		c.send(t, "PUT", "/v1/endpoints/"+name, `{"url":"https://e.example/"}`).want(t, 409, "read_only")
		c.send(t, "PATCH", "/v1/endpoints/"+name, `{"timeout":"5s"}`, "Content-Type: application/merge-patch+json").want(t, 409, "read_only")
		c.send(t, "DELETE", "/v1/endpoints/"+name+"?force=cancel", "").want(t, 409, "read_only")
	}
	c.send(t, "POST", "/v1/endpoints/new/rotate-secret", "").want(t, 409, "read_only")
	c.send(t, "POST", "/v1/endpoints/new/pause", "").want(t, 409, "read_only")
	c.send(t, "POST", "/v1/endpoints/new/resume", "").wantStatus(t, 200) // after a 410
	c.send(t, "POST", "/v1/endpoints/second/rotate-secret", "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/endpoints/second/pause", "").wantStatus(t, 200)
	c.send(t, "POST", "/v1/endpoints/second/resume", "").wantStatus(t, 200)
	c.send(t, "PUT", "/v1/projects/acme", `{"secret":"whsec_x"}`).want(t, 409, "read_only")
	c.send(t, "PUT", "/v1/projects/acme", `{}`).wantStatus(t, 200)
	c.send(t, "DELETE", "/v1/projects/acme", "").want(t, 409, "read_only")
	c.send(t, "POST", "/v1/callback-secret/rotate", "", "Taskgate-Project: acme").want(t, 409, "read_only")
}

func TestApplyFails(t *testing.T) {
	w := newWorld()
	s := w.server(t)
	for _, what := range []string{"declare queue", "update endpoint", "update project"} {
		w.fail = map[string]error{what: task.Wrap(task.CodeUnavailable, errDown, "away")}
		_, err := s.Apply(t.Context(), declare(t, "endpoints: {a: {url: 'https://a.example/'}}\nprojects: {acme: {}}"))
		if task.CodeOf(err) != task.CodeUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The example of the documentation is a good file.
func TestDocumentedFile(t *testing.T) {
	text, err := os.ReadFile("../../docs/as-code.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	file, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	env := func(name string) (string, bool) { return "whsec_" + name, strings.Contains(file, "${"+name+"}") }
	if _, err := api.ReadDeclared([]byte(file), env, api.Deps{CheckURL: checkURL, Secrets: secrets{}}); err != nil {
		t.Error(err)
	}
}
