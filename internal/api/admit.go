package api

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/task"
)

// gates bound what this process holds and works, whatever is asked of it.
type gates struct {
	work   *admission.Gate   // with broker and store
	bodies *admission.Budget // bytes
	polls  *admission.Budget
}

// A burst waits for up to patience; when the queue does not empty, haste is
// all that waiting adds to an answer.
const (
	patience = 500 * time.Millisecond
	haste    = 50 * time.Millisecond
)

func newGates(opt *Options) gates {
	return gates{
		work: admission.NewGate(admission.GateOptions{
			Limit: opt.MaxInflight, Queue: opt.MaxInflight, Patience: patience, Haste: haste,
		}),
		bodies: admission.NewBudget(int64(opt.MaxBodies)),
		polls:  admission.NewBudget(int64(opt.MaxPolls)),
	}
}

// Load is what the server holds and works now.
type Load struct {
	Working, Queued       int
	Polls, MaxPolls       int64
	BodyBytes, BodyBudget int64
}

// Load is read from memory.
func (s *Server) Load() Load {
	var l Load
	l.Working, l.Queued = s.gates.work.Load()
	l.Polls, l.MaxPolls = s.gates.polls.Held()
	l.BodyBytes, l.BodyBudget = s.gates.bodies.Held()
	return l
}

// place is what a request holds of what is bounded. The zero value holds
// nothing.
type place struct {
	gates  *gates
	who    string
	inside bool
	parked bool
	bytes  int64
}

// leave gives back the place among those that are worked, and the body.
func (p *place) leave() {
	if p.inside {
		p.inside = false
		p.gates.work.Leave(p.who)
	}
	if p.bytes > 0 {
		p.gates.bodies.Give(p.who, p.bytes)
		p.bytes = 0
	}
	p.unpark()
}

func (p *place) unpark() {
	if p.parked {
		p.parked = false
		p.gates.polls.Give(p.who, 1)
	}
}

// enter takes a place among the requests that are worked. It is called when the
// whole request is here: a slow sender holds none.
func (s *Server) enter(c echo.Context) error {
	own := callOf(c)
	if own.op == nil || own.op.scope == "" || own.place.inside {
		return nil
	}
	p := &own.place
	p.gates, p.who = &s.gates, own.who.KeyID
	if !s.gates.work.Enter(c.Request().Context(), p.who) {
		return overloaded("the server has as many requests as it can work; repeat later")
	}
	p.inside = true
	return nil
}

// holdBody accounts for a body before it is read.
func (s *Server) holdBody(c echo.Context, limit int) error {
	own := callOf(c)
	n := c.Request().ContentLength
	if n == 0 {
		return nil
	}
	if n < 0 {
		n = int64(limit)
	}
	p := &own.place
	p.gates, p.who = &s.gates, own.who.KeyID
	if !s.gates.bodies.Take(p.who, n) {
		return overloaded("the server holds as many bodies as it can; repeat later")
	}
	p.bytes += n
	return nil
}

// park gives the place to others for the time of a long-poll, which has limits
// of its own.
func (s *Server) park(c echo.Context) error {
	own := callOf(c)
	p := &own.place
	p.leave()
	p.gates, p.who = &s.gates, own.who.KeyID
	if !s.gates.polls.Take(p.who, 1) {
		return overloaded("the server has as many long-polls as it can hold; ask without a wait, or repeat later")
	}
	p.parked = true
	return nil
}

// spread keeps those who are refused together from coming back together.
const spread = 3 * time.Second

func overloaded(detail string) error {
	err := task.Errorf(task.CodeOverloaded, "%s", detail)
	err.RetryAfter = time.Second + rand.N(spread) //nolint:gosec // spreads load, hides nothing
	return err
}

// comesIn are the operations that count against the rate of a project: each
// brings a task that is to be delivered.
var comesIn = map[string]bool{"submitTask": true, "submitRawTask": true, "retryTask": true, "retryTasks": true}

// admit refuses what is over a limit before anything is read or looked up for
// it.
func (s *Server) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		own := callOf(c)
		if own.op == nil || own.op.scope == "" {
			return next(c)
		}
		if s.gates.work.Refuses(own.who.KeyID) {
			return overloaded("the server has as many requests as it can work; repeat later")
		}
		if err := s.holdToRates(c, own); err != nil {
			return err
		}
		return next(c)
	}
}

// rated is a limit that a request counts against.
type rated struct {
	policy string // its name to the caller
	name   string // among all
	rate   task.Rate
	may    string // what is limited, in words
}

func (s *Server) ratesOf(own *call) []rated {
	var out []rated
	if r := own.who.Rate; !r.IsZero() {
		out = append(out, rated{"key", "k:" + own.who.KeyID, r, "this key may make %s requests a second"})
	}
	if comesIn[own.op.id] {
		if r := s.quotasOf(own.who.Project).Rate; !r.IsZero() {
			out = append(out, rated{"project", "p:" + own.who.Project, r, "this project may submit or replay %s tasks a second"})
		}
	}
	return out
}

func (s *Server) quotasOf(project string) task.Quotas {
	q := s.opt.Quotas
	if p, ok := s.Projects.Project(project); ok {
		q = p.Quotas.Or(q)
	}
	return q
}

// holdToRates counts the request and tells what is left.
func (s *Server) holdToRates(c echo.Context, own *call) error {
	if s.Rates == nil {
		return nil
	}
	var policies, left httpsfv.List
	defer func() { tellRates(c, policies, left) }()
	for _, l := range s.ratesOf(own) {
		p := s.Rates.Take(c.Request().Context(), l.name, l.rate)
		missing := l.rate.Burst - min(p.Left, l.rate.Burst)
		policies = append(policies, field(l.policy, "q", int64(l.rate.Burst), "w", seconds(l.rate.Window())))
		left = append(left, field(l.policy, "r", int64(p.Left), "t", seconds(time.Duration(missing)*l.rate.Interval())))
		if !p.OK {
			err := task.Errorf(task.CodeRateLimited, l.may, strconv.FormatFloat(l.rate.PerSecond, 'g', -1, 64))
			err.RetryAfter = p.Wait
			return err
		}
	}
	return nil
}

// Headers of draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
const (
	headerRatePolicy = "RateLimit-Policy"
	headerRate       = "RateLimit"
)

func tellRates(c echo.Context, policies, left httpsfv.List) {
	if len(policies) == 0 {
		return
	}
	h := c.Response().Header()
	for name, list := range map[string]httpsfv.List{headerRatePolicy: policies, headerRate: left} {
		if text, err := httpsfv.Marshal(list); err == nil {
			h.Set(name, text)
		}
	}
}

// field is one limit as a structured field: "name";a=x;b=y.
func field(name, a string, x int64, b string, y int64) httpsfv.Item {
	item := httpsfv.NewItem(name)
	item.Params.Add(a, x)
	item.Params.Add(b, y)
	return item
}

// seconds rounds up: what is told too early is asked for in vain.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
