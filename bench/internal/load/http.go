package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskgate/taskgate/bench/internal/wire"
)

const (
	// wait is how long one long-poll may take; it is repeated until the result is there. parkedWait
	// is Taskgate's longest: all are there before the first ends.
	wait       = "30s"
	parkedWait = "60s"
	// excerpt bounds what a message quotes of an answer.
	excerpt = 300
)

// httpTarget speaks to Taskgate, or to the front of package intake: both answer a submission with
// a Location, below which the result is.
type httpTarget struct {
	t      wire.Target
	client *http.Client

	// For callbacks instead of long-polls.
	sink  *http.Server
	url   string
	mu    sync.Mutex
	calls map[string]chan []byte
}

func newHTTP(ctx context.Context, t wire.Target) (*httpTarget, error) {
	h := &httpTarget{t: t, client: &http.Client{Transport: &http.Transport{
		// As many connections as requests at once, kept as long as they are of use.
		MaxIdleConns: 1 << 16, MaxIdleConnsPerHost: 1 << 16, DisableCompression: true,
	}}}
	if !t.Callback {
		return h, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.calls = map[string]chan []byte{}
	h.url = "http://" + l.Addr().String() + "/"
	h.sink = &http.Server{Handler: http.HandlerFunc(h.called), ReadHeaderTimeout: time.Minute}
	go func() { _ = h.sink.Serve(l) }()
	return h, nil
}

func (h *httpTarget) close() {
	if h.sink != nil {
		_ = h.sink.Close()
	}
	h.client.CloseIdleConnections()
}

// endpoint is the one of task n.
func (h *httpTarget) endpoint(n int64) string {
	if h.t.Endpoints <= 1 {
		return h.t.Endpoint
	}
	return h.t.Endpoint + "-" + strconv.FormatInt(n%int64(h.t.Endpoints), 10)
}

// body is the submission's: the payload, or what Taskgate takes it in.
func (h *httpTarget) body(n int64, payload []byte) []byte {
	if h.t.Endpoint == "" {
		return payload
	}
	b := make([]byte, 0, len(payload)+len(h.url)+100) //nolint:mnd // the rest of it
	b = append(b, `{"endpoint":"`...)
	b = append(b, h.endpoint(n)...)
	b = append(b, `","payload":`...)
	b = append(b, payload...)
	if h.t.Callback {
		b = append(b, `,"callback":{"url":"`+h.url+`","on":["succeeded"]}`...)
	}
	return append(b, '}')
}

func (h *httpTarget) submit(ctx context.Context, n int64, payload []byte) (string, error) {
	key := ""
	if h.t.Idempotency {
		// The process's start makes it unlike those of other loads.
		key = began + strconv.FormatInt(n, 10)
	}
	resp, err := h.post(ctx, h.t.Submit, h.body(n, payload), key)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusAccepted {
		return "", unexpected("submission", resp)
	}
	location := resp.Header.Get("Location")
	if h.t.Callback {
		h.channel(location[strings.LastIndexByte(location, '/')+1:])
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return location, err
}

var began = strconv.FormatInt(time.Now().UnixNano(), 36) + "-" //nolint:mnd // digits and letters

func (h *httpTarget) post(ctx context.Context, path string, body []byte, key string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.t.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range h.t.Header {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return h.client.Do(req)
}

func unexpected(what string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, excerpt))
	return fmt.Errorf("%s: %s: %s", what, resp.Status, bytes.TrimSpace(text))
}

func (h *httpTarget) result(ctx context.Context, location string) ([]byte, error) {
	if h.t.Callback {
		return h.callback(ctx, location)
	}
	for {
		b, err := h.poll(ctx, location, wait)
		if err != nil || b != nil {
			return b, err
		}
	}
}

// poll is one long-poll; nil without an error when there is no result yet.
func (h *httpTarget) poll(ctx context.Context, location, wait string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.t.Base+location+"/result?wait="+wait, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range h.t.Header {
		req.Header.Set(name, value)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(resp.Body)
	case http.StatusAccepted:
		_, err = io.Copy(io.Discard, resp.Body)
		return nil, err
	}
	return nil, unexpected("result", resp)
}

// channel is where the callback of a task arrives, whoever of the two sides comes first.
func (h *httpTarget) channel(id string) chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.calls[id]
	if c == nil {
		c = make(chan []byte, 1)
		h.calls[id] = c
	}
	return c
}

func (h *httpTarget) callback(ctx context.Context, location string) ([]byte, error) {
	id := location[strings.LastIndexByte(location, '/')+1:]
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.calls, id)
	}()
	select {
	case b := <-h.channel(id):
		return b, nil
	case <-ctx.Done():
		return nil, errors.New("no callback came")
	}
}

// called takes a callback: {"type": …, "data": {task with result}}. The task's id is the longest
// thing that can be told without knowing more of the contract: "id" in data.
func (h *httpTarget) called(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	_, rest, ok := bytes.Cut(body, []byte(`"id":"`))
	id, _, whole := bytes.Cut(rest, []byte(`"`))
	if !ok || !whole {
		return
	}
	select {
	case h.channel(string(id)) <- body:
	default: // delivered twice
	}
}
