package load

import (
	"context"
	"net/http/httptrace"
	"sync"
)

// tracing has sent called when a request made with the context is written, once.
func tracing(ctx context.Context, sent func()) context.Context {
	once := sync.OnceFunc(sent)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { once() },
	})
}
