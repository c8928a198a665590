package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/client"
)

// endpointsCmd is "taskgate endpoints".
type endpointsCmd struct {
	List   endpointsListCmd   `cmd:"" help:"List endpoints by name."`
	Get    endpointsGetCmd    `cmd:"" help:"Show endpoints."`
	Put    endpointsPutCmd    `cmd:"" help:"Create or replace an endpoint."`
	Delete endpointsDeleteCmd `cmd:"" help:"Delete endpoints."`
	Pause  endpointsPauseCmd  `cmd:"" help:"Hold the tasks of endpoints: no further attempt begins, none is dropped."`
	Resume endpointsResumeCmd `cmd:"" help:"End a pause, or enable an endpoint whose handler answered 410."`
	Patch  endpointsPatchCmd  `cmd:"" help:"Change single fields of an endpoint."`
	Test   endpointsTestCmd   `cmd:"" help:"Call an endpoint's handler once, now; nothing is stored."`
	Purge  endpointsPurgeCmd  `cmd:"" help:"Cancel the tasks that wait at an endpoint."`

	RotateSecret endpointsRotateCmd `cmd:"" help:"Give an endpoint a new signing secret."`
}

type endpointsListCmd struct{}

// Run lists the endpoints.
func (*endpointsListCmd) Run(ctx context.Context, s *session) error {
	return s.docs(ctx, []string{"NAME", "STATE", "WAITING", "IN FLIGHT", "SUCCESS", "URL"},
		func(api *client.Client, limit *int, cursor *string) (*http.Response, error) {
			return api.ListEndpoints(ctx, &client.ListEndpointsParams{Limit: limit, Cursor: cursor})
		}, endpointRow)
}

func endpointRow(doc json.RawMessage) ([]string, error) {
	e, err := decode[client.Endpoint](reply{body: doc})
	if err != nil {
		return nil, err
	}
	waiting, flight, success := "", "", ""
	if e.Waiting != nil {
		waiting = strconv.Itoa(*e.Waiting)
	}
	if e.Live != nil {
		flight, success = strconv.Itoa(e.Live.InFlight), percent(e.Live.SuccessRatio)
	}
	return []string{e.Name, endpointState(e), waiting, flight, success, e.Url}, nil
}

func percent(ratio *float64) string {
	if ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.1f%%", *ratio*100)
}

func endpointState(e client.Endpoint) string {
	switch {
	case e.DisabledReason != nil:
		return "disabled (" + string(*e.DisabledReason) + ")"
	case e.Paused:
		return "paused"
	}
	return "active"
}

type endpointsGetCmd struct {
	Name []string `arg:"" help:"Names of endpoints." name:"name"`
}

// Run shows every endpoint.
func (c *endpointsGetCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.Name, func(name string) error {
		return s.endpoint(ctx, call{repeatable: true}, func(api *client.Client) (*http.Response, error) { return api.GetEndpoint(ctx, name) })
	})
}

// endpoint makes a request that is answered with an endpoint.
func (s *session) endpoint(ctx context.Context, c call, request func(*client.Client) (*http.Response, error)) error {
	return show(ctx, s, c, request, endpointBlock)
}

// endpointBlock is everything about an endpoint.
func endpointBlock(e client.Endpoint) string {
	var b block
	b.add("name", e.Name)
	b.add("url", e.Url)
	b.add("method", string(e.Method))
	b.add("state", endpointState(e))
	if e.Waiting != nil {
		b.number("waiting", *e.Waiting)
	}
	if e.Live != nil {
		liveLines(&b, *e.Live)
	}
	b.add("source", string(e.Source))
	b.add("timeout", e.Timeout)
	if e.MaxConcurrency != nil {
		b.number("max concurrency", *e.MaxConcurrency)
	}
	if e.Retry != nil {
		b.add("retry", asText(e.Retry))
	}
	b.add("result", asText(e.Result))
	b.pairs("label", e.Labels)
	b.pairs("header", e.Headers)
	if e.Auth != nil {
		b.add("auth", string(e.Auth.Type))
	}
	if e.Signature != nil {
		b.add("signature", string(*e.Signature))
	}
	for _, key := range e.PublicKeys {
		b.add("public key", key)
	}
	b.time("old secret until", e.PreviousSecretUntil)
	b.add("created", stamp(e.CreatedAt))
	b.add("updated", stamp(e.UpdatedAt))
	b.secret("secret", e.Secret)
	return b.String()
}

