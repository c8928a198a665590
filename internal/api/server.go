package api

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/api/gen"
)

// Server serves the API. It is safe for concurrent use.
type Server struct {
	Deps
	opt      Options
	contract *contract
	echo     *echo.Echo
	gates    gates
	draining atomic.Bool
}

var _ gen.ServerInterface = (*Server)(nil)

// New makes a server; it opens nothing.
func New(deps Deps, opt Options) (*Server, error) {
	c, err := loadContract()
	if err != nil {
		return nil, err
	}
	s := &Server{Deps: deps, opt: opt.withDefaults(), contract: c, echo: echo.New()}
	s.gates = newGates(&s.opt)
	s.echo.HTTPErrorHandler = s.handleError
	s.echo.IPExtractor = clientAddress(s.opt.TrustedProxies)
	s.echo.Use(s.observe, s.guard, s.admit, s.check)
	gen.RegisterHandlers(s.echo, s)
	s.docsAssets()
	return s, nil
}

// Handler is the whole API.
func (s *Server) Handler() http.Handler { return s.echo }

// Limits of a connection.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// HTTPServer is a server for [Server.Handler] with every limit set. There is
// no ReadTimeout: it would end long-polls; bodies have their own deadline.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      s.opt.WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug),
	}
}

// Drain makes /readyz say 503 from now on, so that no new requests are sent
// here while those in flight end.
func (s *Server) Drain() { s.draining.Store(true) }

// extend lets the answer come up to d later than usual. Writers that know no
// deadlines need no extension.
func (s *Server) extend(c echo.Context, d time.Duration) {
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(d + s.opt.WriteTimeout))
}
