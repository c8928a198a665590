package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskgate/taskgate/internal/cli"
)

// What people and programs see of a task's life.
func TestTasksGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types("endpoints", "put", "golden-tasks", w.handler.URL, "--max-attempts", "3", "--label", "team=mail", "--header", "X-Tenant: acme")
	w.types("submit", "golden-tasks", `{"n": 1}`, "--delay", "1h", "--label", "customer=c_42")
	w.types("submit", "golden-tasks", `{"n": 2}`, "--wait")
	w.types("submit", "golden-tasks", `{"n": 3}`, "--wait", "--json")
	w.types("submit", "golden-tasks", "as it is", "--content-type", "text/plain", "--wait")
	w.types("submit", "golden-tasks", "as it is", "--content-type", "text/plain", "--result")
	w.script.WriteString("\n")
	id := w.submit("golden-tasks", `{"n": 4}`, "--delay", "1h", "--label", "customer=c_42")
	w.types("get", id)
	w.types("get", id, "--json")
	w.types("get", id, "--result")
	w.types("wait", id, "--timeout", "10ms")
	w.types("wait", id, "--timeout", "10ms", "--json")
	w.types("cancel", id)
	w.types("wait", id)
	w.types("cancel", id, "--json")
	w.ok("retry", id) // it may run already when this answers
	w.ok("wait", id)
	w.types("retry", id, "--wait", "--timeout", "20s")
	w.types("get", id, "--attempts")
	w.types("get", id, "--attempts", "--json")
	w.types("list", "--endpoint", "golden-tasks", "--state", "succeeded,scheduled", "--label", "customer=c_42")
	w.types("list", "--endpoint", "golden-tasks", "--limit", "1", "--json")
	w.golden("tasks")
}

// What a task that fails looks like: what the handler says cannot touch the
// terminal.
func TestFailureGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("golden-fail", "/fail")
	id := w.submit("golden-fail", "1")
	w.types("wait", id)
	w.types("wait", id, "--result")
	w.types("wait", id, "--result", "--json")
	w.types("get", id, "--attempts")
	w.types("get", id, "nope", id+"x", "")
	w.golden("failure")
}

// Errors show the problem's title, detail, and each fault with its pointer.
func TestErrorsGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("golden-errors", "/")
	w.types("submit", "golden-errors", "1", "--delay", "soon", "--max-attempts", "0", "--label", "a b=c")
	w.types("submit", "golden-errors", "1", "--delay", "soon", "--max-attempts", "0", "--json")
	w.types("submit", "golden-nope", "1")
	w.types("submit", "golden-errors", "{")
	w.types("submit", "golden-errors", "@testdata/nope.json")
	w.types("submit", "golden-errors", "1", "--header", "X A: b")
	w.types("submit", "golden-errors", "1", "--delay", "1s", "--run-at", "2027-01-01T00:00:00Z")
	w.types("submit")
	w.types("submit", "--json")
	w.types("wait", "x", "--colour")
	w.types("list", "--state", "done")
	w.types("list", "--after", "yesterday")
	w.types("cancel", "nope", "--json")
	w.types("endpoints", "put", "golden-errors", "ftp://x", "--json")
	w.types("endpoints", "put", "golden-errors", `{"url": "https://example.com", "colour": 1}`)
	w.types("endpoints", "get", "golden-nope")
	w.types("health", "http://127.0.0.1:1/")
	w.types("get", "x", "--server", "localhost:8080")
	w.types("get", "x", "--key-file", "testdata/nope")
	w.golden("errors")
}

func TestEndpointsGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types("endpoints", "put", "golden-a", `{"url": "`+w.handler.URL+`", "result": {"keep_headers": ["X-Total"]}}`, "--timeout", "10s", "--json")
	w.types("endpoints", "put", "golden-a", w.handler.URL, "--paused", "--method", "PUT")
	w.types("endpoints", "get", "golden-a")
	w.types("endpoints", "resume", "golden-a")
	w.types("endpoints", "pause", "golden-a", "golden-nope")
	w.types("endpoints", "pause", "golden-a", "--json")
	w.submit("golden-a", "1")
	w.types("endpoints", "delete", "golden-a")
	w.types("endpoints", "delete", "golden-a", "--force")
	w.endpoint("golden-a", "/")
	w.types("endpoints", "delete", "golden-a", "--json")
	w.golden("endpoints")

	// The list has the endpoints of other tests, too.
	w.endpoint("golden-b", "/")
	w.ok("endpoints", "pause", "golden-b")
	list := w.ok("endpoints", "list")
	if !strings.HasPrefix(list, "NAME") || !strings.Contains(list, "golden-b") || !strings.Contains(list, "paused") {
		t.Errorf("got %s", list)
	}
	for line := range strings.Lines(w.ok("endpoints", "list", "--json")) {
		var e struct{ Name, URL string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Name == "" || e.URL == "" {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// Changes of many tasks, and of an endpoint in operation.
func TestJobsGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("golden-jobs", "/")
	for range 3 {
		w.submit("golden-jobs", "1", "--delay", "1h", "--label", "run=1")
	}
	w.types("cancel", "--endpoint", "golden-jobs", "--label", "run=1", "--dry-run")
	w.types("cancel", "--endpoint", "golden-jobs", "--label", "run=1", "--wait", "--timeout", "30s")
	w.types("retry", "--endpoint", "golden-jobs", "--state", "cancelled", "--after", "1h", "--wait", "--timeout", "30s", "--json")
	w.types("jobs", "list")
	w.types("cancel")
	w.types("cancel", "x", "--endpoint", "golden-jobs")
	w.types("retry", "--all", "--state", "running")
	w.types("jobs", "get", "nope")
	w.types("jobs", "cancel", "nope", "--json")
	id := w.submit("golden-jobs", "2", "--delay", "1h", "--callback-url", "https://example.com/hook", "--callback-on", "succeeded,failed")
	w.types("reschedule", id, "--delay", "2h")
	w.types("reschedule", id)
	w.types("get", id)
	w.types("get", id, "--callbacks")
	w.types("endpoints", "purge", "golden-jobs", "--state", "scheduled")
	w.types("endpoints", "purge", "golden-jobs", "--json")
	w.types("endpoints", "test", "golden-jobs", `{"n": 1}`)
	w.types("endpoints", "test", "golden-jobs", "<hello>", "--content-type", "text/plain")
	w.endpoint("golden-quiet", "/")
	w.types("endpoints", "patch", "golden-quiet", `{"timeout": "5s", "max_concurrency": 3}`)
	w.types("endpoints", "patch", "golden-quiet", `{"colour": 1}`)
	w.types("endpoints", "rotate-secret", "golden-jobs", "--overlap", "1h", "--json")
	w.types("submit", "golden-jobs", "1", "--callback-on", "failed")
	w.golden("jobs")

	w.endpoint("golden-gone", "/fail")
	if r := w.run("endpoints", "test", "golden-gone"); r.code != 1 || !strings.Contains(r.stdout, "refuse") {
		t.Errorf("a handler that refuses: code %d, %s", r.code, r.stdout)
	}
}

func TestAdminGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.types("projects", "put", "acme")
	w.types("projects", "put", "acme", "--json")
	w.types("projects", "put", "acme", "--rate", "200", "--waiting-tasks", "1000")
	w.types("projects", "put", "acme", "--rate", "often")
	w.types("keys", "create", "slow", "--scope", "tasks:*", "--rate", "2.5/10")
	w.types("projects", "list")
	w.types("--project", "acme", "keys", "create", "billing worker", "--scope", "tasks:*,endpoints:read", "--scope", "endpoints:write", "--expires-in", "90d")
	w.types("--project", "acme", "keys", "create", "mailer", "--scope", "tasks:write", "--endpoint", "mail-*", "--endpoint", "audit", "--address", "192.0.2.0/24")
	w.types("keys", "list", "--project", "acme")
	w.types("projects", "delete", "acme")
	w.types("projects", "rotate-secret", "--project", "acme", "--overlap", "1h")
	w.types("keys", "create", "x")
	w.types("keys", "create", "x", "--scope", "everything")
	w.types("keys", "list")
	w.types("keys", "revoke", "nope")
	w.golden("admin")

	// A key is shown once, works in its project only, and ends when revoked.
	key := strings.TrimSpace(w.ok("keys", "create", "y", "--scope", "tasks:*,endpoints:*", "--quiet", "--project", "acme"))
	as := func(args ...string) result {
		return w.with(cli.Process{Environ: []string{"TASKGATE_KEY=" + key}}, args...)
	}
	if r := as("endpoints", "put", "golden-a", w.handler.URL); r.code != 0 {
		t.Fatalf("code %d: %s", r.code, r.stderr)
	}
	if r := w.run("endpoints", "get", "golden-a"); r.code != 1 {
		t.Errorf("another project's endpoint is seen: code %d", r.code)
	}
	if r := w.with(cli.Process{Environ: []string{"TASKGATE_PROJECT=acme"}}, "endpoints", "get", "golden-a"); r.code != 0 {
		t.Errorf("an admin in the project: code %d: %s", r.code, r.stderr)
	}
	if r := as("keys", "list"); r.code != 1 || !strings.Contains(r.stderr, "forbidden") {
		t.Errorf("beyond its scopes: code %d: %s", r.code, r.stderr)
	}
	var ids []string
	for line := range strings.Lines(w.ok("keys", "list", "--json", "--project", "acme")) {
		var k struct{ ID, Key string }
		if err := json.Unmarshal([]byte(line), &k); err != nil || k.Key != "" {
			t.Errorf("%v: %s", err, line)
		}
		ids = append(ids, k.ID)
	}
	w.ok(append([]string{"keys", "revoke", "--project", "acme"}, ids...)...)
	if r := as("endpoints", "list"); r.code != 1 || !strings.Contains(r.stderr, "unauthenticated") {
		t.Errorf("revoked: code %d: %s", r.code, r.stderr)
	}
}
