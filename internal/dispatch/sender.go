package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

// SenderOptions of a [Sender].
type SenderOptions struct {
	Guard *Guard
	// Version stands in User-Agent: Taskgate/<version>.
	Version string
	// CAFile adds certificates (PEM) to the system's.
	CAFile string
	// Open decrypts the secret of an endpoint's auth; nil: no endpoint has one.
	Open func(ep *task.Endpoint) (task.TargetSecret, error)
	// ConnsPerHost bounds the connections to one host; 0 means 512.
	ConnsPerHost int
}

const defaultConnsPerHost = 512

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	client    *http.Client
	transport *http.Transport
	targets   *targets
	userAgent string
}

// NewSender makes a sender. It fails when the CA file cannot be read.
func NewSender(opt SenderOptions) (*Sender, error) {
	if opt.ConnsPerHost <= 0 {
		opt.ConnsPerHost = defaultConnsPerHost
	}
	roots, err := certificates(opt.CAFile)
	if err != nil {
		return nil, err
	}
	t := newTransport(opt.Guard, roots, opt.ConnsPerHost)
	client := newClient(t)
	return &Sender{
		transport: t, client: client, userAgent: "Taskgate/" + opt.Version,
		targets: &targets{open: opt.Open, shared: &target{client: client}, base: t, byID: make(map[task.EndpointID]*target)},
	}, nil
}

// newClient makes a client that follows no redirects.
func newClient(t *http.Transport) *http.Client {
	return &http.Client{
		Transport:     shielded{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes idle connections.
func (s *Sender) Close() {
	s.transport.CloseIdleConnections()
	s.targets.close()
}

// Request is one attempt to make.
type Request struct {
	Endpoint    *task.Endpoint
	Message     *task.Message
	Secrets     []signing.Secret
	Attempt     int
	MaxAttempts int
	Suspect     bool
	Test        bool // no task's: the handler is told
	Timeout     time.Duration
	TraceParent string // "": none
	// Reading, if set, is told of each piece of the answer's body kept in
	// memory.
	Reading func(n int)
}

// url is the target: the endpoint's, but a task of a built-in endpoint brings
// its own.
func (r *Request) url() string {
	if r.Endpoint.Builtin {
		return r.Message.URL
	}
	return r.Endpoint.URL
}

// BodyState says how much of an answer's body is known.
type BodyState int

// The states of a body.
const (
	BodyWhole    BodyState = iota
	BodyTooLarge           // over the endpoint's cap
	BodyBroken             // its end never came: see Answer.Reason
)

// Answer is what one attempt brought home.
type Answer struct {
	// Status is 0 when no answer came; Reason says why.
	Status int
	Header http.Header
	// Body is whole for 2xx; of other answers and of one too large it is the
	// beginning.
	Body  []byte
	State BodyState
	// Reason is set without an answer, or with BodyBroken.
	Reason task.Reason
	// Sent: the request may have reached the handler.
	Sent bool
	Took time.Duration
	// Err is for logs. It may quote the handler's bytes only for protocol
	// errors.
	Err error
}

// Send makes exactly one request, bounded by r.Timeout. A request that surely
// was never sent is made once more, at most. When ctx ends early its cause
// (ErrCancelled, ErrShutdown) becomes the reason.
func (s *Sender) Send(ctx context.Context, r *Request) *Answer {
	begin := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, errTimeout)
	defer cancel()
	tr := &trace{}
	a := s.exchange(ctx, r, tr, begin)
	a.Took = time.Since(begin)
	a.Sent = tr.wasSent()
	return a
}

func (s *Sender) exchange(ctx context.Context, r *Request, tr *trace, now time.Time) *Answer {
	req, err := s.request(httptrace.WithClientTrace(ctx, tr.hooks()), r, now)
	if err != nil {
		return &Answer{Reason: task.ReasonInternal, Err: bare(err)}
	}
	to, err := s.targets.of(r.Endpoint)
	if err != nil {
		return &Answer{Reason: task.ReasonInternal, Err: err}
	}
	resp, failed := s.authorized(ctx, to, req, tr)
	if failed != nil {
		return failed
	}
	defer func() { _ = resp.Body.Close() }()
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	if err := a.read(resp, r); err != nil {
		a.State, a.Reason, a.Err = BodyBroken, reasonOf(ctx, err, tr), bare(err)
	}
	return a
}

// authorized makes the request as the target wants its callers to be known. A
// 401 to an access token means that it has ended before its time: once, a new
// one is tried. The handler has refused that request, so it was no attempt.
func (s *Sender) authorized(
	ctx context.Context, to *target, req *retryablehttp.Request, tr *trace,
) (resp *http.Response, failed *Answer) {
	for fresh := false; ; fresh = true {
		if err := to.authorize(ctx, req.Header, fresh); err != nil {
			return nil, &Answer{Reason: tokenReason(ctx, err), Err: withoutBody(err)}
		}
		resp, err := s.retrying(to.client, tr).Do(req)
		if err != nil {
			if resp != nil { // the pass-through handler may keep it
				_ = resp.Body.Close()
			}
			return nil, &Answer{Reason: reasonOf(ctx, err, tr), Err: bare(err)}
		}
		if resp.StatusCode != http.StatusUnauthorized || !to.renews() || fresh {
			return resp, nil
		}
		_ = resp.Body.Close()
	}
}

func (s *Sender) request(ctx context.Context, r *Request, now time.Time) (*retryablehttp.Request, error) {
	method := r.Endpoint.Method
	if method == "" {
		method = http.MethodPost
	}
	var body any // a []byte of length 0 would be a body, too
	if len(r.Message.Payload) > 0 {
		body = r.Message.Payload
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, r.url(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = s.headers(r, now)
	return req, nil
}

const quickPause = 100 * time.Millisecond

// retrying is a client for one attempt: the library's client is its
// configuration, and the decision needs this attempt's trace.
func (s *Sender) retrying(client *http.Client, tr *trace) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: client,
		RetryMax:   1,
		Backoff:    func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return quickPause },
		CheckRetry: func(ctx context.Context, _ *http.Response, err error) (bool, error) {
			return err != nil && quickRetry(reasonOf(ctx, err, tr), tr.wasSent()), nil
		},
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

func reasonOf(ctx context.Context, err error, tr *trace) task.Reason {
	return classify(err, context.Cause(ctx), tr.handshake())
}

// bare drops the URL that net/http puts around errors: its query may hold
// secrets.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// read keeps the body of a 2xx answer up to the endpoint's cap, and the
// beginning of any other.
func (a *Answer) read(resp *http.Response, r *Request) error {
	limit := maxBytes(r.Endpoint)
	if !success(a.Status) {
		limit = task.MaxAnswerKept
	} else if resp.ContentLength > int64(limit) {
		a.State, limit = BodyTooLarge, task.MaxAnswerKept
	}
	var buf bytes.Buffer
	_, err := io.Copy(&buf, &metered{r: io.LimitReader(resp.Body, int64(limit)+1), note: r.Reading})
	a.Body = buf.Bytes()
	switch {
	case a.State == BodyTooLarge:
		return nil // decided already; a broken rest changes nothing
	case len(a.Body) > limit:
		a.Body = a.Body[:limit]
		if success(a.Status) {
			a.State = BodyTooLarge
		}
		return nil
	}
	return err
}

func maxBytes(ep *task.Endpoint) int {
	if ep.Result.MaxBytes <= 0 {
		return task.DefaultResultBytes
	}
	return ep.Result.MaxBytes
}

// metered tells how much was read.
type metered struct {
	r    io.Reader
	note func(n int)
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n > 0 && m.note != nil {
		m.note(n)
	}
	return n, err
}
