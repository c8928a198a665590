package dispatch

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func success(status int) bool { return status >= 200 && status <= 299 }

// Verdict says what an answer means: the table "the handler answers" of the
// API, as a function of values only.
func Verdict(a *Answer, p task.Policy, r task.ResultPolicy, now time.Time) task.Outcome {
	o := task.Outcome{Status: a.Status, Took: a.Took, Answer: beginning(a.Body)}
	switch {
	case a.Status == 0:
		o.Kind, o.Reason, o.Unanswered = unanswered(a.Reason), a.Reason, a.Sent
	case success(a.Status):
		accept(&o, a, r)
	default:
		o.Kind, o.Reason, o.RetryAfter = refusal(a, p, now)
	}
	return o
}

func beginning(body []byte) []byte {
	return slices.Clone(body[:min(len(body), task.MaxAnswerKept)])
}

// unanswered is the kind of an exchange that brought no usable answer.
func unanswered(why task.Reason) task.Kind {
	switch why {
	case task.ReasonBlockedAddress:
		return task.KindRefuse
	case task.ReasonCancelled, task.ReasonShutdown:
		return task.KindInterrupted
	default:
		return task.KindRetry
	}
}

func accept(o *task.Outcome, a *Answer, r task.ResultPolicy) {
	switch {
	case a.State == BodyBroken:
		// It said yes, but what is not known.
		o.Kind, o.Reason, o.Unanswered = unanswered(a.Reason), a.Reason, true
	case a.State == BodyTooLarge && !r.Discard:
		o.Kind, o.Reason = task.KindRefuse, task.ReasonResultTooLarge
	default:
		o.Kind, o.Result = task.KindSuccess, result(a, r)
	}
}

// refusal judges every answer that is not 2xx. The policy's fail_on goes
// before its retry_on, and both before the table; "never" goes before all of
// them, but 410 says more than it.
func refusal(a *Answer, p task.Policy, now time.Time) (task.Kind, task.Reason, time.Duration) {
	fail, retry := p.FailOn.Contains(a.Status), p.RetryOn.Contains(a.Status)
	never := strings.EqualFold(strings.TrimSpace(a.Header.Get("Taskgate-Retry")), "never")
	switch {
	case a.Status == http.StatusGone && !fail && (never || !retry):
		return task.KindGone, task.ReasonGone, 0
	case never:
		return task.KindRefuse, task.ReasonRetryNever, 0
	case fail:
		return task.KindRefuse, failure(a.Status), 0
	}
	kind, why := table(a.Status)
	if wait, ok := retryAfter(a, now); ok && kind == task.KindRetry {
		return task.KindPostpone, task.ReasonThrottled, wait
	}
	if retry && kind != task.KindRetry {
		return task.KindRetry, retriable(a.Status), 0
	}
	return kind, why, 0
}

// table is the meaning of a status that is neither 2xx nor 410.
func table(status int) (task.Kind, task.Reason) {
	switch {
	case status == http.StatusTooManyRequests:
		return task.KindRetry, task.ReasonThrottled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return task.KindRetry, task.ReasonHandler4xx
	case status == http.StatusNotImplemented:
		return task.KindRefuse, task.ReasonPermanentStatus
	case status >= 500 && status <= 599:
		return task.KindRetry, task.ReasonHandler5xx
	case status >= 300 && status <= 499:
		return task.KindRefuse, failure(status)
	}
	return task.KindRetry, task.ReasonProtocol // no final answer at all
}

func failure(status int) task.Reason {
	if status >= 300 && status <= 399 {
		return task.ReasonRedirect
	}
	return task.ReasonPermanentStatus
}

// retriable is the reason to retry a status that the table would refuse.
func retriable(status int) task.Reason {
	switch {
	case status >= 500:
		return task.ReasonHandler5xx
	case status >= 400:
		return task.ReasonHandler4xx
	}
	return task.ReasonRedirect
}

// retryAfter reads the header of a 429 or 503 (RFC 9110, 10.2.3): seconds or
// a date. What cannot be read is not there.
func retryAfter(a *Answer, now time.Time) (time.Duration, bool) {
	if a.Status != http.StatusTooManyRequests && a.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	v := strings.TrimSpace(a.Header.Get("Retry-After"))
	if v != "" && strings.Trim(v, "0123456789") == "" {
		sec, err := strconv.ParseInt(v, 10, 64)
		if err != nil || sec > int64(task.LongestMaxAge/time.Second) {
			return task.LongestMaxAge, true
		}
		return time.Duration(sec) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), task.LongestMaxAge), true
}

// result is what is kept of a successful answer.
func result(a *Answer, r task.ResultPolicy) *task.Result {
	res := &task.Result{Status: a.Status, ContentType: a.Header.Get("Content-Type")}
	// Without its encoding, a body that was sent compressed cannot be read.
	seen := map[string]bool{"Content-Type": true}
	for _, name := range append([]string{"Content-Encoding"}, r.KeepHeaders...) {
		name = http.CanonicalHeaderKey(name)
		for _, v := range a.Header.Values(name) {
			if !seen[name] {
				res.Headers = append(res.Headers, task.Header{Name: name, Value: v})
			}
		}
		seen[name] = true
	}
	if a.State == BodyTooLarge {
		res.Discarded = true
	} else {
		res.Body = a.Body
	}
	return res
}
