package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

// Observer is told of requests. It must not block.
type Observer interface {
	// Begin is told of a request before anything is done with it, and returns
	// the context that it has from then on. route is the contract's path, ""
	// for none.
	Begin(r *http.Request, id, route string) context.Context
	// End is told of its end. ctx descends from what Begin returned.
	End(ctx context.Context, a *Access)
}

type nobody struct{}

func (nobody) Begin(r *http.Request, _, _ string) context.Context { return r.Context() }
func (nobody) End(context.Context, *Access)                       {}

// Access is a request that has ended, as logs, metrics and traces may show it:
// without query, headers and bodies.
type Access struct {
	ID        string // of the request
	Method    string
	Route     string // the contract's path, "" for none
	Operation string // the contract's name of it, "" for none
	Status    int
	Code      task.Code // of the problem it was answered with
	Bytes     int64     // of the answer's body
	Took      time.Duration
	Key       string // who asked: the key's id
	Project   string
	Peer      string // the client's address
}

// statusLeft stands for the answer that nobody waited for, as in many logs.
const statusLeft = 499

func (c *call) route() string {
	if c.op == nil {
		return ""
	}
	return c.op.route
}

// tell writes the log lines of a request that has ended and tells the
// observer.
func (s *Server) tell(c echo.Context, own *call, took time.Duration) {
	r, w := c.Request(), c.Response()
	a := &Access{
		ID: own.id, Method: r.Method, Route: own.route(), Status: w.Status, Code: own.code, Bytes: w.Size, Took: took,
		Key: own.who.KeyID, Project: own.who.Project, Peer: peer(own.from),
	}
	if own.op != nil {
		a.Operation = own.op.id
	}
	if !w.Committed {
		a.Status = statusLeft
	}
	ctx := r.Context()
	s.logAccess(ctx, a)
	if own.op != nil && own.op.audited && a.Code != auth.CodeUnauthenticated && a.Code != auth.CodeTooManyFailures {
		s.logAudit(ctx, a, own.targetOf(c))
	}
	s.opt.Observer.End(ctx, a)
}

func peer(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (s *Server) logAccess(ctx context.Context, a *Access) {
	level := slog.LevelDebug
	if s.opt.AccessLog && a.Operation != "getLiveness" && a.Operation != "getReadiness" {
		level = slog.LevelInfo
	}
	s.opt.Logger.LogAttrs(ctx, level, "request",
		slog.String("request", a.ID), slog.String("method", a.Method), slog.String("route", a.Route),
		slog.Int("status", a.Status), slog.Int64("bytes", a.Bytes), slog.Duration("took", a.Took),
		slog.String("key", a.Key), slog.String("project", a.Project), slog.String("peer", a.Peer))
}

// logAudit says who changed, or tried to change, what operators decide.
func (s *Server) logAudit(ctx context.Context, a *Access, target string) {
	outcome := "done"
	if a.Code != "" {
		outcome = string(a.Code)
	}
	s.opt.Audit.LogAttrs(ctx, slog.LevelInfo, "audit",
		slog.Bool("audit", true), slog.String("operation", a.Operation), slog.String("target", target), slog.String("outcome", outcome),
		slog.Int("status", a.Status), slog.String("key", a.Key), slog.String("project", a.Project),
		slog.String("peer", a.Peer), slog.String("request", a.ID))
}

// auditedTasks are the operations of tasks:write that change many tasks.
var auditedTasks = map[string]bool{"cancelTasks": true, "retryTasks": true, "cancelJob": true}

// audited reports whether an operation changes what operators decide:
// endpoints, keys, projects, many tasks at once.
func audited(method string, op *operation) bool {
	switch {
	case method == http.MethodGet, method == http.MethodHead, op.scope == "":
		return false
	case op.scope == auth.ScopeTasksWrite:
		return auditedTasks[op.id]
	}
	return true
}

// maxTarget bounds what a caller can write into the audit log.
const maxTarget = 200

// targetOf names what the operation was about: what it made, or the
// parameters of its path.
func (c *call) targetOf(e echo.Context) string {
	target := c.target
	if target == "" {
		target = strings.Join(e.ParamValues(), "/")
	}
	return target[:min(len(target), maxTarget)]
}
