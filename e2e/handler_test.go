package e2e_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// delivery is one request that reached a handler.
type delivery struct {
	at     time.Time
	method string
	header http.Header
	body   []byte
}

// handler is a user's program: it records what it gets and answers by its
// script, the last step repeating.
type handler struct {
	*httptest.Server
	mu   sync.Mutex
	got  []delivery
	news chan delivery
	busy atomic.Int32
}

type answer func(w http.ResponseWriter, r *http.Request)

func status(code int, header ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func body(code int, kind, text string) answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

// hang holds the request until the caller gives up.
func hang(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(30 * time.Second):
	}
}

func serve(t *testing.T, script ...answer) *handler {
	t.Helper()
	h := &handler{news: make(chan delivery, 10_000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		d := delivery{at: time.Now(), method: r.Method, header: r.Header.Clone(), body: b}
		h.mu.Lock()
		h.got = append(h.got, d)
		n := len(h.got)
		h.mu.Unlock()
		h.news <- d
		h.busy.Add(1)
		defer h.busy.Add(-1)
		script[min(n, len(script))-1](w, r.WithContext(context.WithValue(r.Context(), bodyKey{}, b)))
	}))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

// idle: no request is being answered.
func (h *handler) idle() bool { return h.busy.Load() == 0 }

func (h *handler) deliveries() []delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]delivery(nil), h.got...)
}

// next waits for the next delivery.
func (h *handler) next(t *testing.T) delivery {
	t.Helper()
	select {
	case d := <-h.news:
		return d
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was delivered")
		return delivery{}
	}
}

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := r.Context().Value(bodyKey{}).([]byte)
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	_, _ = w.Write(b)
}

type bodyKey struct{}
