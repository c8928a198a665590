package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/taskgate/taskgate/client"
)

// longCall bounds the operations that work while the caller waits: a test of
// an endpoint takes up to 35 s, a purge works for 20 s.
const longCall = time.Minute

type endpointsPatchCmd struct {
	Name  string `arg:"" help:"Name of the endpoint."`
	Patch string `arg:"" help:"A JSON merge patch: what is absent stays, null is the default again; @FILE reads a file, - standard input."`
}

// Run patches the endpoint.
func (c *endpointsPatchCmd) Run(ctx context.Context, s *session) error {
	doc, err := s.input(c.Patch)
	if err != nil {
		return err
	}
	if !json.Valid(doc) {
		return usage("the patch is not JSON")
	}
	return s.endpoint(ctx, call{}, func(api *client.Client) (*http.Response, error) {
		return api.PatchEndpointWithBody(ctx, c.Name, "application/merge-patch+json", bytes.NewReader(doc))
	})
}

// rotation are the flags of a new secret. A secret is never an argument.
type rotation struct {
	Overlap    string `help:"How long the present secret signs beside the new one." placeholder:"DURATION"`
	SecretFile string `help:"File with the new secret; a generated one otherwise." placeholder:"FILE"`
	Signature  string `help:"v1 (a shared secret) or v1a (a key pair); as it is without." placeholder:"SCHEME"`
}

func (r rotation) body() (client.SecretRotation, error) {
	secret, err := secretFrom(r.SecretFile)
	if err != nil {
		return client.SecretRotation{}, err
	}
	out := client.SecretRotation{Overlap: opt(r.Overlap), Secret: secret}
	if r.Signature != "" {
		out.Signature = new(client.SignatureScheme(r.Signature))
	}
	return out, nil
}

func secretFrom(file string) (*string, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // no secret is none
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("--secret-file: %v", err)
	}
	return opt(strings.TrimSpace(string(text))), nil
}

type endpointsRotateCmd struct {
	Name string `arg:"" help:"Name of the endpoint."`

	rotation
}

// Help is the command's longer help.
func (*endpointsRotateCmd) Help() string {
	return "The new secret is shown once, here. Until the end of the overlap deliveries carry two signatures."
}

// Run rotates the secret.
func (c *endpointsRotateCmd) Run(ctx context.Context, s *session) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return s.endpoint(ctx, call{}, func(api *client.Client) (*http.Response, error) { return api.RotateSecret(ctx, c.Name, body) })
}

type endpointsTestCmd struct {
	Name    string `arg:"" help:"Name of the endpoint."`
	Payload string `arg:"" help:"JSON text; @FILE reads a file, - standard input. Without it the handler gets an empty body." optional:""`

	ContentType string   `help:"The payload is of this media type. Without it, it is JSON." placeholder:"TYPE"`
	Header      []string `help:"A header for the handler; repeat it for more." placeholder:"NAME:VALUE" sep:"none"`
}

// Help is the command's longer help.
func (*endpointsTestCmd) Help() string {
	return `The handler sees "Taskgate-Test: true". The exit code is 0 when a task would have succeeded, else 1.`
}

// Run makes the test.
func (c *endpointsTestCmd) Run(ctx context.Context, s *session) error {
	doc, err := c.document(s)
	if err != nil {
		return err
	}
	r, err := s.send(ctx, call{limit: longCall}, func(api *client.Client) (*http.Response, error) {
		return api.TestEndpointWithBody(ctx, c.Name, "application/json", bytes.NewReader(doc))
	})
	if err != nil {
		return err
	}
	result, err := decode[client.EndpointTestResult](r)
	if err != nil {
		return err
	}
	if err := s.printDoc(r.body, func() (string, error) { return testBlock(result), nil }); err != nil {
		return err
	}
	if result.Task.State != client.TaskStateSucceeded {
		return quiet(ExitNo)
	}
	return nil
}

func (c *endpointsTestCmd) document(s *session) ([]byte, error) {
	payload, err := s.payload(c.Payload)
	if err != nil {
		return nil, err
	}
	headers, err := pairs("--header", c.Header)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(c.ContentType)
	if isJSON := kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json"); len(payload) > 0 && !isJSON {
		text, err := line(string(payload))
		if err != nil {
			return nil, err
		}
		payload = []byte(text)
	}
	return withPayload(client.EndpointTest{ContentType: opt(c.ContentType), Headers: optMap[client.Headers](headers)}, payload)
}

func testBlock(r client.EndpointTestResult) string {
	var b block
	b.add("verdict", string(r.Verdict))
	if r.Status != nil {
		b.number("status", *r.Status)
	}
	if r.Reason != nil {
		b.add("reason", string(*r.Reason))
	}
	b.add("took", (time.Duration(r.DurationMs) * time.Millisecond).String())
	if r.Answer != nil {
		b.add("answer", *r.Answer)
	}
	task := string(r.Task.State)
	if r.Task.Reason != nil {
		task += " (" + string(*r.Task.Reason) + ")"
	}
	if r.Task.NextAttemptIn != nil {
		task += ", tried again in " + *r.Task.NextAttemptIn
	}
	if r.Task.DisablesEndpoint != nil && *r.Task.DisablesEndpoint {
		task += ", and the endpoint disabled"
	}
	b.add("a task", task)
	return b.String()
}

type endpointsPurgeCmd struct {
	Name  string   `arg:"" help:"Name of the endpoint."`
	State []string `enum:"scheduled,queued,running,retrying,awaiting" help:"Only tasks in this state; scheduled, queued and retrying without. Repeat it, or separate states by commas." placeholder:"STATE"`
}

// Help is the command's longer help.
func (*endpointsPurgeCmd) Help() string {
	return "Goes on until nothing is left of what was there when it began. Pause the endpoint first to keep tasks from starting meanwhile."
}

// Run cancels, call by call, until there is no more.
func (c *endpointsPurgeCmd) Run(ctx context.Context, s *session) error {
	var body client.EndpointPurge
	for _, state := range c.State {
		body.States = append(body.States, client.EndpointPurgeStates(state))
	}
	total := 0
	for {
		s.progress.show(fmt.Sprintf("purging %s: %d cancelled", c.Name, total))
		r, err := s.send(ctx, call{repeatable: body.Cursor != nil, limit: longCall}, func(api *client.Client) (*http.Response, error) {
			return api.PurgeEndpoint(ctx, c.Name, body)
		})
		if err != nil {
			return err
		}
		p, err := decode[client.EndpointPurged](r)
		if err != nil {
			return err
		}
		total += p.Cancelled
		if body.Cursor = p.NextCursor; body.Cursor == nil {
			break
		}
	}
	return s.printDoc(fmt.Appendf(nil, `{"cancelled":%d}`, total), func() (string, error) {
		return fmt.Sprintf("%d tasks of %s are cancelled\n", total, clean(c.Name)), nil
	})
}
