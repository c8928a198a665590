package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/taskgate/taskgate/client"
)

// example is one payload as GitHub documents it.
type example struct {
	event string
	body  []byte
}

// examples reads the api.github.com set of @octokit/webhooks-examples, which
// scripts/fixtures fetches.
func examples(t *testing.T) []example {
	t.Helper()
	path := os.Getenv("TASKGATE_WEBHOOK_EXAMPLES")
	if path == "" {
		path = filepath.Join("..", ".cache", "octokit-webhooks-examples", "index.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
			t.Fatalf("no examples: %v (scripts/fixtures fetches them)", err)
		}
		t.Skip("no examples: run scripts/fixtures")
	}
	var events []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(b, &events); err != nil {
		t.Fatal(err)
	}
	var out []example
	for _, e := range events {
		for _, body := range e.Examples {
			out = append(out, example{e.Name, body})
		}
	}
	if len(out) < 300 {
		t.Fatalf("only %d examples", len(out))
	}
	return out
}

const webhookSubmitters = 16

// GitHub sends its webhooks through the gateway: every byte arrives, every
// signature verifies, every answer is read back.
func TestGitHubWebhooksPassByteForByte(t *testing.T) {
	t.Parallel()
	all := examples(t)
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, echo)
		ep, secret := tg.register(t, h.URL, nil)
		sent := make([]string, len(all)) // task ids
		var wg sync.WaitGroup
		slots := make(chan struct{}, webhookSubmitters)
		for i, ex := range all {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer func() { <-slots; wg.Done() }()
				sent[i] = passWebhook(t, tg, ep, ex)
			}()
		}
		wg.Wait()
		byID := map[string]delivery{}
		for _, d := range h.deliveries() {
			byID[d.header.Get("Webhook-Id")] = d
		}
		total := 0
		for i, id := range sent {
			d, ok := byID[id]
			if !ok {
				t.Errorf("%s was not delivered", all[i].event)
				continue
			}
			if !bytes.Equal(d.body, all[i].body) {
				t.Errorf("%s: %d bytes became %d others", all[i].event, len(all[i].body), len(d.body))
			}
			total += len(d.body)
			verify(t, secret, d)
		}
		t.Logf("%d webhooks, %d bytes", len(sent), total)
	})
}

// passWebhook submits one and reads the answer back. It runs beside the test's
// goroutine, so it reports without ending the test.
func passWebhook(t *testing.T, tg *target, ep string, ex example) string {
	t.Helper()
	ctx := t.Context()
	r, err := tg.api().SubmitRawTaskWithBodyWithResponse(ctx, ep, nil, "application/json", bytes.NewReader(ex.body))
	if err != nil {
		t.Errorf("%s: %v", ex.event, err)
		return ""
	}
	if r.JSON202 == nil {
		t.Errorf("%s: status %d: %s", ex.event, r.StatusCode(), r.Body)
		return ""
	}
	id := r.JSON202.Id
	res, err := tg.api().GetTaskResultWithResponse(ctx, id, &client.GetTaskResultParams{Wait: new("60s")})
	switch {
	case err != nil:
		t.Errorf("%s: %v", ex.event, err)
	case res.StatusCode() != 200:
		t.Errorf("%s: result is answered %d: %s", ex.event, res.StatusCode(), res.Body)
	case !bytes.Equal(res.Body, ex.body):
		t.Errorf("%s: the answer read back differs", ex.event)
	}
	return id
}
