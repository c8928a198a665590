package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
	"github.com/taskgate/taskgate/internal/telemetry"
	"github.com/taskgate/taskgate/internal/telemetry/otlptest"
)

const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// traced runs f with a tracer and returns what the receiver got.
func traced(t *testing.T, opt telemetry.TraceOptions, f func(tr *telemetry.Tracer)) []otlptest.Span {
	t.Helper()
	r := otlptest.New(t)
	opt.Endpoint, opt.Service = r.URL, "taskgate-test"
	tr, err := telemetry.NewTracer(opt)
	if err != nil {
		t.Fatal(err)
	}
	f(tr)
	tr.Close(context.Background())
	return r.Spans()
}

func request(parent string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/tasks/TOKEN-SECRET?QUERY-SECRET", nil)
	if parent != "" {
		r.Header.Set("Traceparent", parent)
	}
	return r
}

var wellFormed = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// story is a task that is submitted, tried twice and succeeds.
func story(tr *telemetry.Tracer, parent string) (submitted string, attempts []string) {
	ctx := tr.Request(request(parent), "req", "/v1/tasks")
	submitted = telemetry.TraceParent(ctx)
	call, end := tr.Store(ctx, "create")
	end(nil)
	m := &task.Message{ETA: time.Now().Add(-time.Second)}
	m.ID, m.Project, m.Endpoint, m.TraceParent = "id", "p", "orders", submitted
	_, end = tr.Publish(ctx, m)
	end(nil)
	tr.Accepted(ctx, m.ID, m.Endpoint)
	tr.RequestEnded(call, 0, "", "", "") // ends the call's span again, which is nothing
	tr.RequestEnded(ctx, 202, "", "p", "key")
	ep := &task.Endpoint{Project: "p", Name: "orders", Method: "POST", URL: "https://USER-SECRET:x@handler.example:8443/PATH-SECRET?QUERY-SECRET"}
	for i, o := range []task.Outcome{
		{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500, Answer: []byte("ANSWER-SECRET")},
		{Kind: task.KindSuccess, Status: 200, Result: &task.Result{Body: []byte("RESULT-SECRET")}},
	} {
		a := tr.Attempt(ep, m, i+1, false, time.Now())
		attempts = append(attempts, a.TraceParent())
		settle, end := tr.Settle(a.In(context.Background()))
		_, endCall := tr.Store(settle, "swap")
		endCall(task.Wrap(task.CodeUnavailable, errors.New("CAUSE-SECRET"), "away"))
		end(nil)
		a.End(o, task.Decision{State: []task.State{task.Retrying, task.Succeeded}[i]}, true)
	}
	return submitted, attempts
}

func byName(spans []otlptest.Span, name string) []otlptest.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s otlptest.Span) bool { return s.Name != name })
}

