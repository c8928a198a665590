package dispatch

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/taskgate/taskgate/internal/signing"
	"github.com/taskgate/taskgate/internal/task"
)

const testID = task.ID("01jzzzzzzzzzzzzzzzzzzzzzzza")

// short is an attempt's timeout in tests that wait for it; long one that
// never ends.
const (
	short = 150 * time.Millisecond
	long  = 30 * time.Second
)

func loopback() GuardOptions {
	return GuardOptions{Allow: prefixes("127.0.0.0/8", "::1/128")}
}

func newSender(t *testing.T, g GuardOptions, ca string) *Sender {
	t.Helper()
	s, err := NewSender(SenderOptions{Guard: NewGuard(g), Version: "1.2.3", CAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func request(url string, payload string) *Request {
	return &Request{
		Endpoint: &task.Endpoint{Project: "default", Name: "orders", URL: url, Method: http.MethodPost},
		Message: &task.Message{Envelope: task.Envelope{
			Spec:    task.Spec{ID: testID, Project: "default", Endpoint: "orders", ContentType: "application/json"},
			Payload: []byte(payload),
		}},
		Attempt: 1, MaxAttempts: 10, Timeout: long,
	}
}

func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// gone waits until the client has left. The server notices only after it has
// read the request's body.
func gone(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// raw serves each connection with f.
func raw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return "http://" + ln.Addr().String()
}

// readRequest reads one request from a raw connection.
func readRequest(c net.Conn) bool {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	return err == nil
}

func TestSendRequest(t *testing.T) {
	secret := signing.Generate()
	payload := `{"n": 12345678901234567890, "f": 1.50}`
	type seen struct {
		r    *http.Request
		body []byte
	}
	got := make(chan seen, 1)
	srv := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r, body}
		w.Header().Set("X-Kept", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte("done"))
	})
	req := request(srv.URL+"/hook?token=abc", payload)
	req.Secrets = []signing.Secret{secret, signing.Generate()}
	req.Attempt, req.Suspect = 3, true
	req.Endpoint.Method = http.MethodPut
	req.Endpoint.Headers = map[string]string{"Authorization": "Bearer e", "X-Both": "endpoint", "Taskgate-Attempt": "99", "host": "evil"}
	req.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	req.Message.Headers = []task.Header{
		{Name: "X-Task", Value: "1"},
		{Name: "x-task", Value: "2"},
		{Name: "X-Both", Value: "task"},
		{Name: "webhook-id", Value: "forged"},
		{Name: "Transfer-Encoding", Value: "chunked"},
		{Name: "Content-Length", Value: "1"},
		{Name: "User-Agent", Value: "x"},
		{Name: "X-Idempotency-Key", Value: "x"},
		{Name: "Bad Name", Value: "x"},
		{Name: "X-Bad", Value: "a\r\nb"},
		{Name: "Authorization", Value: "task"},
	}
	begin := time.Now()
	a := newSender(t, loopback(), "").Send(t.Context(), req)
	if a.Status != http.StatusCreated || string(a.Body) != "done" || a.State != BodyWhole || !a.Sent || a.Err != nil || a.Took <= 0 {
		t.Fatalf("%+v", a)
	}
	s := <-got
	if string(s.body) != payload || s.r.Method != http.MethodPut || s.r.URL.RawQuery != "token=abc" || s.r.ContentLength != int64(len(payload)) {
		t.Errorf("%s %s %d %q", s.r.Method, s.r.URL, s.r.ContentLength, s.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Taskgate/1.2.3", "Webhook-Id": string(testID), "Idempotency-Key": string(testID),
		"Taskgate-Attempt": "3", "Taskgate-Max-Attempts": "10", "Taskgate-Suspect": "true", "Taskgate-Endpoint": "orders",
		"Traceparent": req.TraceParent, "X-Task": "1,2", "X-Both": "endpoint", "Authorization": "Bearer e",
		"Accept-Encoding": "", "X-Idempotency-Key": "", "X-Bad": "",
	} {
		if got := strings.Join(s.r.Header.Values(name), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if s.r.Host != strings.TrimPrefix(srv.URL, "http://") {
		t.Error(s.r.Host)
	}
	deadline, err := time.Parse(time.RFC3339, s.r.Header.Get("Taskgate-Deadline"))
	if err != nil || deadline.Before(begin.Add(long-time.Second)) || deadline.After(time.Now().Add(long)) {
		t.Errorf("deadline %s, %v", deadline, err)
	}
	wh, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(s.body, s.r.Header); err != nil {
		t.Error(err)
	}
}

func TestSendMethods(t *testing.T) {
	type seen struct {
		method string
		length int64
		te     []string
	}
	got := make(chan seen, 1)
	srv := server(t, func(_ http.ResponseWriter, r *http.Request) {
		got <- seen{r.Method, r.ContentLength, r.TransferEncoding}
	})
	s := newSender(t, loopback(), "")
	for _, m := range []string{"", "POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS"} {
		for _, payload := range []string{"", "body"} {
			req := request(srv.URL, payload)
			req.Endpoint.Method = m
			if a := s.Send(t.Context(), req); a.Status != http.StatusOK {
				t.Fatalf("%s: %+v", m, a)
			}
			r := <-got
			if want := max(m, "POST"); m == "" && r.method != want || m != "" && r.method != m {
				t.Errorf("%s arrives as %s", m, r.method)
			}
			if r.length != int64(len(payload)) || len(r.te) != 0 {
				t.Errorf("%s %q: length %d, %v", m, payload, r.length, r.te)
			}
		}
	}
}

// TestSendFailures: each way of a handler to fail, by its reason.
func TestSendBoundsBodies(t *testing.T) {
	var written atomic.Int64
	endless := func(status int) string {
		return server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			chunk := bytes.Repeat([]byte("y"), 64<<10)
			for range 1 << 14 { // 1 GiB
				n, err := w.Write(chunk)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}).URL
	}
	s := newSender(t, loopback(), "")
	send := func(url string, limit int) (*Answer, int) {
		read := 0
		req := request(url, "x")
		req.Endpoint.Result.MaxBytes = limit
		req.Reading = func(n int) { read += n }
		return s.Send(t.Context(), req), read
	}
	if a, read := send(endless(200), 0); a.State != BodyTooLarge || len(a.Body) != task.DefaultResultBytes || read > task.DefaultResultBytes+1 {
		t.Errorf("%v, %d kept, %d read", a.State, len(a.Body), read)
	}
	if a, read := send(endless(500), 0); a.Status != 500 || a.State != BodyWhole || len(a.Body) != task.MaxAnswerKept || read > task.MaxAnswerKept+1 {
		t.Errorf("%v, %d kept, %d read", a.State, len(a.Body), read)
	}
	if n := written.Load(); n > 100<<20 {
		t.Errorf("the handlers could write %d bytes", n)
	}
	sized := func(n int) string {
		return server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("z"), n)) }).URL
	}
	if a, _ := send(sized(100), 100); a.State != BodyWhole || len(a.Body) != 100 {
		t.Errorf("at the cap: %+v", a)
	}
	if a, _ := send(sized(101), 100); a.State != BodyTooLarge || len(a.Body) > task.MaxAnswerKept {
		t.Errorf("over the cap: %v %d", a.State, len(a.Body))
	}
}

// TestSendOnce: whatever net/http would like to repeat by itself, a handler
// that may have had the request is not asked again within one attempt.
// flaky fails the first dials.
