package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/taskgate/taskgate/client"
)

// submitCmd is "taskgate submit".
type submitCmd struct {
	Endpoint string `arg:"" help:"Name of the endpoint."`
	Payload  string `arg:"" help:"JSON text; @FILE reads a file, - standard input. Without it the handler gets an empty body." optional:""`

	ContentType      string            `help:"The payload is of this media type and sent as it is. Without it, it is JSON."  placeholder:"TYPE"`
	Delay            string            `help:"Start not before this duration has passed, such as 90s or 2d."                 placeholder:"DURATION" xor:"start"`
	RunAt            string            `help:"Start not before this time (RFC 3339)."                                        placeholder:"TIME"     xor:"start"`
	ExpiresIn        string            `help:"Do not start after this duration has passed."                                  placeholder:"DURATION" xor:"expiry"`
	ExpiresAt        string            `help:"Do not start after this time (RFC 3339)."                                      placeholder:"TIME"     xor:"expiry"`
	AttemptTimeout   string            `help:"Limit of one attempt; at most the endpoint's."                                 placeholder:"DURATION"`
	ResultTTL        string            `help:"How long the ended task is kept."                                              name:"result-ttl"      placeholder:"DURATION"`
	MaxAttempts      *int              `help:"Attempts at most."                                                             placeholder:"N"`
	MinBackoff       string            `help:"Delay after the first attempt."                                                placeholder:"DURATION"`
	MaxBackoff       string            `help:"Longest delay between attempts."                                               placeholder:"DURATION"`
	MaxAge           string            `help:"No attempt begins later than this after the first was due."                    placeholder:"DURATION"`
	Label            map[string]string `help:"A label; repeat it for more."                                                  mapsep:"none"          placeholder:"KEY=VALUE"`
	Header           []string          `help:"A header for the handler; repeat it for more."                                 placeholder:"NAME:VALUE" sep:"none"`
	CallbackURL      string            `help:"Tell this URL of the task's end, by a signed webhook."        name:"callback-url" placeholder:"URL" xor:"callback"`
	CallbackEndpoint string            `help:"Tell this endpoint of the task's end."                        placeholder:"NAME"   xor:"callback"`
	CallbackOn       []string          `enum:"succeeded,failed,cancelled,expired" help:"States to tell of; all four by default. Repeat it, or separate states by commas." placeholder:"STATE"`

	IdempotencyKey string `help:"Makes a repeat of the command safe: the same key and task are accepted once. Without it the tries of one command share a random key." placeholder:"KEY"`

	Quiet  bool          `help:"Print the task's id only." short:"q" xor:"print"`
	Wait   bool          `help:"Wait until the task has ended."`
	Result bool          `help:"Wait, and print the handler's answer only, byte for byte." xor:"print"`
	Limit  time.Duration `help:"With --wait: stop waiting after this time (exit code 4); the task goes on." name:"timeout" placeholder:"DURATION"`
}

// Help is the command's longer help.
func (*submitCmd) Help() string {
	return `The command ends when the task is stored durably: from then on it is not lost. It is sent again while the server
cannot be reached, under one Idempotency-Key, so that it is accepted once.`
}

// Run submits, and waits if asked.
func (c *submitCmd) Run(ctx context.Context, s *session) error {
	payload, err := s.payload(c.Payload)
	if err != nil {
		return err
	}
	headers, err := pairs("--header", c.Header)
	if err != nil {
		return err
	}
	if len(c.CallbackOn) > 0 && c.callback() == nil {
		return usage("--callback-on needs --callback-url or --callback-endpoint")
	}
	if c.IdempotencyKey == "" {
		c.IdempotencyKey = program + "-" + rand.Text()
	}
	begun := time.Now()
	submit := c.json
	if c.ContentType != "" {
		submit = c.raw
	}
	request, err := submit(ctx, payload, headers) //nolint:bodyclose // send closes it
	if err != nil {
		return err
	}
	r, err := s.send(ctx, call{repeatable: true}, request)
	if err != nil {
		return c.explain(err)
	}
	t, err := decode[client.Task](r)
	if err != nil {
		return err
	}
	if c.Wait || c.Result {
		return s.waitAndPrint(ctx, t.Id, deadline(begun, c.Limit), c.Result, c.Quiet)
	}
	return s.printDoc(r.body, func() (string, error) {
		if c.Quiet {
			return clean(t.Id) + "\n", nil
		}
		return taskLine(t), nil
	})
}

// explain adds how to repeat a submission whose fate is not known.
func (c *submitCmd) explain(err error) error {
	f := asFailure(err)
	if f.exit == ExitUnavailable || f.exit == ExitInterrupted {
		f.hint = fmt.Sprintf("it may have been accepted: repeat it with --idempotency-key %s to be sure of one task", c.IdempotencyKey)
	}
	return f
}

