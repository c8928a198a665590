package api_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/api"
	"github.com/taskgate/taskgate/internal/task"
)

// hit is an operation with a body, on something that is there.
type hit struct{ method, path, media string }

func bodied(id task.ID) []hit {
	return []hit{
		{"POST", "/v1/tasks", "application/json"},
		{"POST", "/v1/endpoints/emails/tasks", ""},
		{"POST", "/v1/tasks/cancel", "application/json"},
		{"POST", "/v1/tasks/retry", "application/json"},
		{"POST", "/v1/tasks/" + string(id) + "/reschedule", "application/json"},
		{"PUT", "/v1/endpoints/emails", "application/json"},
		{"PATCH", "/v1/endpoints/emails", "application/merge-patch+json"},
		{"POST", "/v1/endpoints/emails/rotate-secret", "application/json"},
		{"POST", "/v1/endpoints/emails/test", "application/json"},
		{"POST", "/v1/endpoints/emails/purge", "application/json"},
		{"POST", "/v1/keys", "application/json"},
		{"PUT", "/v1/projects/acme", "application/json"},
		{"POST", "/v1/callback-secret/rotate", "application/json"},
	}
}

func fuzzed(f *testing.F) (c *client, id task.ID) {
	f.Helper()
	w := newWorld()
	w.trial = task.TrialResult{Kind: task.KindSuccess, Status: 200, State: task.Succeeded}
	s := w.server(f, func(_ *api.Deps, o *api.Options) { o.MaxWait = time.Millisecond })
	return newClient(f, s), w.put(task.Queued, nil).ID
}

// FuzzBodies sends any body to every operation that takes one: what comes back
// is within the contract, and no fault of ours.
func FuzzBodies(f *testing.F) {
	c, id := fuzzed(f)
	for i := range bodied(id) {
		for _, s := range []string{
			`{"endpoint":"emails","payload":{"a":1},"labels":{"a":"b"},"retry":{"max_attempts":3}}`, `{"url":"https://a.example/","auth":{"type":"basic","username":"u","password":"p"}}`,
			`{"filter":{"created_before":"9999-12-31T23:59:59-01:00","states":["queued"]},"rate":1}`, `{"run_at":"2027-01-01T00:00:00Z"}`, `{"delay":"1s"}`, `{"scopes":["tasks:read"],"name":"x"}`,
			`{"states":["failed"]}`, `{"secret":"whsec_x","keep_old_for":"1h"}`, `{}`, `[]`, `null`, ``, `{"auth":null}`, `{"a":1,"a":2}`, `{"retry":{"jitter":1e400}}`, `{"max_concurrency":1e2}`,
		} {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		all := bodied(id)
		if i < 0 || i >= len(all) {
			return
		}
		var headers []string
		if all[i].media != "" {
			headers = []string{"Content-Type: " + all[i].media}
		}
		r := requestOf(all[i].method, all[i].path, string(body), headers)
		a, err := c.exchange(r, string(body))
		if err != nil || a.Code >= 500 {
			t.Fatalf("%s %s %q: %d: %v\n%s", all[i].method, all[i].path, body, a.Code, err, a.Body)
		}
		if a.Code >= 400 {
			checkWords(t, a.Body.String())
		}
	})
}

// FuzzParameters sends any query and header to every operation.
func FuzzParameters(f *testing.F) {
	c, id := fuzzed(f)
	targets := append(bodied(id),
		hit{"GET", "/v1/tasks", ""}, hit{"GET", "/v1/tasks/" + string(id), ""}, hit{"GET", "/v1/tasks/" + string(id) + "/result", ""},
		hit{"GET", "/v1/tasks/" + string(id) + "/callbacks", ""}, hit{"GET", "/v1/endpoints", ""}, hit{"GET", "/v1/jobs", ""}, hit{"GET", "/v1/keys", ""},
		hit{"DELETE", "/v1/endpoints/nope", ""}, hit{"GET", "/v1/projects", ""}, hit{"GET", "/readyz", ""}, hit{"GET", "/openapi.json", ""})
	for i := range targets {
		for _, q := range []string{"limit=1&cursor=abc", "state=queued,failed&label=a:b", "wait=1s", "created_after=9999-12-31T23:59:59-01:00", "%zz", "a=%00", "limit=99999999999", "force=cancel", "label=a:b&label=a:c", "cursor=%ff"} {
			f.Add(i, q, "Prefer", "wait=1")
		}
		f.Add(i, "", "Accept", "text/html;q=1.5")
		f.Add(i, "", "Idempotency-Key", `"a`)
		f.Add(i, "", "Taskgate-Project", "no such")
		f.Add(i, "", "Accept-Encoding", "gzip")
		f.Add(i, "", "If-None-Match", "*")
		f.Add(i, "", "Content-Type", ";")
	}
	f.Fuzz(func(t *testing.T, i int, query, name, value string) {
		if i < 0 || i >= len(targets) || strings.EqualFold(name, "Authorization") {
			return
		}
		u, err := url.Parse(targets[i].path)
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery = query
		if _, err := http.ReadRequest(readerOf("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: a\r\n" + name + ": " + value + "\r\n\r\n")); err != nil {
			return // net/http lets no such request through
		}
		r := httptest.NewRequest(targets[i].method, targets[i].path, http.NoBody)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer "+adminKey)
		r.Header.Set(name, value)
		a, err := c.exchange(r, "")
		if err != nil || a.Code >= 500 {
			t.Fatalf("%s %s?%s %s: %q: %d: %v\n%s", targets[i].method, targets[i].path, query, name, value, a.Code, err, a.Body)
		}
	})
}

func readerOf(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }
