package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Bounds of one delivery of spans.
const (
	otlpTries   = 3
	otlpPause   = 500 * time.Millisecond
	otlpTimeout = 5 * time.Second // of one try
	otlpAnswer  = 64 << 10

	longestPause = time.Minute // asked for by the receiver
)

// otlp sends spans by OTLP over HTTP, in protobuf. The library's own client
// does the same and brings gRPC with it, which is half of our binary.
type otlp struct {
	url      string
	headers  http.Header
	client   *http.Client
	log      *slog.Logger
	exported func(spans int, err error)
	failing  atomic.Bool

	ctx  context.Context // ends every upload
	quit context.CancelFunc
}

func newOTLP(opt TraceOptions) (*otlp, error) {
	u, err := url.Parse(opt.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the receiver of traces has no http or https URL")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	ctx, quit := context.WithCancel(context.Background())
	o := &otlp{
		ctx: ctx, quit: quit, url: u.String(), headers: make(http.Header), log: opt.Logger, exported: opt.Exported,
	}
	for name, value := range opt.Headers {
		o.headers.Set(name, value)
	}
	o.client = &http.Client{
		Transport: &http.Transport{ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // headers with secrets are for the receiver alone
		},
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.exported == nil {
		o.exported = func(int, error) {}
	}
	return o, nil
}

// Start implements otlptrace.Client.
func (o *otlp) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (o *otlp) Stop(context.Context) error {
	o.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. A request of OTLP is, on the
// wire, the same message as a file of traces.
func (o *otlp) UploadTraces(ctx context.Context, spans []*traces.ResourceSpans) error {
	plain, err := proto.Marshal(&traces.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	if _, err := zip.Write(plain); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.ctx, cancel)()
	for try := 1; ; try++ {
		again, err := o.post(ctx, body.Bytes())
		if err == nil || again <= 0 || try == otlpTries {
			return err
		}
		t := time.NewTimer(again)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// post makes one try. again is when another one makes sense, 0 never.
func (o *otlp) post(ctx context.Context, body []byte) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, otlpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = o.headers.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	pause := otlpPause + rand.N(otlpPause) //nolint:gosec // no secret
	resp, err := o.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return pause, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, otlpAnswer) // lets the connection be used again
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		return 0, nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusBadGateway,
		resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		if wait, told := retryAfter(resp.Header); told {
			pause = wait
		}
		return pause, fmt.Errorf("the receiver answered %s", resp.Status)
	}
	return 0, fmt.Errorf("the receiver answered %s", resp.Status)
}

// retryAfter reads the header's seconds. More than longestPause is not waited:
// the spans behind these would be lost meanwhile.
func retryAfter(h http.Header) (time.Duration, bool) {
	sec, err := strconv.ParseUint(h.Get("Retry-After"), 10, 32)
	if err != nil || sec == 0 {
		return 0, false
	}
	return min(time.Duration(sec)*time.Second, longestPause), true
}

// quietly exports and tells our log of failures; the library would write them
// to standard error.
type quietly struct {
	*otlptrace.Exporter

	o *otlp
}

// ExportSpans implements sdk.SpanExporter.
func (q quietly) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := q.Exporter.ExportSpans(ctx, spans)
	q.o.exported(len(spans), err)
	if was := q.o.failing.Swap(err != nil); err != nil && !was { // said once, until it is over
		q.o.log.WarnContext(ctx, "traces cannot be sent; those of now are lost", "error", err)
	}
	return nil
}