// liveLines are the figures of now and of the last minutes.
func liveLines(b *block, l client.EndpointLive) {
	b.add("depth", fmt.Sprintf("scheduled %d, queued %d, running %d, retrying %d, awaiting %d",
		l.Depth.Scheduled, l.Depth.Queued, l.Depth.Running, l.Depth.Retrying, l.Depth.Awaiting))
	if l.OldestWaitingMs != nil {
		b.add("oldest waiting", (time.Duration(*l.OldestWaitingMs) * time.Millisecond).String())
	}
	b.number("in flight", l.InFlight)
	if br := l.Breaker; br.State != client.EndpointBreakerStateClosed {
		text := string(br.State)
		if br.Reason != nil {
			text += ": " + string(*br.Reason)
		}
		if br.NextProbeAt != nil {
			text += ", next probe " + br.NextProbeAt.UTC().Format(time.RFC3339)
		}
		b.add("circuit breaker", text)
	}
	if l.AttemptsPerSecond == 0 {
		return
	}
	text := fmt.Sprintf("%.2f attempts/s over %s", l.AttemptsPerSecond, time.Duration(l.OverSeconds)*time.Second)
	if l.SuccessRatio != nil {
		text += ", " + percent(l.SuccessRatio) + " succeeded"
	}
	if l.P50Ms != nil && l.P99Ms != nil {
		text += fmt.Sprintf(", p50 %.0f ms, p99 %.0f ms", *l.P50Ms, *l.P99Ms)
	}
	b.add("lately", text)
}

// asText is a document for people: its JSON without the outer braces.
func asText(doc any) string {
	text, err := json.Marshal(doc)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(text), "{"), "}")
}

type endpointsPutCmd struct {
	Name   string `arg:"" help:"Name of the endpoint."`
	Config string `arg:"" help:"The handler's URL, or the whole configuration as a JSON object; @FILE reads a file, - standard input."`

	Method      string            `help:"Method of the requests: POST, PUT or PATCH." placeholder:"METHOD"`
	Timeout     string            `help:"Limit of one attempt."                  placeholder:"DURATION"`
	MaxAttempts *int              `help:"Attempts at most."                      placeholder:"N"`
	MinBackoff  string            `help:"Delay after the first attempt."         placeholder:"DURATION"`
	MaxBackoff  string            `help:"Longest delay between attempts."        placeholder:"DURATION"`
	Label       map[string]string `help:"A label; repeat it for more."           mapsep:"none"          placeholder:"KEY=VALUE"`
	Header      []string          `help:"A header for the handler; repeat it for more." placeholder:"NAME:VALUE" sep:"none"`
	Paused      *bool             `help:"Hold its tasks, or not; as it is when neither is given." negatable:""`
}

// Help is the command's longer help.
func (*endpointsPutCmd) Help() string {
	return `What the configuration does not say gets its default, but for the secret and the pause of an endpoint that exists:
they stay. A generated secret is shown once, here. Flags win over the configuration.`
}

// Run puts the endpoint.
func (c *endpointsPutCmd) Run(ctx context.Context, s *session) error {
	doc, err := c.config(s)
	if err != nil {
		return err
	}
	// Not repeatable: the answer to a second one would lack the secret.
	return s.endpoint(ctx, call{}, func(api *client.Client) (*http.Response, error) {
		return api.PutEndpointWithBody(ctx, c.Name, "application/json", bytes.NewReader(doc))
	})
}

