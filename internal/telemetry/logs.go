package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// requestID is the context's key of the request's id.
type requestID struct{}

// WithRequest has log lines written with the context name the request.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestID{}, id)
}

// Names of the attributes that [LogHandler] adds.
const (
	attrRequest = "request"
	attrTraceID = "trace"
	attrSpanID  = "span"
)

// LogHandler adds to each line what its context is about: the request, and
// the trace when there is one.
func LogHandler(h slog.Handler) slog.Handler { return &logHandler{h} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := ctx.Value(requestID{}).(string); ok && !names(&r, attrRequest) {
		r.AddAttrs(slog.String(attrRequest, id))
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String(attrTraceID, sc.TraceID().String()), slog.String(attrSpanID, sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// names reports whether the line has the attribute already.
func names(r *slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.Handler.WithGroup(name)}
}
