package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/taskgate/taskgate/internal/task"
)

// TraceOptions of a [Tracer].
type TraceOptions struct {
	// Endpoint is the base URL of a receiver of OTLP over HTTP; /v1/traces is
	// added unless the URL has a path.
	Endpoint string
	// Headers are sent along, for its authentication.
	Headers map[string]string
	// Sample is the part of the traces begun here that is kept, from 0 to 1.
	Sample float64
	// Continue has requests continue their callers' traces; otherwise they
	// begin their own and link to the callers'.
	Continue bool
	// Service, Version and Instance name this process.
	Service, Version, Instance string
	// Store and Broker name the servers, as OpenTelemetry does.
	Store, Broker string
	Logger        *slog.Logger
	// Exported is told of spans that were sent, or lost. It must not block.
	Exported func(spans int, err error)
}

// Bounds of what waits to be sent. Spans beyond them are lost, not waited for.
const (
	spanQueue   = 4096
	spanBatch   = 512
	spanEvery   = 2 * time.Second
	spanTimeout = 20 * time.Second
	// Of one span.
	maxAttributes = 32
	maxValue      = 256
)

// Tracer makes spans and sends them. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	client   *otlp
	opt      TraceOptions
}

// NewTracer makes a tracer. It opens nothing: a receiver that is away costs
// spans and one line in the log. [Tracer.Close] sends what waits.
func NewTracer(opt TraceOptions) (*Tracer, error) {
	client, err := newOTLP(opt)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(context.Background(), client) // connects to nothing
	if err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	limits := sdk.SpanLimits{
		AttributeValueLengthLimit: maxValue, AttributeCountLimit: maxAttributes, LinkCountLimit: maxAttributes,
	}
	about := resource.NewSchemaless(
		attrService.String(opt.Service), attrVersion.String(opt.Version), attrInstance.String(opt.Instance))
	// Every option is given: the library would read the environment for others.
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(opt.Sample))),
		sdk.WithRawSpanLimits(limits), sdk.WithResource(about),
		sdk.WithBatcher(quietly{exporter, client},
			sdk.WithMaxQueueSize(spanQueue), sdk.WithMaxExportBatchSize(spanBatch),
			sdk.WithBatchTimeout(spanEvery), sdk.WithExportTimeout(spanTimeout)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("taskgate"), client: client, opt: opt}, nil
}

// closeTime bounds the end: a receiver that hangs must not hold up a stop.
const closeTime = 5 * time.Second

// Close sends what waits, for a few seconds and until ctx ends. What is left
// then is lost.
func (t *Tracer) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	t.client.quit()
	if err != nil {
		t.client.log.WarnContext(ctx, "the last traces were not sent", "error", err)
	}
}

// w3c is the one form in which traces cross processes.
var w3c propagation.TraceContext

// parse reads a traceparent; the zero value when it is none.
func parse(header string) trace.SpanContext {
	if header == "" {
		return trace.SpanContext{}
	}
	ctx := w3c.Extract(context.Background(), propagation.MapCarrier{"traceparent": header})
	return trace.SpanContextFromContext(ctx)
}

// TraceParent is the traceparent of the context's span, "" without one.
func TraceParent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	return fmt.Sprintf("00-%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
}

// Request begins the span of a request to a route of the contract.
func (t *Tracer) Request(r *http.Request, id, route string) context.Context {
	ctx := r.Context()
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attrMethod.String(r.Method), attrRoute.String(route), attrReqID.String(id)),
	}
	if caller := parse(r.Header.Get("Traceparent")); caller.IsValid() {
		if t.opt.Continue {
			ctx = trace.ContextWithRemoteSpanContext(ctx, caller)
		} else {
			opts = append(opts, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: caller}))
		}
	}
	ctx, _ = t.tracer.Start(ctx, r.Method+" "+route, opts...) //nolint:spancheck // RequestEnded ends it
	return ctx
}