func TestStory(t *testing.T) {
	for name, c := range map[string]struct {
		parent    string
		continues bool
		trace     string // "": a new one
		parentID  string
		links     int
	}{
		"no caller":           {},
		"no caller, continue": {continues: true},
		"caller linked":       {parent: caller, links: 1},
		"caller continued":    {parent: caller, continues: true, trace: caller[3:35], parentID: caller[36:52]},
		"not a caller":        {parent: "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01", continues: true},
	} {
		t.Run(name, func(t *testing.T) {
			var submitted string
			var attempts []string
			spans := traced(t, telemetry.TraceOptions{Sample: 1, Continue: c.continues, Store: "redis", Broker: "rabbitmq"},
				func(tr *telemetry.Tracer) { submitted, attempts = story(tr, c.parent) })
			req := byName(spans, "POST /v1/tasks")[0]
			if c.trace != "" && req.Trace != c.trace || c.trace == "" && req.Trace == caller[3:35] || req.Parent != c.parentID {
				t.Errorf("the request's span is %v", req)
			}
			if len(req.Links) != c.links || c.links == 1 && req.Links[0] != caller[3:35]+"-"+caller[36:52] {
				t.Errorf("links %q", req.Links)
			}
			if submitted != "00-"+req.Ref()+"-01" {
				t.Errorf("submitted with %s", submitted)
			}
			tries := byName(spans, "attempt orders")
			if len(tries) != 2 {
				t.Fatalf("%d attempts", len(tries))
			}
			for i, a := range tries {
				if a.Trace != req.Trace || a.Parent != req.ID || !slices.Equal(a.Links, []string{req.Ref()}) || attempts[i] != "00-"+a.Ref()+"-01" {
					t.Errorf("attempt %v, its handler got %s", a, attempts[i])
				}
			}
			settles := byName(spans, "settle")
			if len(settles) != 2 || settles[0].Parent != tries[0].ID || settles[1].Parent != tries[1].ID {
				t.Errorf("settled in %v", settles)
			}
			if swap := byName(spans, "store swap")[1]; swap.Parent != settles[1].ID || !swap.Failed || swap.StatusMessage != "unavailable" {
				t.Errorf("swapped in %v", swap)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	spans := traced(t, telemetry.TraceOptions{Sample: 1, Store: "redis", Broker: "rabbitmq", Version: "v1", Instance: "i"},
		func(tr *telemetry.Tracer) { story(tr, caller) })
	for name, want := range map[string]map[string]string{
		"POST /v1/tasks": {
			"http.request.method": "POST", "http.route": "/v1/tasks", "http.response.status_code": "202", "taskgate.request.id": "req",
			"taskgate.project": "p", "taskgate.key.id": "key", "taskgate.task.id": "id", "taskgate.endpoint": "orders",
			"service.name": "taskgate-test", "service.version": "v1", "service.instance.id": "i",
		},
		"publish":      {"messaging.system": "rabbitmq", "messaging.destination.name": "orders", "taskgate.task.id": "id"},
		"store create": {"db.system.name": "redis", "db.operation.name": "create"},
		"attempt orders": {
			"taskgate.attempt.number": "1", "taskgate.attempt.outcome": "retry", "taskgate.attempt.reason": "handler_5xx",
			"http.response.status_code": "500", "taskgate.task.state": "retrying", "server.address": "handler.example",
			"taskgate.attempt.suspect": "false", "taskgate.attempt.settled": "true",
		},
	} {
		got := byName(spans, name)[0]
		for k, v := range want {
			if got.Attrs[k] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, got.Attrs[k], v)
			}
		}
	}
	for i := range spans {
		if text := spans[i].String() + spans[i].StatusMessage; strings.Contains(text, "SECRET") {
			t.Errorf("a secret is in %s", text)
		}
	}
}

// A trace is kept whole or not at all, and what is not kept says so to those
// who come after.
func TestSampling(t *testing.T) {
	spans := traced(t, telemetry.TraceOptions{Sample: 0}, func(tr *telemetry.Tracer) {
		submitted, attempts := story(tr, caller)
		for _, p := range append(attempts, submitted) {
			if !wellFormed.MatchString(p) || !strings.HasSuffix(p, "-00") || p[3:35] != submitted[3:35] {
				t.Errorf("%s is passed on", p)
			}
		}
	})
	if len(spans) != 0 {
		t.Errorf("sent %v", spans)
	}
	// Who continues lets the caller decide.
	spans = traced(t, telemetry.TraceOptions{Sample: 0, Continue: true}, func(tr *telemetry.Tracer) { story(tr, caller) })
	if len(spans) == 0 {
		t.Error("nothing was sent")
	}
	spans = traced(t, telemetry.TraceOptions{Sample: 1, Continue: true}, func(tr *telemetry.Tracer) { story(tr, caller[:53]+"00") })
	if len(spans) != 0 {
		t.Errorf("sent %v", spans)
	}
}

// Housekeeping begins no traces.
func TestNoSpanWithoutCause(t *testing.T) {
	spans := traced(t, telemetry.TraceOptions{Sample: 1}, func(tr *telemetry.Tracer) {
		ctx, end := tr.Store(t.Context(), "beat")
		end(errors.New("away"))
		if ctx != t.Context() || telemetry.TraceParent(ctx) != "" {
			t.Error("a span begins")
		}
	})
	if len(spans) != 0 {
		t.Errorf("sent %v", spans)
	}
}

func TestReceiverTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		answers  []int
		sent     bool
		requests int
	}{
		"away for a moment": {[]int{503, 429}, true, 3},
		"away for long":     {[]int{503, 502, 504}, false, 3},
		"refuses":           {[]int{400}, false, 1},
		"sends elsewhere":   {[]int{307}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := otlptest.New(t)
			r.Answer(c.answers...)
			var log bytes.Buffer
			sent, lost := 0, 0
			tr, err := telemetry.NewTracer(telemetry.TraceOptions{
				Endpoint: r.URL + "/", Sample: 1, Headers: map[string]string{"Authorization": "Bearer HEADER-SECRET"},
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Exported: func(n int, err error) {
					if err != nil {
						lost += n
					} else {
						sent += n
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			tr.RequestEnded(tr.Request(request(""), "id", "/v1/tasks"), 200, "", "p", "k")
			tr.Close(t.Context())
			if (sent == 1) != c.sent || (lost == 1) == c.sent || len(r.Headers()) != c.requests {
				t.Errorf("%d sent, %d lost, %d requests", sent, lost, len(r.Headers()))
			}
			for _, h := range r.Headers() {
				if h.Get("Authorization") != "Bearer HEADER-SECRET" {
					t.Errorf("headers %v", h)
				}
			}
			if c.sent == strings.Contains(log.String(), "traces cannot be sent") || strings.Contains(log.String(), "SECRET") {
				t.Errorf("log: %s", &log)
			}
		})
	}
}

// A receiver that takes requests and never answers holds up nobody.
func TestReceiverHangs(t *testing.T) {
	asked, done := make(chan struct{}, 9), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-done
	}))
	defer srv.Close()
	defer close(done)
	var log sharedLog // an upload that is cut tells, too
	tr, err := telemetry.NewTracer(telemetry.TraceOptions{
		Endpoint: srv.URL, Sample: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.RequestEnded(tr.Request(request(""), "id", "/v1/tasks"), 200, "", "p", "k")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel() // as when the time to stop is over
	}()
	tr.Close(ctx)
	if !strings.Contains(log.String(), "the last traces were not sent") {
		t.Errorf("log: %s", log.String())
	}
}

// sharedLog is a log that several goroutines write.
type sharedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestBadEndpoint(t *testing.T) {
	for _, bad := range []string{"", "collector:4318", "ftp://h", "http://"} {
		if _, err := telemetry.NewTracer(telemetry.TraceOptions{Endpoint: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Lines name the request and the trace that they belong to.
func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(telemetry.LogHandler(slog.NewJSONHandler(&out, nil)))
	line := func() map[string]any {
		t.Helper()
		var l map[string]any
		if err := json.Unmarshal(out.Bytes(), &l); err != nil {
			t.Fatalf("%v in %s", err, &out)
		}
		out.Reset()
		return l
	}
	log.InfoContext(t.Context(), "nothing")
	if l := line(); len(l) != 3 {
		t.Errorf("%v", l)
	}
	ctx := telemetry.WithRequest(t.Context(), "req")
	log.With("task", "id").InfoContext(ctx, "a")
	if l := line(); l["request"] != "req" || l["task"] != "id" || l["trace"] != nil {
		t.Errorf("%v", l)
	}
	log.InfoContext(ctx, "a", "request", "its own")
	if strings.Count(out.String(), `"request"`) != 1 {
		t.Errorf("%s", &out)
	}
	out.Reset()
	traced(t, telemetry.TraceOptions{Sample: 1}, func(tr *telemetry.Tracer) {
		ctx := telemetry.WithRequest(tr.Request(request(""), "req", "/v1/tasks"), "req")
		log.WithGroup("g").InfoContext(ctx, "a")
		parent := telemetry.TraceParent(ctx)
		g, _ := line()["g"].(map[string]any)
		if g["request"] != "req" || g["trace"] != parent[3:35] || g["span"] != parent[36:52] {
			t.Errorf("%v", g)
		}
		tr.RequestEnded(ctx, 200, "", "", "")
	})
}
