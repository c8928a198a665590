package api

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/api/gen"
	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// wishes are a submission's options in the caller's words, from a JSON body
// or from query and headers.
type wishes struct {
	delay, runAt, expiresAt, expiresIn *string
	timeout, resultTTL                 *string
	retry                              *gen.Retry
}

// reader turns words into values and notes what is wrong with them.
type reader struct {
	// prefix is in front of each field's name, and retryPrefix in front of
	// those of a retry policy: "/" and "/retry/" in a JSON body.
	prefix, retryPrefix string
	note                func(pointer, detail string)
	opt                 *Options
	// late, if set, is told that a submission comes too late for its end.
	late *bool
}

func (r *reader) fault(field, detail string) { r.note(r.prefix+field, detail) }

func (r *reader) duration(field string, text *string) (time.Duration, bool) {
	if text == nil {
		return 0, false
	}
	d, err := task.ParseDuration(*text)
	if err != nil {
		r.fault(field, err.Error())
		return 0, false
	}
	return d, true
}

// bounded reads a duration from lo to hi; 0 when absent or wrong.
func (r *reader) bounded(field string, text *string, lo, hi time.Duration) time.Duration {
	d, ok := r.duration(field, text)
	if !ok {
		return 0
	}
	if d < lo || d > hi {
		r.fault(field, "must be from "+task.Duration(lo).String()+" to "+task.Duration(hi).String())
		return 0
	}
	return d
}

func (r *reader) time(field string, text *string) (time.Time, bool) {
	if text == nil {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, *text)
	// In UTC, as it is shown, an offset can lead out of the years that RFC 3339
	// can write.
	if year := at.UTC().Year(); err != nil || year < 0 || year > lastYear {
		r.fault(field, notATime)
		return time.Time{}, false
	}
	return at, true
}

const lastYear = 9999

// window notes bounds of a time that exclude each other.
func (r *reader) window(field string, from, before time.Time) {
	if !from.IsZero() && !before.IsZero() && before.Before(from) {
		r.fault(field, "must not be before the other bound: nothing lies in between")
	}
}

// moment reads one of a duration from now and a time.
func (r *reader) moment(now time.Time, inName string, in *string, atName string, at *string) time.Time {
	if in != nil && at != nil {
		r.fault(inName, "must not be given together with "+atName)
	}
	d, hasIn := r.duration(inName, in)
	t, hasAt := r.time(atName, at)
	switch {
	case hasIn && d > r.opt.MaxDelay:
		r.fault(inName, r.tooFar())
	case hasIn:
		return now.Add(d)
	case hasAt && t.After(now.Add(r.opt.MaxDelay)):
		r.fault(atName, r.tooFar())
	case hasAt:
		return t
	}
	return time.Time{}
}

func (r *reader) tooFar() string {
	return "must be at most " + task.Duration(r.opt.MaxDelay).String() + " ahead"
}

// submission reads the options. ep is nil when the endpoint is not known.
func (r *reader) submission(w wishes, ep *task.Endpoint) lifecycle.Submission {
	now := r.opt.Now()
	out := lifecycle.Submission{
		RunAt:     r.moment(now, "delay", w.delay, "run_at", w.runAt),
		ExpiresAt: r.moment(now, "expires_in", w.expiresIn, "expires_at", w.expiresAt),
		Timeout:   r.timeout(w.timeout, ep),
		ResultTTL: r.bounded("result_ttl", w.resultTTL, task.MinResultTTL, task.MaxResultTTL),
		Retry:     r.retry(w.retry),
	}
	start := now
	if out.RunAt.After(now) {
		start = out.RunAt
	}
	if !out.ExpiresAt.IsZero() && !out.ExpiresAt.After(start) {
		field := "expires_at"
		if w.expiresIn != nil {
			field = "expires_in"
		}
		r.fault(field, "must be later than the task's start")
		if r.late != nil {
			*r.late = w.expiresAt != nil
		}
	}
	return out
}

func (r *reader) timeout(text *string, ep *task.Endpoint) time.Duration {
	limit := task.MaxTimeout
	if ep != nil {
		limit = ep.TimeoutFor(&task.Spec{})
	}
	d := r.bounded("timeout", text, task.MinTimeout, task.MaxTimeout)
	if d > limit {
		r.fault("timeout", "must be at most the endpoint's timeout, "+task.Duration(limit).String())
		return 0
	}
	return d
}

func (r *reader) retry(in *gen.Retry) *task.Retry {
	if in == nil {
		return nil
	}
	sub := reader{prefix: r.retryPrefix, note: r.note, opt: r.opt}
	out := &task.Retry{
		MaxAttempts: in.MaxAttempts, Multiplier: in.Multiplier, Jitter: in.Jitter,
		MinBackoff: sub.taskDuration("min_backoff", in.MinBackoff),
		MaxBackoff: sub.taskDuration("max_backoff", in.MaxBackoff),
		MaxAge:     sub.taskDuration("max_age", in.MaxAge),
		Schedule:   sub.schedule(in.Schedule),
		RetryOn:    task.StatusSet(in.RetryOn), FailOn: task.StatusSet(in.FailOn),
	}
	for _, f := range out.Validate("") {
		sub.fault(strings.TrimPrefix(f.Pointer, "/"), f.Detail)
	}
	return out
}

func (r *reader) taskDuration(field string, text *string) *task.Duration {
	d, ok := r.duration(field, text)
	if !ok {
		return nil
	}
	return new(task.Duration(d))
}

func (r *reader) schedule(in []string) []task.Duration {
	if in == nil {
		return nil
	}
	out := make([]task.Duration, len(in))
	for i := range in {
		d, _ := r.duration("schedule/"+strconv.Itoa(i), &in[i])
		out[i] = task.Duration(d)
	}
	return out
}

// traceParent is W3C Trace Context, section 3.2, version 00.
var traceParent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// parentOf keeps a well-formed traceparent; others are ignored, as the
// standard asks (section 4.3).
func parentOf(header *string) string {
	if header == nil || !traceParent.MatchString(*header) {
		return ""
	}
	if strings.HasPrefix((*header)[3:], strings.Repeat("0", 32)) || strings.Contains(*header, "-0000000000000000-") {
		return ""
	}
	return *header
}
