package dispatch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/taskgate/taskgate/internal/task"
)

func TestSendEndsWithItsCause(t *testing.T) {
	arrived := make(chan struct{})
	srv := server(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		gone(r)
	})
	s := newSender(t, loopback(), "")
	for cause, want := range map[error]task.Reason{ErrCancelled: task.ReasonCancelled, ErrShutdown: task.ReasonShutdown} {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { <-arrived; cancel(cause) }()
		if a := s.Send(ctx, request(srv.URL, "")); a.Reason != want || !a.Sent || a.Status != 0 {
			t.Errorf("%v: %+v", cause, a)
		}
		// An attempt that never left is not suspect.
		if a := s.Send(ctx, request(srv.URL, "")); a.Reason != want || a.Sent {
			t.Errorf("%v before: %+v", cause, a)
		}
		cancel(nil)
	}
}

func TestSendOnce(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "GET", "HEAD", "OPTIONS"} {
		for _, payload := range []string{"", "body"} {
			t.Run(method+payload, func(t *testing.T) {
				var requests atomic.Int64
				url := raw(t, func(c net.Conn) {
					br := bufio.NewReader(c)
					for answered := false; ; answered = true {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, r.Body)
						if answered { // the second on this connection: had, and not answered
							requests.Add(1)
							return
						}
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
				s := newSender(t, loopback(), "")
				req := request(url, payload)
				req.Endpoint.Method = method
				if a := s.Send(t.Context(), req); a.Status != 200 {
					t.Fatalf("%+v", a)
				}
				a := s.Send(t.Context(), req)
				if a.Reason != task.ReasonProtocol || !a.Sent || requests.Load() != 1 {
					t.Fatalf("%d requests, %+v", requests.Load(), a)
				}
			})
		}
	}
}

type flaky struct {
	rt    http.RoundTripper
	fails int
	tries int
	err   error
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.tries++
	if f.tries <= f.fails {
		return nil, f.err
	}
	return f.rt.RoundTrip(r)
}

func TestSendQuickRetry(t *testing.T) {
	got := make(chan string, 4)
	srv := server(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	})
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		fails, tries int
		err          error
		status       int
	}{
		{0, 1, refused, 200},
		{1, 2, refused, 200},
		{2, 2, refused, 0},
		{1, 1, &net.DNSError{IsNotFound: true}, 0},
		{1, 1, &BlockedError{}, 0},
	} {
		s := newSender(t, loopback(), "")
		f := &flaky{rt: s.client.Transport, fails: c.fails, err: c.err}
		s.client.Transport = f
		if a := s.Send(t.Context(), request(srv.URL, "the body")); a.Status != c.status || f.tries != c.tries {
			t.Errorf("%+v: %d tries, %+v", c, f.tries, a)
		}
		if c.status == 200 {
			if b := <-got; b != "the body" {
				t.Errorf("body %q", b)
			}
		}
	}
}

// A proxy would connect past the guard. net/http reads the environment once
// per process, so that the field itself is what can be tested.
func TestNoProxy(t *testing.T) {
	if newSender(t, loopback(), "").transport.Proxy != nil {
		t.Fatal("requests may go through a proxy")
	}
}
