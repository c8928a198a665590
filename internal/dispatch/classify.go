package dispatch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"

	"github.com/taskgate/taskgate/internal/task"
)

// Causes that end an attempt from our side ([context.Cause]).
var (
	// ErrCancelled: the task's user cancelled it.
	ErrCancelled = errors.New("task cancelled")
	// ErrShutdown: this process stops, and its grace is over.
	ErrShutdown = errors.New("dispatcher stops")

	errTimeout = errors.New("attempt timed out")
)

// classify names the reason of a failed exchange. cause is the attempt
// context's cause, nil while it lives; handshake the error of its TLS
// handshake, if one failed.
func classify(err, cause, handshake error) task.Reason {
	switch {
	case is[*BlockedError](err):
		return task.ReasonBlockedAddress
	case errors.Is(cause, ErrCancelled):
		return task.ReasonCancelled
	case errors.Is(cause, ErrShutdown):
		return task.ReasonShutdown
	case cause != nil, errors.Is(err, context.DeadlineExceeded):
		return task.ReasonTimeout
	case is[*net.DNSError](err):
		return task.ReasonDNS
	case handshake != nil, isTLS(err):
		return task.ReasonTLS
	case isDial(err):
		return task.ReasonConnect
	}
	return task.ReasonProtocol
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func isTLS(err error) bool {
	return is[*tls.CertificateVerificationError](err) || is[tls.RecordHeaderError](err) || is[tls.AlertError](err) ||
		is[x509.UnknownAuthorityError](err) || isAlert(err) || is[x509.HostnameError](err) || is[x509.CertificateInvalidError](err) ||
		errors.Is(err, http.ErrSchemeMismatch)
}

// isAlert: with TLS 1.3 a server refuses a client's certificate after the
// handshake.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// quickRetry decides whether a failed request may be made once more at once:
// only when it surely was never sent, and when a moment may help. Everything
// else is for the durable retry.
func quickRetry(reason task.Reason, sent bool) bool {
	return !sent && (reason == task.ReasonConnect || reason == task.ReasonProtocol)
}
