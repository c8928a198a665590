// Package otlptest is a receiver of traces for tests: OTLP over HTTP, decoded
// as a real one does.
package otlptest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span received.
type Span struct {
	Service       string
	Trace, ID     string // hexadecimal
	Parent        string // "": none
	Name          string
	Kind          string            // "SERVER", "CLIENT", "PRODUCER", "INTERNAL"
	Attrs         map[string]string // also of its resource
	Links         []string          // "trace-span"
	Begin, End    time.Time
	Failed        bool
	StatusMessage string
}

// Ref is what a link to the span says.
func (s *Span) Ref() string { return s.Trace + "-" + s.ID }

// String writes a span for a test's log.
func (s *Span) String() string {
	keys := slices.Sorted(maps.Keys(s.Attrs))
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s<-%s %s %q", s.Trace[:4], s.Service, s.ID, s.Parent, s.Kind, s.Name)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%s", k, s.Attrs[k])
	}
	return b.String()
}

// Receiver is a receiver on loopback.
type Receiver struct {
	URL string

	mu      sync.Mutex
	spans   []Span
	headers []http.Header
	raw     bytes.Buffer
	answers []int // to the next requests, instead of 200
	faults  []string
}

// New starts a receiver that ends with the test.
func New(tb testing.TB) *Receiver {
	tb.Helper()
	r := &Receiver{}
	srv := httptest.NewServer(http.HandlerFunc(r.serve))
	tb.Cleanup(func() {
		srv.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, f := range r.faults {
			tb.Error(f)
		}
	})
	r.URL = srv.URL
	return r
}

// Answer sets the statuses of the next answers.
func (r *Receiver) Answer(statuses ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, statuses...)
}

const maxBody = 64 << 20

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, req.Header.Clone())
	if len(r.answers) > 0 {
		w.WriteHeader(r.answers[0])
		r.answers = r.answers[1:]
		return
	}
	if err == nil {
		err = r.take(req, body)
	}
	if err != nil {
		r.faults = append(r.faults, "receiver of traces: "+err.Error())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (r *Receiver) take(req *http.Request, body []byte) error {
	if req.Method != http.MethodPost || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %q", req.Method, req.URL, req.Header.Get("Content-Type"))
	}
	if req.Header.Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(io.LimitReader(zip, maxBody)); err != nil {
			return err
		}
	}
	var data traces.TracesData
	if err := (proto.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(body, &data); err != nil {
		return err
	}
	r.raw.Write(body)
	for _, rs := range data.GetResourceSpans() {
		about := attrs(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.spans = append(r.spans, span(s, about))
			}
		}
	}
	return nil
}

func span(s *traces.Span, about map[string]string) Span {
	out := Span{
		Service: about["service.name"], Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
		Parent: hex.EncodeToString(s.GetParentSpanId()), Name: s.GetName(),
		Kind: strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_"), Attrs: attrs(s.GetAttributes()),
		Begin: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Failed: s.GetStatus().GetCode() == traces.Status_STATUS_CODE_ERROR, StatusMessage: s.GetStatus().GetMessage(),
	}
	maps.Copy(out.Attrs, about)
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId())+"-"+hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func attrs(in []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(in))
	for _, kv := range in {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_BoolValue:
			out[kv.GetKey()] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = fmt.Sprint(v.IntValue)
		default:
			out[kv.GetKey()] = fmt.Sprintf("%T", v)
		}
	}
	return out
}

// Spans are those received so far, by their begin.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.spans)
	slices.SortFunc(out, func(a, b Span) int { return a.Begin.Compare(b.Begin) })
	return out
}

// Headers are those of every request so far.
func (r *Receiver) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.headers)
}

// Raw is everything received, uncompressed, to search in.
func (r *Receiver) Raw() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raw.String()
}
