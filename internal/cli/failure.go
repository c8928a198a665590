package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/taskgate/taskgate/client"
)

// failure is why a command did not do what it was asked. A problem that the
// server answered with is kept whole.
type failure struct {
	Title  string         `json:"title"`
	Detail string         `json:"detail,omitempty"`
	Code   string         `json:"code"`
	Status int            `json:"status,omitempty"`
	Errors []client.Fault `json:"errors,omitempty"`

	exit    Exit
	hint    string          // what to do about it, for a person
	problem json.RawMessage // as the server sent it
	request string          // the request's id
}

// Error is for logs; people get the lines of session.report.
func (f *failure) Error() string {
	if f.Detail == "" {
		return f.Title
	}
	return f.Title + ": " + f.Detail
}

// quiet ends a command with an exit code and no further word.
type quiet Exit

func (q quiet) Error() string { return fmt.Sprintf("exit code %d", int(q)) }

// usage is a fault of arguments, settings or files.
func usage(format string, args ...any) error {
	return &failure{exit: ExitUsage, Code: "usage", Title: "Wrong use", Detail: fmt.Sprintf(format, args...)}
}

// unreachable is a request without an answer.
func unreachable(server string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = "no answer in time"
	}
	return &failure{
		exit: ExitUnavailable, Code: "unreachable", Title: "The server cannot be reached", Detail: server + ": " + text,
	}
}

// statusOf is the status that the server answered with, 0 without one.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.Status
	}
	return 0
}

// asFailure makes a failure of any error, and finds the exit code.
func asFailure(err error) *failure {
	var f *failure
	var i interrupted
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &i):
		return &failure{exit: ExitInterrupted, Code: "interrupted", Title: "Interrupted", Detail: i.Error()}
	}
	return &failure{exit: ExitUnavailable, Code: "client", Title: "Failed", Detail: err.Error()}
}

// fail reports a command's error, if any, and returns its exit code.
func (s *session) fail(err error) Exit {
	var q quiet
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &q):
		return Exit(q)
	}
	return s.report("", err)
}

// report tells of a failure that is about the named thing, "" for the command
// as a whole.
func (s *session) report(about string, err error) Exit {
	f := asFailure(err)
	s.progress.stop()
	if s.asJSON {
		doc := struct {
			About string `json:"about,omitempty"`
			Error any    `json:"error"`
		}{about, f}
		if f.problem != nil {
			doc.Error = f.problem
		}
		text, err := line(doc)
		if err != nil {
			text = `{"error":{"code":"client","title":"Failed"}}` + "\n"
		}
		fmt.Fprint(orDiscard(s.Stderr), text)
		return f.exit
	}
	fmt.Fprint(orDiscard(s.Stderr), f.text(about))
	return f.exit
}

// text is the failure for a person: title and detail, each fault with its
// pointer, what to do, and the request's id for the server's logs.
func (f *failure) text(about string) string {
	var out strings.Builder
	out.WriteString(program + ": ")
	if about != "" {
		out.WriteString(clean(about) + ": ")
	}
	switch {
	case f.exit == ExitUsage, strings.HasPrefix(strings.ToLower(f.Detail), strings.ToLower(f.Title)):
		out.WriteString(clean(f.Detail)) // which says it all
	case f.Detail != "":
		out.WriteString(clean(f.Title) + ": " + clean(f.Detail))
	default:
		out.WriteString(clean(f.Title))
	}
	if f.Status != 0 {
		fmt.Fprintf(&out, " (%d %s)", f.Status, clean(f.Code))
	}
	out.WriteString("\n")
	for _, fault := range f.Errors {
		fmt.Fprintf(&out, "  %s: %s\n", clean(or(fault.Pointer, "body")), clean(fault.Detail))
	}
	if f.hint != "" {
		out.WriteString("  " + clean(f.hint) + "\n")
	}
	if f.request != "" {
		out.WriteString("  request " + clean(f.request) + "\n")
	}
	return out.String()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
