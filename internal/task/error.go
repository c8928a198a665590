package task

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code classifies an [Error]. The API has the one table from code to status.
type Code string

// The codes that domain and adapters use. Anything else is internal.
const (
	CodeInvalid        Code = "invalid"     // well-formed but wrong: see Faults
	CodeNotFound       Code = "not_found"   // no such thing in this project
	CodeConflict       Code = "conflict"    // the present state forbids it
	CodeInProgress     Code = "in_progress" // the same idempotency key is being accepted right now
	CodeKeyReused      Code = "idempotency_key_reused"
	CodePayloadNotKept Code = "payload_not_kept" // replay needs a payload that was too large to keep
	CodeEndpointBusy   Code = "endpoint_has_tasks"
	CodeNotAccepted    Code = "not_accepted"    // surely nothing was stored: repeat
	CodeOutcomeUnknown Code = "outcome_unknown" // perhaps stored: repeat with the same key
	CodeUnavailable    Code = "unavailable"     // broker or store cannot be reached now
	CodeReadOnly       Code = "read_only"
	CodeRateLimited    Code = "rate_limited"   // too often
	CodeQuotaExceeded  Code = "quota_exceeded" // the project has as much as it may have
	CodeOverloaded     Code = "overloaded"     // more requests than can be worked
	CodeInternal       Code = "internal"
)

// ErrUnchanged is what the function given to an update may return to leave
// everything as it is: the update then returns what is there, without an
// error. It is meant for things that exist.
var ErrUnchanged = errors.New("unchanged")

// Fault is one thing wrong with an input, and where.
type Fault struct {
	// Pointer is a JSON pointer (RFC 6901) into the body, or the name of a
	// header or query parameter.
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// Error is the one error type that crosses room borders with a meaning.
type Error struct {
	Code   Code
	Detail string // for the caller: no internals, no secrets
	TaskID ID     // the task it is about, when the caller needs it
	Faults []Fault
	// RetryAfter is when a repeat makes sense, when that is known.
	RetryAfter time.Duration
	Err        error // the cause, for logs only
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Detail)
	for _, f := range e.Faults {
		fmt.Fprintf(&b, "; %s: %s", f.Pointer, f.Detail)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] with a formatted detail.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap makes an [Error] that carries its cause for the logs.
func Wrap(code Code, err error, detail string) *Error {
	return &Error{Code: code, Detail: detail, Err: err}
}

// CodeOf returns the code of err, [CodeInternal] when it has none, and "" for
// nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
