package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"
)

const (
	adminTimeout      = 10 * time.Second
	adminWriteTimeout = 90 * time.Second // a CPU profile takes 30 s
)

// admin serves health, metrics and, when enabled, pprof on an address of its
// own.
func (a *App) admin(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", a.metrics.Handler())
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

// The words of readiness.
const (
	statusOK          = "ok"
	statusDegraded    = "degraded"    // works on, with less
	statusUnavailable = "unavailable" // 503
)

// readiness is what /readyz tells operators. It names servers and causes,
// which the API's own /readyz never does.
type readiness struct {
	Status   string          `json:"status"`
	Stopping bool            `json:"stopping,omitempty"`
	Checks   []readinessPart `json:"checks,omitempty"`
	// Warnings are of the checks at the start.
	Warnings []string `json:"warnings,omitempty"`
	Role     string   `json:"role,omitempty"`
	Version  string   `json:"version,omitempty"`
}

type readinessPart struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	// Vital: the process is not ready without it.
	Vital     bool      `json:"vital"`
	LatencyMS float64   `json:"latency_ms"`
	CheckedAt time.Time `json:"checked_at"`
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"`
}

// readyz says whether the process can work: 503 when a vital dependency does
// not answer, or when the process is about to stop.
func (a *App) readyz(w http.ResponseWriter, r *http.Request) {
	out := a.readiness(a.health.all(r.Context()))
	if v := r.URL.Query(); !v.Has("verbose") || v.Get("verbose") == "false" || v.Get("verbose") == "0" {
		out = readiness{Status: out.Status}
	}
	status := http.StatusOK
	if out.Status == statusUnavailable {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(out) //nolint:errchkjson // its numbers are finite; the connection's faults are its own
}

func (a *App) readiness(parts []outlook) readiness {
	out := readiness{Status: statusOK, Warnings: a.health.warnings(), Role: string(a.cfg.Role), Version: Version()}
	for _, p := range parts {
		part := readinessPart{
			Name: p.name, Status: statusOK, Vital: p.vital, LatencyMS: float64(p.took.Microseconds()) / 1000,
			CheckedAt: p.at.UTC(), Since: p.since.UTC(),
		}
		if p.err != nil {
			part.Status, part.Error = statusUnavailable, p.err.Error()
			if out.Status == statusOK {
				out.Status = statusDegraded
			}
			if p.vital {
				out.Status = statusUnavailable
			}
		}
		out.Checks = append(out.Checks, part)
	}
	if a.stopping.Err() != nil {
		out.Status, out.Stopping = statusUnavailable, true
	}
	return out
}
