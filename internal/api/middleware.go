package api

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// call is what is known of a request beside what HTTP says.
type call struct {
	id     string
	op     *operation // nil: no such operation
	from   netip.Addr // the client's
	who    auth.Principal
	faults faults
	code   task.Code // of the problem it was answered with
	target string    // what an audited operation made, when its path does not name it
	place  place     // what it holds of what is bounded
}

const callKey = "taskgate.call"

func callOf(c echo.Context) *call {
	if v, ok := c.Get(callKey).(*call); ok {
		return v
	}
	return &call{}
}

// observe names the request, answers for panics, and has what came of it told.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		r := c.Request()
		own := &call{id: rand.Text(), op: s.contract.find(c), from: clientOf(c)}
		c.Set(callKey, own)
		s.expectBody(c)
		h := c.Response().Header()
		h.Set(echo.HeaderXRequestID, own.id)
		s.guardBrowsers(h)
		if ctx := s.opt.Observer.Begin(r, own.id, own.route()); ctx != r.Context() {
			c.SetRequest(r.WithContext(ctx))
		}
		defer own.place.leave()
		err := s.recovering(next, c)
		own.place.leave()
		if err != nil {
			s.handleError(err, c)
		}
		s.tell(c, own, time.Since(start))
		if err != nil && !c.Response().Committed {
			// Left alone, net/http would say 200 to whoever listens still.
			panic(http.ErrAbortHandler)
		}
		return nil
	}
}

func (s *Server) recovering(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // a panic's value is compared, as net/http does
			panic(v)
		}
		s.opt.Logger.ErrorContext(c.Request().Context(), "panic", "request", callOf(c).id, "panic", v, "stack", string(debug.Stack()))
		err = task.Wrap(task.CodeInternal, fmt.Errorf("panic: %v", v), "")
	}()
	return next(c)
}

// strays: the router takes nothing for a parameter, and all the rest of a path
// for its last one.
func strays(c echo.Context) bool {
	return slices.ContainsFunc(c.ParamValues(), func(v string) bool { return v == "" || strings.Contains(v, "/") })
}

// guard lets in who may do what they ask for.
func (s *Server) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		own := callOf(c)
		if own.op == nil || own.op.scope == "" {
			return next(c)
		}
		if strays(c) {
			return echo.ErrNotFound
		}
		who, err := s.Auth.Authenticate(c.Request(), own.from)
		own.who = who
		if err != nil {
			return err
		}
		if err := who.Require(own.op.scope); err != nil {
			return err
		}
		if who.Token && !s.findProject(c.Request().Context(), who.Project) {
			return task.Errorf(auth.CodeForbidden, "the token's project is not there")
		}
		project, err := s.actsIn(c, own)
		if err != nil {
			return err
		}
		own.who.Project = project
		if err := withinBinding(c, own); err != nil {
			return err
		}
		return next(c)
	}
}

// check holds the request's head against the contract.
func (s *Server) check(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		own := callOf(c)
		if own.op == nil {
			return next(c)
		}
		if !acceptable(c.Request().Header.Values(echo.HeaderAccept), own.op.offers) {
			return task.Errorf(codeNotAcceptable, "this answers with %s only", strings.Join(own.op.offers, " or "))
		}
		bindable, err := checkParams(c, own.op, &own.faults)
		if err != nil {
			return err
		}
		// What the generated code cannot bind must not reach it.
		if !own.op.late || !bindable {
			if err := own.faults.err(); err != nil {
				return err
			}
		}
		if c.Request().ContentLength == 0 || own.op.media == "" && !own.op.late {
			if err := s.enter(c); err != nil {
				return err
			}
		}
		return next(c)
	}
}

// acceptable reports whether Accept (RFC 9110, section 12.5.1) allows one of
// the media types offered. No offer or no Accept allows everything.
func acceptable(accept, offers []string) bool {
	ranges := strings.Split(strings.Join(accept, ","), ",")
	if len(offers) == 0 || strings.TrimSpace(strings.Join(accept, "")) == "" {
		return true
	}
	for _, r := range ranges {
		media, params, _ := strings.Cut(strings.ToLower(r), ";")
		if refused(params) {
			continue
		}
		for _, offer := range offers {
			if matches(strings.TrimSpace(media), offer) {
				return true
			}
		}
	}
	return false
}

// refused reports whether the parameters say q=0.
func refused(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if q, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			return strings.Trim(q, "0.") == ""
		}
	}
	return false
}

func matches(media, offer string) bool {
	major, _, _ := strings.Cut(offer, "/")
	return media == "*/*" || media == offer || media == major+"/*" || offer == "*/*"
}
