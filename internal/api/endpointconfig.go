package api

import (
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/task"
)

// endpoint reads what a configuration means, with every default decided;
// faults are noted.
func (s *Server) endpoint(in *gen.EndpointConfig, f *faults) task.Endpoint {
	r := reader{prefix: "/", retryPrefix: "/retry/", note: f.inBody, opt: &s.opt}
	out := task.Endpoint{
		URL: in.Url, Method: http.MethodPost, Retry: r.retry(in.Retry),
		Timeout: task.Duration(r.bounded("timeout", in.Timeout, task.MinTimeout, task.MaxTimeout)),
		Result:  r.resultPolicy(in.Result),
	}
	if out.Timeout == 0 {
		out.Timeout = task.Duration(task.DefaultTimeout)
	}
	if in.Method != nil {
		out.Method = string(*in.Method)
	}
	out.Breaker = r.circuitBreaker(in.CircuitBreaker)
	if in.MaxConcurrency != nil {
		out.MaxConcurrency = *in.MaxConcurrency
	}
	if detail, ok := s.CheckURL(in.Url); !ok {
		r.fault("url", detail)
	}
	s.checkSecret(in.Secret, in.Signature, &r)
	out.Auth = s.targetAuth(in.Auth, f)
	if in.Labels != nil {
		checkLabels(*in.Labels, "/labels", f.inBody)
		out.Labels = maps.Clone(*in.Labels)
	}
	if in.Headers != nil {
		out.Headers = endpointHeaders(*in.Headers, f)
	}
	return out
}

// endpointHeaders refuses credentials, since everyone who may read an
// endpoint sees its headers.
func endpointHeaders(given map[string]string, f *faults) map[string]string {
	for name := range given {
		if credentials[strings.ToLower(name)] {
			f.inBody(at("/headers", name), "would be shown to everyone who may read the endpoint; credentials are not kept in headers")
		}
	}
	checkHeaders(given, "/headers", f.inBody)
	return maps.Clone(given)
}

func (r *reader) resultPolicy(in *gen.ResultPolicy) task.ResultPolicy {
	out := task.ResultPolicy{MaxBytes: task.DefaultResultBytes}
	if in == nil {
		return out
	}
	if in.MaxBytes != nil {
		out.MaxBytes = *in.MaxBytes
	}
	for i, name := range in.KeepHeaders {
		if !isToken(name) {
			r.fault("result/keep_headers/"+strconv.Itoa(i), "is not the name of a header")
		}
		out.KeepHeaders = append(out.KeepHeaders, http.CanonicalHeaderKey(name))
	}
	out.Discard = in.Oversize != nil && *in.Oversize == gen.Discard
	return out
}

func viewResultPolicy(p *task.ResultPolicy) gen.ResultPolicy {
	out := gen.ResultPolicy{MaxBytes: new(p.MaxBytes), KeepHeaders: p.KeepHeaders, Oversize: new(gen.Fail)}
	if p.Discard {
		out.Oversize = new(gen.Discard)
	}
	return out
}

func (r *reader) circuitBreaker(in *gen.CircuitBreaker) *task.CircuitBreaker {
	if in == nil {
		return nil
	}
	sub := reader{prefix: r.prefix + "circuit_breaker/", note: r.note, opt: r.opt}
	out := &task.CircuitBreaker{
		Off: in.Enabled != nil && !*in.Enabled, FailureRatio: in.FailureRatio, MinAttempts: in.MinAttempts,
		Window: sub.taskDuration("window", in.Window), CoolDown: sub.taskDuration("cool_down", in.CoolDown),
	}
	for _, f := range out.Validate("") {
		sub.fault(strings.TrimPrefix(f.Pointer, "/"), f.Detail)
	}
	return out
}

func viewCircuitBreaker(c *task.CircuitBreaker) *gen.CircuitBreaker {
	if c == nil {
		return nil
	}
	out := &gen.CircuitBreaker{
		FailureRatio: c.FailureRatio, MinAttempts: c.MinAttempts, Window: viewDuration(c.Window), CoolDown: viewDuration(c.CoolDown),
	}
	if c.Off {
		out.Enabled = new(false)
	}
	return out
}

func viewRetry(r *task.Retry) *gen.Retry {
	if r == nil {
		return nil
	}
	out := &gen.Retry{
		MaxAttempts: r.MaxAttempts, Multiplier: r.Multiplier, Jitter: r.Jitter,
		MinBackoff: viewDuration(r.MinBackoff), MaxBackoff: viewDuration(r.MaxBackoff), MaxAge: viewDuration(r.MaxAge),
		RetryOn: r.RetryOn, FailOn: r.FailOn,
	}
	for _, d := range r.Schedule {
		out.Schedule = append(out.Schedule, d.String())
	}
	return out
}

func viewDuration(d *task.Duration) *string {
	if d == nil {
		return nil
	}
	return new(d.String())
}
