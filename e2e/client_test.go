package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// obj is a JSON object, to say in a case what matters and nothing else.
type obj map[string]any

func (o obj) str(name string) string { s, _ := o[name].(string); return s }

func (o obj) num(name string) int { f, _ := o[name].(float64); return int(f) }

func (o obj) obj(name string) obj { m, _ := o[name].(map[string]any); return m }

func (o obj) time(t *testing.T, name string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, o.str(name))
	if err != nil {
		t.Fatalf("%s: %v in %v", name, err, o)
	}
	return at
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	raw    []byte
	obj    obj
}

var turn atomic.Uint64

func (tg *target) base() string { return tg.bases[turn.Add(1)%uint64(len(tg.bases))] }

// api is the generated client of one of the target's gateways.
func (tg *target) api() *client.ClientWithResponses { return tg.generated(tg.http()) }

// expect is the same for a test's own goroutine: no answer, or one with
// another status, ends the test.
func (tg *target) expect(t *testing.T, status int) *client.ClientWithResponses {
	t.Helper()
	return tg.generated(strict{t, tg.http(), status})
}

func (tg *target) generated(doer client.HttpRequestDoer) *client.ClientWithResponses {
	c, err := client.NewClientWithResponses(tg.base(), client.WithKey(tg.key), client.WithHTTPClient(doer))
	if err != nil {
		panic(err) // the address is no URL
	}
	return c
}

type strict struct {
	t      *testing.T
	http   *http.Client
	status int
}

// Do makes one request of the generated client.
func (s strict) Do(r *http.Request) (*http.Response, error) {
	s.t.Helper()
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	if resp.StatusCode != s.status {
		body, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s %s: status %d, want %d: %s", r.Method, r.URL, resp.StatusCode, s.status, body)
	}
	return resp, nil
}

// got returns the reply of a client that ends the test by itself. What is
// left is a body that is not of the declared type.
func got[R any](reply R, err error) R {
	if err != nil {
		panic(err)
	}
	return reply
}

// typed makes of fields what the generated client takes.
func typed[T any](t *testing.T, fields obj) T {
	t.Helper()
	var out T
	text, err := json.Marshal(fields)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(&out)
	}
	if err != nil {
		t.Fatalf("%v as %T: %v", fields, out, err)
	}
	return out
}

// untyped is the opposite.
func untyped(t *testing.T, v any) (out obj) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// do makes one request to one of the target's gateways: for what the generated
// client cannot say, and for bytes that matter.
func (tg *target) do(t *testing.T, method, path string, body any, header ...string) reply {
	t.Helper()
	r, err := tg.try(method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (tg *target) try(method, path string, body any, header ...string) (reply, error) {
	var rd io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
		kind = ""
	case []byte:
		rd = bytes.NewReader(b)
	case string:
		rd = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return reply{}, err
		}
		rd = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, tg.base()+path, rd)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+tg.key)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := tg.http().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	if r.raw, err = io.ReadAll(resp.Body); err != nil {
		return r, err
	}
	_ = json.Unmarshal(r.raw, &r.obj)
	return r, nil
}

// want makes a request and fails the test unless it is answered by status.
func (tg *target) want(t *testing.T, status int, method, path string, body any, header ...string) reply {
	t.Helper()
	r := tg.do(t, method, path, body, header...)
	if r.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.raw)
	}
	return r
}

// register makes an endpoint of its own for the case and returns its name and
// its secret.
func (tg *target) register(t *testing.T, url string, fields obj) (name, secret string) {
	t.Helper()
	name = "e" + namespace()
	config := obj{"url": url, "timeout": "5s", "retry": obj{"min_backoff": "200ms", "max_backoff": "1s", "jitter": 0}}
	maps.Copy(config, fields)
	r := got(tg.expect(t, http.StatusCreated).PutEndpointWithResponse(t.Context(), name, typed[client.EndpointConfig](t, config)))
	t.Cleanup(func() { tg.do(t, "DELETE", "/v1/endpoints/"+name+"?force=cancel", nil) })
	if r.JSON201.Secret != nil {
		secret = *r.JSON201.Secret
	}
	return name, secret
}

// submit submits a task and returns it.
func (tg *target) submit(t *testing.T, endpoint string, fields obj) obj {
	t.Helper()
	task := obj{"endpoint": endpoint, "payload": obj{"n": 1}}
	maps.Copy(task, fields)
	r := got(tg.expect(t, http.StatusAccepted).SubmitTaskWithResponse(t.Context(), nil, typed[client.TaskSubmission](t, task)))
	return untyped(t, r.JSON202)
}

// submitMany submits side by side and returns the ids of what got its 202.
func (tg *target) submitMany(task client.TaskSubmission, n int) (ids []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			r, err := tg.api().SubmitTaskWithResponse(context.Background(), nil, task)
			if err != nil || r.JSON202 == nil {
				return // refused, not lost
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, r.JSON202.Id)
		})
	}
	wg.Wait()
	return ids
}

// await waits until the task is final.
func (tg *target) await(t *testing.T, id string) obj {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		r := got(tg.expect(t, http.StatusOK).GetTaskWithResponse(t.Context(), id, &client.GetTaskParams{Wait: new("20s")}))
		if final(string(r.JSON200.State)) {
			return untyped(t, r.JSON200)
		}
	}
	t.Fatalf("task %s did not end: %s", id, tg.do(t, "GET", "/v1/tasks/"+id, nil).raw)
	return nil
}

// ends waits for the end and checks state and reason.
func (tg *target) ends(t *testing.T, id, state, reason string) obj {
	t.Helper()
	got := tg.await(t, id)
	if got.str("state") != state || got.str("reason") != reason {
		t.Fatalf("task ended as %s (%s), want %s (%s): %v", got.str("state"), got.str("reason"), state, reason, got)
	}
	return got
}

// until polls a condition that has no signal of its own, each poll being a
// request.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func (tg *target) attempts(t *testing.T, id string) []obj {
	t.Helper()
	r := got(tg.expect(t, http.StatusOK).ListTaskAttemptsWithResponse(t.Context(), id))
	out := make([]obj, len(r.JSON200.Data))
	for i, a := range r.JSON200.Data {
		out[i] = untyped(t, a)
	}
	return out
}

func final(state string) bool {
	switch state {
	case "succeeded", "failed", "cancelled", "expired":
		return true
	}
	return false
}

// idsOf returns the ids of a list of tasks.
func idsOf(list obj) []string {
	data, _ := list["data"].([]any)
	ids := make([]string, len(data))
	for i, d := range data {
		m, _ := d.(map[string]any)
		ids[i] = obj(m).str("id")
	}
	return ids
}
