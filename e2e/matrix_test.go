package e2e_test

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskgate/taskgate/internal/contracttest"
)

// probe is how an operation is asked for in the matrix. In path, query and
// body {task}, {job}, {endpoint}, {key} and {project} stand for things of a project.
// Where all of them are unknown, the request must change nothing.
type probe struct {
	of    string // what the path's parameter stands for
	query string
	body  string
}

// probes has every operation that needs a key. One that is not here fails the
// matrix: say what it is about, so that its scopes and its blindness for other
// projects are tested.
var probes = map[string]probe{
	"submitTask":       {body: `{"endpoint":"{endpoint}"}`},
	"listTasks":        {query: "endpoint={endpoint}"},
	"getTask":          {of: "{task}"},
	"getTaskResult":    {of: "{task}"},
	"listTaskAttempts": {of: "{task}"},
	"cancelTask":       {of: "{task}"},
	"retryTask":        {of: "{task}"},
	"rescheduleTask":   {of: "{task}", body: `{"delay":"3h"}`},

	"listTaskCallbacks": {of: "{task}"},

	"cancelTasks": {body: `{"filter":{"endpoint":"{endpoint}"},"dry_run":true}`},
	"retryTasks":  {body: `{"filter":{"endpoint":"{endpoint}"},"dry_run":true}`},
	"listJobs":    {},
	"getJob":      {of: "{job}"},
	"cancelJob":   {of: "{job}"},

	"listEndpoints": {},
	// With a body that is refused: else an unknown one would be made.
	"putEndpoint":    {of: "{endpoint}", body: `{"url":"nowhere"}`},
	"patchEndpoint":  {of: "{endpoint}", body: `{"paused":true}`},
	"getEndpoint":    {of: "{endpoint}"},
	"deleteEndpoint": {of: "{endpoint}", query: "force=cancel"},
	"pauseEndpoint":  {of: "{endpoint}"},
	"resumeEndpoint": {of: "{endpoint}"},
	"rotateSecret":   {of: "{endpoint}"},
	"purgeEndpoint":  {of: "{endpoint}"},
	"testEndpoint":   {of: "{endpoint}"},
	"submitRawTask":  {of: "{endpoint}", body: `{}`},

	"rotateCallbackSecret": {body: `{"overlap":"31d"}`},

	"createKey": {body: `{"name":"x","scopes":["admin"],"project":"{project}","expires_in":"0s"}`},
	"listKeys":  {},
	"getKey":    {of: "{key}"},
	"deleteKey": {of: "{key}"},

	"listProjects":  {},
	"putProject":    {of: "{project}", body: `{"secret":"none"}`},
	"getProject":    {of: "{project}"},
	"deleteProject": {of: "{project}"},
}

// operation is one operation that needs a key.
type operation struct {
	probe
	id, method, path, scope, media string
}

func operations(t *testing.T) (out []operation) {
	t.Helper()
	doc, err := contracttest.Document()
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]bool)
	for id := range probes {
		left[id] = true
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			scope, protected := op.Extensions["x-required-scope"].(string)
			if !protected {
				continue
			}
			p, ok := probes[op.OperationID]
			if !ok {
				t.Errorf("%s has no entry in the matrix", op.OperationID)
			}
			delete(left, op.OperationID)
			out = append(out, operation{p, op.OperationID, method, path, scope, mediaOf(op)})
		}
	}
	for id := range left {
		t.Errorf("the matrix has an entry for %s, which the contract does not know", id)
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return out
}

func mediaOf(op *openapi3.Operation) string {
	if op.RequestBody != nil {
		for media := range op.RequestBody.Value.Content {
			if media != "*/*" {
				return media
			}
		}
	}
	return "application/json"
}

// belongings are things of a project, or such as nobody has.
type belongings struct{ task, job, endpoint, key, project string }

