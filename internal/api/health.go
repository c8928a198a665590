package api

import (
	"context"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
)

// GetLiveness says that the process answers.
func (s *Server) GetLiveness(c echo.Context) error {
	return s.json(c, http.StatusOK, gen.Health{Status: gen.HealthStatusOk})
}

// GetReadiness says whether requests have a fair chance now.
func (s *Server) GetReadiness(c echo.Context, params gen.GetReadinessParams) error {
	checks := s.checkAll(c.Request().Context())
	out := gen.Health{Status: gen.HealthStatusOk}
	for i, check := range checks {
		switch {
		case check.Status == gen.HealthStatusOk:
		case !s.Ready[i].Optional:
			out.Status = gen.HealthStatusUnavailable
		case out.Status == gen.HealthStatusOk:
			out.Status = gen.HealthStatusDegraded
		}
	}
	if s.draining.Load() {
		out.Status = gen.HealthStatusUnavailable
	}
	if v := params.Verbose; v != nil && *v != "false" && *v != "0" {
		out.Checks = checks
	}
	status := http.StatusOK
	if out.Status == gen.HealthStatusUnavailable {
		status = http.StatusServiceUnavailable
	}
	return s.json(c, status, out)
}

// checkAll asks every dependency at once and waits for all of them.
func (s *Server) checkAll(ctx context.Context) []gen.HealthCheck {
	ctx, cancel := context.WithTimeout(ctx, s.opt.ReadyTimeout)
	defer cancel()
	out := make([]gen.HealthCheck, len(s.Ready))
	var wg sync.WaitGroup
	for i, check := range s.Ready {
		wg.Go(func() {
			out[i] = gen.HealthCheck{Name: check.Name, Status: gen.HealthStatusOk}
			if err := check.Ready(ctx); err != nil {
				out[i].Status = gen.HealthStatusUnavailable
				s.opt.Logger.DebugContext(ctx, "not ready", "check", check.Name, "error", err)
			}
		})
	}
	wg.Wait()
	return out
}