// config is the configuration with the flags in it. What it has besides is
// left as it is: the server knows its fields.
func (c *endpointsPutCmd) config(s *session) ([]byte, error) {
	doc := map[string]any{}
	if strings.HasPrefix(c.Config, "http://") || strings.HasPrefix(c.Config, "https://") {
		doc["url"] = c.Config
	} else {
		text, err := s.input(c.Config)
		if err != nil {
			return nil, err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
			return nil, usage("the configuration is neither a URL nor a JSON object")
		}
		for name, value := range fields {
			doc[name] = value
		}
	}
	headers, err := pairs("--header", c.Header)
	if err != nil {
		return nil, err
	}
	retry := map[string]any{}
	set(retry, "max_attempts", c.MaxAttempts, c.MaxAttempts != nil)
	set(retry, "min_backoff", c.MinBackoff, c.MinBackoff != "")
	set(retry, "max_backoff", c.MaxBackoff, c.MaxBackoff != "")
	set(doc, "retry", retry, len(retry) > 0)
	set(doc, "method", c.Method, c.Method != "")
	set(doc, "timeout", c.Timeout, c.Timeout != "")
	set(doc, "labels", c.Label, len(c.Label) > 0)
	set(doc, "headers", headers, len(headers) > 0)
	set(doc, "paused", c.Paused, c.Paused != nil)
	return json.Marshal(doc)
}

func set(doc map[string]any, name string, value any, given bool) {
	if given {
		doc[name] = value
	}
}

type endpointsDeleteCmd struct {
	Name  []string `arg:"" help:"Names of endpoints." name:"name"`
	Force bool     `help:"Cancel the tasks that have not ended; without it they keep the endpoint from being deleted."`
}

// Run deletes every endpoint.
func (c *endpointsDeleteCmd) Run(ctx context.Context, s *session) error {
	var params client.DeleteEndpointParams
	if c.Force {
		params.Force = new(client.DeleteEndpointParamsForce("cancel"))
	}
	return s.each(ctx, c.Name, func(name string) error {
		return s.remove(ctx, name, func(api *client.Client) (*http.Response, error) { return api.DeleteEndpoint(ctx, name, &params) })
	})
}

// remove makes a request that deletes, and says so. That the thing is gone
// when the request is made again is what was asked for.
func (s *session) remove(ctx context.Context, name string, request func(*client.Client) (*http.Response, error)) error {
	made := 0
	_, err := s.send(ctx, call{repeatable: true, withTries: &made}, request)
	if err != nil && (made == 1 || statusOf(err) != http.StatusNotFound) {
		return err
	}
	doc, err := json.Marshal(map[string]any{"name": name, "deleted": true})
	if err != nil {
		return err
	}
	return s.printDoc(doc, func() (string, error) { return clean(name) + " is deleted\n", nil })
}

type endpointsPauseCmd struct {
	Name []string `arg:"" help:"Names of endpoints." name:"name"`
}

// Run pauses every endpoint.
func (c *endpointsPauseCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.Name, func(name string) error {
		return s.switched(ctx, func(api *client.Client) (*http.Response, error) { return api.PauseEndpoint(ctx, name) })
	})
}

type endpointsResumeCmd struct {
	Name []string `arg:"" help:"Names of endpoints." name:"name"`
}

// Run resumes every endpoint.
func (c *endpointsResumeCmd) Run(ctx context.Context, s *session) error {
	return s.each(ctx, c.Name, func(name string) error {
		return s.switched(ctx, func(api *client.Client) (*http.Response, error) { return api.ResumeEndpoint(ctx, name) })
	})
}

// switched makes a request that pauses or resumes, and says how it is now.
func (s *session) switched(ctx context.Context, request func(*client.Client) (*http.Response, error)) error {
	return show(ctx, s, call{repeatable: true}, request, func(e client.Endpoint) string {
		return fmt.Sprintf("%s is %s\n", clean(e.Name), endpointState(e))
	})
}
