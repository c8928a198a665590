// Command handler is what every system under test calls: a local HTTP server that answers a task
// of the bench with about 100 bytes.
//
//	POST /            answers at once
//	POST /slow/200ms  answers after that time
//	GET  /count       how many were answered, by path, as JSON
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/taskgate/taskgate/bench/internal/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "handler:", err)
		os.Exit(1) //nolint:gocritic // the signals' end is the process's
	}
	h := &handler{counts: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, 0) })
	mux.HandleFunc("POST /slow/{wait}", func(w http.ResponseWriter, r *http.Request) {
		wait, _ := time.ParseDuration(r.PathValue("wait"))
		h.answer(w, r, wait)
	})
	mux.HandleFunc("GET /count", h.count)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second} //nolint:mnd // as every server should
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	fmt.Println("ready http://" + l.Addr().String())
	_ = srv.Serve(l)
}

type handler struct {
	mu     sync.Mutex
	counts map[string]int64 // by path
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	body, err := io.ReadAll(r.Body)
	n, ok := wire.Number(body, "n")
	if err != nil || !ok {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	}
	h.mu.Lock()
	h.counts[r.URL.Path]++
	h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(wire.Answer(n, time.Now()))
}

func (h *handler) count(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = json.NewEncoder(w).Encode(h.counts) //nolint:errchkjson // numbers
}
