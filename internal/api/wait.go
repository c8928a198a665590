package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/task"
)

// headerPreferenceApplied is of RFC 7240, section 3.
const headerPreferenceApplied = "Preference-Applied"

// wait returns how long the caller wants to wait, at most MaxWait. A Prefer
// that was heeded is confirmed.
func (s *Server) wait(c echo.Context, query, prefer *string) time.Duration {
	if query != nil {
		d, err := task.ParseDuration(*query)
		if err != nil {
			callOf(c).faults.param("wait", err.Error())
		}
		return min(d, s.opt.MaxWait)
	}
	if prefer == nil {
		return 0
	}
	d, ok := preferredWait(*prefer)
	if !ok {
		return 0
	}
	d = min(d, s.opt.MaxWait)
	c.Response().Header().Set(headerPreferenceApplied, "wait="+strconv.Itoa(int(d/time.Second)))
	return d
}

// maxPreferred keeps the product with a second within a Duration.
const maxPreferred = 1 << 30

// preferredWait reads wait=N of a Prefer header (RFC 7240, section 4.3): the
// first wait counts, and what cannot be understood is ignored.
func preferredWait(prefer string) (time.Duration, bool) {
	for part := range splitQuoted(prefer, ',') {
		pref, _, _ := strings.Cut(part, ";")
		name, value, _ := strings.Cut(pref, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
		if err != nil {
			return 0, false
		}
		return time.Duration(min(n, maxPreferred)) * time.Second, true
	}
	return 0, false
}

// splitQuoted splits at sep outside of quoted strings.
func splitQuoted(s string, sep byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		from, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case quoted && s[i] == '\\':
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == sep && !quoted:
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(s[from:])
	}
}
