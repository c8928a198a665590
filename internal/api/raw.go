package api

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// Options of a raw submission as headers.
const (
	optionPrefix      = "Taskgate-"
	optionLabel       = optionPrefix + "Label-"
	optionHeader      = optionPrefix + "Header-"
	headerContentCode = "Content-Encoding"

	optionCallbackHeader = optionPrefix + "Callback-Header-"
)

// delivered are headers that Taskgate sends itself: they arrive when it is the
// target of another one, and mean nothing here.
var delivered = map[string]bool{
	"Taskgate-Attempt": true, "Taskgate-Max-Attempts": true, "Taskgate-Suspect": true,
	"Taskgate-Endpoint": true, "Taskgate-Deadline": true, "Taskgate-Completion-Url": true,
	"Taskgate-Test": true,
}

// rawOptions reads each option from the query or from its header.
type rawOptions struct {
	query  url.Values
	header http.Header
	faults *faults
	known  map[string]bool // headers that are options
}

// SubmitRawTask accepts a task whose payload is the body, of any media type.
func (s *Server) SubmitRawTask(c echo.Context, name gen.EndpointName, params gen.SubmitRawTaskParams) error {
	own := callOf(c)
	ep, ok := s.findEndpoint(c.Request().Context(), &own.who, name)
	if !ok && len(own.faults.params) == 0 {
		return noEndpoint()
	}
	r := c.Request()
	wait := s.wait(c, params.Wait, params.Prefer)
	sub, keyHeader := s.fromRequest(own, r, ep)
	sub.Endpoint = name
	sub.IdempotencyKey = rawKey(c, params.IdempotencyKey, keyHeader, name)
	sub.ContentType = rawContentType(r.Header, &own.faults)
	late, err := own.faults.unlessLate(sub.IdempotencyKey)
	if err != nil {
		return err
	}
	sub.Late = late
	body, err := s.readBody(c, s.opt.MaxPayload)
	if err != nil {
		return err
	}
	sub.Payload, sub.TraceParent = body, parentOf(params.Traceparent)
	if sub.IdempotencyKey != "" {
		sub.Fingerprint = fingerprint(r, body)
	}
	return s.accept(c, sub, wait)
}

// fromRequest reads the options; faults are noted.
func (s *Server) fromRequest(own *call, r *http.Request, ep *task.Endpoint) (sub lifecycle.Submission, keyHeader *string) {
	o := rawOptions{query: r.URL.Query(), header: r.Header, faults: &own.faults, known: make(map[string]bool)}
	read := reader{note: own.faults.param, opt: &s.opt, late: &own.faults.late}
	sub = read.submission(wishes{
		delay: o.get("delay"), runAt: o.get("run_at"), expiresAt: o.get("expires_at"), expiresIn: o.get("expires_in"),
		timeout: o.get("timeout"), resultTTL: o.get("result_ttl"), retry: o.retry(),
	}, ep)
	sub.Project = own.who.Project
	keyHeader = o.get("idempotency_header")
	sub.Labels = o.labels()
	sub.Headers = o.headers()
	sub.Callback = o.callback(r.Context(), s, &own.who)
	o.noteUnknown()
	return sub, keyHeader
}

// get reads one option; giving it twice is a fault.
func (o *rawOptions) get(name string) *string {
	header := http.CanonicalHeaderKey(optionPrefix + strings.ReplaceAll(name, "_", "-"))
	o.known[header] = true
	inQuery, inHeader := o.query[name], o.header[header]
	switch {
	case len(inHeader) > 0 && len(inQuery)+len(inHeader) > 1:
		o.faults.param(header, "is given more than once")
	case len(inHeader) == 1:
		return &inHeader[0]
	case len(inQuery) == 1:
		return &inQuery[0]
	}
	return nil
}

func (o *rawOptions) retry() *gen.Retry {
	r := gen.Retry{MinBackoff: o.get("min_backoff"), MaxBackoff: o.get("max_backoff"), MaxAge: o.get("max_age")}
	if text := o.get("max_attempts"); text != nil {
		n, err := strconv.Atoi(*text)
		if err != nil {
			o.faults.param("max_attempts", "must be a whole number")
		} else {
			r.MaxAttempts = &n
		}
	}
	if r.MinBackoff == nil && r.MaxBackoff == nil && r.MaxAge == nil && r.MaxAttempts == nil {
		return nil
	}
	return &r
}

// labels reads label=k:v and Taskgate-Label-K: v.
func (o *rawOptions) labels() map[string]string {
	out := parseLabels(o.query["label"], o.faults)
	for name, values := range o.header {
		key, ok := strings.CutPrefix(name, optionLabel)
		if !ok {
			continue
		}
		o.known[name] = true
		key = strings.ToLower(key)
		fault := labelFault(key, values[0])
		if _, twice := out[key]; twice || len(values) > 1 {
			fault = "is given more than once"
		}
		if fault != "" {
			o.faults.param(name, fault)
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[key] = values[0]
	}
	if len(out) > maxLabels {
		o.faults.param("label", "must have at most "+strconv.Itoa(maxLabels)+" labels")
	}
	return out
}

// noteUnknown refuses what is meant for us and not understood.
func (o *rawOptions) noteUnknown() {
	for name := range o.header {
		if strings.HasPrefix(name, optionPrefix) && !o.known[name] && !delivered[name] && name != headerProject {
			o.faults.param(name, "unknown option")
		}
	}
}

// rawKey is the idempotency key: the header of that name, or the one that the
// sender of a webhook puts its delivery's id in. The latter is a key among
// those of its endpoint and header only: the same delivery may well go to two
// endpoints.
func rawKey(c echo.Context, given, from *string, endpoint string) string {
	if given != nil {
		return idempotencyKey(c, given)
	}
	if from == nil {
		return ""
	}
	f := &callOf(c).faults
	values := c.Request().Header.Values(*from)
	switch {
	case !isToken(*from) || credentials[strings.ToLower(*from)]:
		f.param("idempotency_header", "is not the name of a header that can be a key")
		return ""
	case len(values) != 1:
		f.param("idempotency_header", "names a header that this request does not have, or has twice")
		return ""
	}
	key, fault := parseIdempotencyKey(values[0])
	if fault != "" {
		f.param(http.CanonicalHeaderKey(*from), fault)
	}
	return endpoint + "\x00" + strings.ToLower(*from) + "\x00" + key
}

// rawContentType is the payload's media type as it was sent.
func rawContentType(h http.Header, f *faults) string {
	values := h.Values(echo.HeaderContentType)
	if len(values) == 0 || values[0] == "" {
		return mediaBinary
	}
	if media, _, err := mime.ParseMediaType(values[0]); err != nil || !strings.Contains(media, "/") || len(values) > 1 {
		f.param(echo.HeaderContentType, "is not a media type")
	}
	return values[0]
}

func noEndpoint() error { return task.Errorf(task.CodeNotFound, "no such endpoint") }