// ask sends the operation about the belongings.
func (op operation) ask(t *testing.T, tg *target, b belongings, header ...string) reply {
	t.Helper()
	fill := strings.NewReplacer("{task}", b.task, "{job}", b.job, "{endpoint}", b.endpoint, "{key}", b.key, "{project}", b.project)
	path := op.path
	if before, rest, ok := strings.Cut(path, "{"); ok {
		_, after, _ := strings.Cut(rest, "}")
		path = before + op.of + after
	}
	if op.query != "" {
		path += "?" + op.query
	}
	var body any
	if op.body != "" {
		body = fill.Replace(op.body)
		header = append(header, "Content-Type", op.media)
	}
	r := tg.do(t, op.method, fill.Replace(path), body, header...)
	// What differs between any two requests.
	words := []string{b.task, "T", b.job, "J", b.endpoint, "E", b.key, "K", b.project, "P"}
	if instance := r.obj.str("instance"); instance != "" {
		words = append(words, instance, "I")
	}
	r.raw = lastUse.ReplaceAll([]byte(strings.NewReplacer(words...).Replace(string(r.raw))), nil)
	return r
}

var lastUse = regexp.MustCompile(`"last_used_at":"[^"]*",`)

func scopes() []string {
	return []string{"tasks:write", "tasks:read", "tasks:*", "endpoints:write", "endpoints:read", "endpoints:*", "keys:*", "admin"}
}

// opens says whether a key with one scope opens what needs another.
func opens(has, needs string) bool {
	group, wild := strings.CutSuffix(has, "*")
	return has == needs || has == "admin" || wild && strings.HasPrefix(needs, group)
}

// TestMatrix: every operation of the contract, by a key with every scope, in
// its own project and about another one's.
func TestMatrix(t *testing.T) {
	t.Parallel()
	all := operations(t)
	targets(t, func(t *testing.T, tg *target) {
		mine, theirs := tg.newProject(t), tg.newProject(t)
		somebodys := furnished(t, tg, theirs)
		nobodys := belongings{
			task: strings.Repeat("0", len(somebodys.task)), job: strings.Repeat("0", len(somebodys.job)), endpoint: "e" + strings.Repeat("0", len(somebodys.endpoint)-1),
			key: strings.Repeat("0", len(somebodys.key)), project: "p" + strings.Repeat("0", len(somebodys.project)-1),
		}
		for _, scope := range scopes() {
			_, as := tg.newKey(t, obj{"scopes": []string{scope}, "project": mine})
			for _, op := range all {
				r := op.ask(t, as, nobodys)
				if open := r.status != http.StatusForbidden; open != opens(scope, op.scope) || r.status == http.StatusUnauthorized || r.status >= 500 {
					t.Errorf("%s with %s, which needs %s: status %d: %s", op.id, scope, op.scope, r.status, r.raw)
				}
			}
		}
		_, as := tg.newKey(t, obj{"scopes": []string{"tasks:*", "endpoints:*", "keys:*"}, "project": mine})
		for _, op := range all {
			if r := op.ask(t, tg.as(""), nobodys); r.status != http.StatusUnauthorized {
				t.Errorf("%s without a key: status %d", op.id, r.status)
			}
			blind(t, op, as, somebodys, nobodys)
			blind(t, op, as, somebodys, nobodys, "Taskgate-Project")
		}
		unharmed(t, tg, somebodys)
	})
}

