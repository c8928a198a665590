package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	adminTimeout      = 10 * time.Second
	readyTimeout      = 2 * time.Second
	adminWriteTimeout = 90 * time.Second // a CPU profile takes 30 s
)

// admin serves health, metrics and, when enabled, pprof on an address of its
// own.
func (a *App) admin(ctx context.Context, checks []check) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { a.readyz(w, r, checks) })
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	if a.cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: adminTimeout, ReadTimeout: adminTimeout, WriteTimeout: adminWriteTimeout,
	}
	addr, err := a.listen(ctx, "admin", a.cfg.AdminListen, srv, nil)
	a.adminAddr = addr
	return err
}

// readyz says whether each dependency answers; 503 when one does not, or when
// the process is about to stop.
func (a *App) readyz(w http.ResponseWriter, r *http.Request, checks []check) {
	status, parts := http.StatusOK, map[string]string{}
	if a.stopping.Err() != nil {
		status, parts["process"] = http.StatusServiceUnavailable, "stopping"
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	for _, c := range checks {
		parts[c.name] = "ok"
		if err := c.ready(ctx); err != nil {
			a.log.WarnContext(ctx, "not ready", "part", c.name, "error", err)
			status, parts[c.name] = http.StatusServiceUnavailable, "unavailable"
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.URL.Query().Has("verbose") {
		_ = json.NewEncoder(w).Encode(parts) //nolint:errchkjson // strings; the connection's faults are its own
	}
}