// json makes the request for a payload of JSON.
func (c *submitCmd) json(ctx context.Context, payload []byte, headers map[string]string) (func(*client.Client) (*http.Response, error), error) {
	doc, err := withPayload(client.TaskSubmission{
		Endpoint: c.Endpoint, Delay: opt(c.Delay), RunAt: opt(c.RunAt), ExpiresIn: opt(c.ExpiresIn), ExpiresAt: opt(c.ExpiresAt),
		Timeout: opt(c.AttemptTimeout), ResultTtl: opt(c.ResultTTL), Retry: c.retry(),
		Labels: optMap[client.Labels](c.Label), Headers: optMap[client.Headers](headers), Callback: c.callback(),
	}, payload)
	if err != nil {
		return nil, err
	}
	return func(api *client.Client) (*http.Response, error) {
		params := &client.SubmitTaskParams{IdempotencyKey: &c.IdempotencyKey}
		return api.SubmitTaskWithBody(ctx, params, "application/json", strings.NewReader(string(doc)))
	}, nil
}

// withPayload encodes the document, with the payload in it as it is: encoding
// it would change its bytes.
func withPayload(doc any, payload []byte) ([]byte, error) {
	if len(payload) > 0 && !json.Valid(payload) {
		return nil, usage("the payload is not JSON; --content-type sends it as it is")
	}
	text, err := json.Marshal(doc)
	if err != nil || len(payload) == 0 {
		return text, err
	}
	text = text[:len(text)-1]
	if len(text) > 1 {
		text = append(text, ',')
	}
	return append(append(append(text, `"payload":`...), payload...), '}'), nil
}

func (c *submitCmd) callback() *client.Callback {
	if c.CallbackURL == "" && c.CallbackEndpoint == "" {
		return nil
	}
	out := &client.Callback{Url: opt(c.CallbackURL), Endpoint: opt(c.CallbackEndpoint)}
	for _, state := range c.CallbackOn {
		out.On = append(out.On, client.FinalState(state))
	}
	return out
}

func (c *submitCmd) retry() *client.Retry {
	if c.MaxAttempts == nil && c.MinBackoff == "" && c.MaxBackoff == "" && c.MaxAge == "" {
		return nil
	}
	return &client.Retry{
		MaxAttempts: c.MaxAttempts, MinBackoff: opt(c.MinBackoff), MaxBackoff: opt(c.MaxBackoff), MaxAge: opt(c.MaxAge),
	}
}

// raw makes the request for a payload of any media type.
func (c *submitCmd) raw(ctx context.Context, payload []byte, headers map[string]string) (func(*client.Client) (*http.Response, error), error) {
	params := &client.SubmitRawTaskParams{
		Delay: opt(c.Delay), RunAt: opt(c.RunAt), ExpiresIn: opt(c.ExpiresIn), ExpiresAt: opt(c.ExpiresAt), Timeout: opt(c.AttemptTimeout),
		ResultTtl: opt(c.ResultTTL), MinBackoff: opt(c.MinBackoff), MaxBackoff: opt(c.MaxBackoff), MaxAge: opt(c.MaxAge),
		CallbackUrl: opt(c.CallbackURL), CallbackEndpoint: opt(c.CallbackEndpoint), CallbackOn: opt(strings.Join(c.CallbackOn, ",")),
		IdempotencyKey: &c.IdempotencyKey,
	}
	if c.MaxAttempts != nil {
		params.MaxAttempts = opt(fmt.Sprint(*c.MaxAttempts))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Label)) { // a repeat must be the same request
		params.Label = append(params.Label, key+":"+c.Label[key])
	}
	return func(api *client.Client) (*http.Response, error) {
		return api.SubmitRawTaskWithBody(ctx, c.Endpoint, params, c.ContentType, strings.NewReader(string(payload)),
			func(_ context.Context, r *http.Request) error {
				for name, value := range headers {
					r.Header.Set("Taskgate-Header-"+name, value)
				}
				return nil
			})
	}, nil
}

// payload is the input of an optional argument.
func (s *session) payload(arg string) ([]byte, error) {
	if arg == "" {
		return nil, nil
	}
	return s.input(arg)
}

// opt is a value that may be absent.
func opt[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

func optMap[T ~map[string]string](m map[string]string) *T {
	if len(m) == 0 {
		return nil
	}
	t := T(m)
	return &t
}

// pairs reads "Name: value" arguments.
func pairs(flag string, list []string) (map[string]string, error) {
	out := make(map[string]string, len(list))
	for _, item := range list {
		name, value, ok := strings.Cut(item, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, usage("%s %q: want NAME:VALUE", flag, item)
		}
		out[name] = value
	}
	return out, nil
}

// deadline is when a wait ends; none for 0.
func deadline(from time.Time, limit time.Duration) time.Time {
	if limit <= 0 {
		return time.Time{}
	}
	return from.Add(limit)
}