// TestMatrixOfBoundKeys: every operation of the contract, by a key that is
// bound to one endpoint of the project, about another one.
func TestMatrixOfBoundKeys(t *testing.T) {
	t.Parallel()
	all := operations(t)
	targets(t, func(t *testing.T, tg *target) {
		project := tg.newProject(t)
		others, mine := furnished(t, tg, project), furnished(t, tg, project)
		nobodys := belongings{
			task: strings.Repeat("0", len(others.task)), job: strings.Repeat("0", len(others.job)), endpoint: "e" + strings.Repeat("0", len(others.endpoint)-1),
			key: strings.Repeat("0", len(others.key)), project: project,
		}
		id, as := tg.newKey(t, obj{
			"scopes": []string{"tasks:*", "endpoints:*", "keys:*"}, "project": project, "endpoints": []string{mine.endpoint}, "addresses": []string{"127.0.0.0/8", "::1"},
		})
		for _, op := range all {
			blind(t, op, as, others, nobodys)
			if r := op.ask(t, as, others); strings.Contains(string(r.raw), others.endpoint) {
				t.Errorf("%s tells of another endpoint: %s", op.id, r.raw)
			}
		}
		unharmed(t, tg, others)

		// Its own is all there is.
		as.want(t, 200, "GET", "/v1/tasks/"+mine.task, nil)
		as.want(t, 200, "GET", "/v1/jobs/"+mine.job, nil)
		for path, want := range map[string]string{"/v1/tasks": mine.task, "/v1/jobs": mine.job, "/v1/keys": id} {
			if got := idsOf(as.want(t, 200, "GET", path, nil).obj); len(got) != 1 || got[0] != want {
				t.Errorf("%s lists %v", path, got)
			}
		}
		if got := as.want(t, 200, "GET", "/v1/endpoints", nil); strings.Count(string(got.raw), `"created_at"`) != 1 || !strings.Contains(string(got.raw), mine.endpoint) {
			t.Errorf("endpoints %s", got.raw)
		}
		// And all that a change of everything changes.
		job := as.want(t, 202, "POST", "/v1/tasks/cancel", obj{"all": true}).obj.str("id")
		if got := as.want(t, 200, "GET", "/v1/jobs/"+job+"?wait=20s", nil).obj; got.str("state") != "done" || got.num("changed") != 1 {
			t.Errorf("the job: %v", got)
		}
		as.want(t, 200, "GET", "/v1/tasks/"+mine.task, nil)
		unharmed(t, tg, others)

		_, elsewhere := tg.newKey(t, obj{"scopes": []string{"tasks:*"}, "project": project, "addresses": []string{"192.0.2.0/24"}})
		if r := elsewhere.do(t, "GET", "/v1/tasks", nil); r.status != http.StatusForbidden || r.obj.str("code") != "address_not_allowed" {
			t.Errorf("from an address that the key may not be used from: status %d: %s", r.status, r.raw)
		}
	})
}

// blind: what is another project's looks like what is nobody's.
func blind(t *testing.T, op operation, as *target, somebodys, nobodys belongings, projectHeader ...string) {
	t.Helper()
	var headers [2][]string
	for i, b := range []belongings{somebodys, nobodys} {
		for _, name := range projectHeader {
			headers[i] = []string{name, b.project}
		}
	}
	theirs, none := op.ask(t, as, somebodys, headers[0]...), op.ask(t, as, nobodys, headers[1]...)
	if theirs.status != none.status || !bytes.Equal(theirs.raw, none.raw) {
		t.Errorf("%s %v tells: status %d %s\nof nobody's: status %d %s", op.id, projectHeader, theirs.status, theirs.raw, none.status, none.raw)
	}
	if len(projectHeader) > 0 && theirs.status != http.StatusForbidden {
		t.Errorf("%s in another project: status %d", op.id, theirs.status)
	}
}

// furnished gives a project one of everything.
func furnished(t *testing.T, tg *target, project string) belongings {
	t.Helper()
	b := belongings{endpoint: "e" + namespace(), project: project}
	var as *target
	b.key, as = tg.newKey(t, obj{"scopes": []string{"tasks:*", "endpoints:*"}, "project": project})
	as.want(t, 201, "PUT", "/v1/endpoints/"+b.endpoint, obj{"url": serve(t, status(200)).URL})
	t.Cleanup(func() {
		tg.do(t, "DELETE", "/v1/endpoints/"+b.endpoint+"?force=cancel", nil, "Taskgate-Project", project)
	})
	b.task = as.submit(t, b.endpoint, obj{"delay": "1h"}).str("id")
	b.job = as.want(t, 202, "POST", "/v1/tasks/retry", obj{"filter": obj{"endpoint": b.endpoint}}).obj.str("id")
	return b
}

// unharmed: nobody has changed what is there.
func unharmed(t *testing.T, tg *target, b belongings) {
	t.Helper()
	in := []string{"Taskgate-Project", b.project}
	if got := tg.want(t, 200, "GET", "/v1/tasks/"+b.task, nil, in...).obj; got.str("state") != "scheduled" || got.num("generation") != 1 {
		t.Errorf("the task: %v", got)
	}
	ep := tg.want(t, 200, "GET", "/v1/endpoints/"+b.endpoint, nil, in...).obj
	if ep["paused"] != false || ep.str("created_at") != ep.str("updated_at") || ep.num("waiting") != 1 {
		t.Errorf("the endpoint: %v", ep)
	}
	tg.want(t, 200, "GET", "/v1/keys/"+b.key, nil, in...)
}