// RequestEnded ends the span of a request.
func (t *Tracer) RequestEnded(ctx context.Context, status int, code task.Code, project, key string) {
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		span.SetAttributes(attrStatus.Int(status), attrProject.String(project), attrKeyID.String(key))
		if code != "" {
			span.SetAttributes(attrCode.String(string(code)))
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, string(code))
		}
	}
	span.End()
}

// Accepted says which task the context's span is about.
func (t *Tracer) Accepted(ctx context.Context, id task.ID, endpoint string) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrTask.String(string(id)), attrEndpoint.String(endpoint))
	}
}

// Store follows a call of the task store on behalf of the context's span.
// Statements and values are not shown.
func (t *Tracer) Store(ctx context.Context, operation string) (context.Context, func(error)) {
	return t.child(ctx, "store "+operation, trace.SpanKindClient, attrDBSystem.String(t.opt.Store), attrDBCall.String(operation))
}

// Publish follows a publish of a task's next message.
func (t *Tracer) Publish(ctx context.Context, m *task.Message) (context.Context, func(error)) {
	return t.child(ctx, "publish", trace.SpanKindProducer, attrMQSystem.String(t.opt.Broker), attrMQCall.String("send"),
		attrMQDest.String(m.Endpoint), attrTask.String(string(m.ID)), attrProject.String(m.Project))
}

// Settle follows the writing of what became of an attempt.
func (t *Tracer) Settle(ctx context.Context) (context.Context, func(error)) {
	return t.child(ctx, "settle", trace.SpanKindInternal)
}

func ended(error) {}

// child begins a span below the context's, if there is one that is recorded:
// what nobody asked for, as housekeeping, has no trace.
func (t *Tracer) child(
	ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue,
) (context.Context, func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, ended
	}
	//nolint:spancheck // the caller ends it
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	return ctx, func(err error) { //nolint:spancheck // as above
		if err != nil {
			// The code only: a cause may quote anything.
			span.SetStatus(codes.Error, string(task.CodeOf(err)))
		}
		span.End()
	}
}

// Attempt is the span of one attempt.
type Attempt struct{ span trace.Span }

// Attempt begins the span of an attempt: a child of the span that submitted
// the task, in its trace, however long ago that was, and linked to it, since
// receivers may have forgotten it.
func (t *Tracer) Attempt(ep *task.Endpoint, m *task.Message, number int, suspect bool, begun time.Time) *Attempt {
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(begun),
		trace.WithAttributes(attrTask.String(string(m.ID)), attrProject.String(m.Project), attrEndpoint.String(m.Endpoint),
			attrAttempt.Int(number), attrSuspect.Bool(suspect), attrLate.Int64(max(begun.Sub(m.ETA).Milliseconds(), 0)),
			attrMethod.String(ep.Method), attrServer.String(host(ep.URL))),
	}
	ctx := context.Background()
	if submitted := parse(m.TraceParent); submitted.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, submitted)
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: submitted}))
	}
	_, span := t.tracer.Start(ctx, "attempt "+m.Endpoint, opts...) //nolint:spancheck // Attempt.End ends it
	return &Attempt{span}                                          //nolint:spancheck // as above
}

// host is a URL's host: the rest may hold secrets.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// In returns ctx with the span in it.
func (a *Attempt) In(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, a.span) }

// TraceParent is what the handler gets.
func (a *Attempt) TraceParent() string { return TraceParent(a.In(context.Background())) }

// End ends the span. d says nothing unless settled.
func (a *Attempt) End(o task.Outcome, d task.Decision, settled bool) {
	if a.span.IsRecording() {
		a.span.SetAttributes(attrOutcome.String(string(o.Kind)), attrSettled.Bool(settled))
		if o.Status != 0 {
			a.span.SetAttributes(attrStatus.Int(o.Status))
		}
		if settled {
			a.span.SetAttributes(attrState.String(string(d.State)))
		}
		if o.Kind != task.KindSuccess {
			a.span.SetAttributes(attrReason.String(string(o.Reason)))
			a.span.SetStatus(codes.Error, string(o.Reason))
		}
	}
	a.span.End()
}
