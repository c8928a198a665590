package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// obj is a JSON object as a client without types sees it.
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

// do makes one request to one of the target's gateways.
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
	base := tg.bases[turn.Add(1)%uint64(len(tg.bases))]
	req, err := http.NewRequest(method, base+path, rd)
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
	body := obj{"url": url, "timeout": "5s", "retry": obj{"min_backoff": "200ms", "max_backoff": "1s", "jitter": 0}}
	maps.Copy(body, fields)
	r := tg.want(t, http.StatusCreated, "PUT", "/v1/endpoints/"+name, body)
	t.Cleanup(func() { tg.do(t, "DELETE", "/v1/endpoints/"+name+"?force=cancel", nil) })
	return name, r.obj.str("secret")
}

// submit submits a task and returns it.
func (tg *target) submit(t *testing.T, endpoint string, fields obj) obj {
	t.Helper()
	body := obj{"endpoint": endpoint, "payload": obj{"n": 1}}
	maps.Copy(body, fields)
	return tg.want(t, http.StatusAccepted, "POST", "/v1/tasks", body).obj
}

// await waits until the task is final.
func (tg *target) await(t *testing.T, id string) obj {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		r := tg.want(t, http.StatusOK, "GET", "/v1/tasks/"+id+"?wait=20s", nil)
		if final(r.obj.str("state")) {
			return r.obj
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
	r := tg.want(t, http.StatusOK, "GET", "/v1/tasks/"+id+"/attempts", nil)
	list, _ := r.obj["data"].([]any)
	out := make([]obj, len(list))
	for i, a := range list {
		m, _ := a.(map[string]any)
		out[i] = m
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
