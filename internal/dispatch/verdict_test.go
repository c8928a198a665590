package dispatch

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

var noon = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

// want is the table "the handler answers", written down a second time.
func want(status int) (task.Kind, task.Reason) {
	switch {
	case status >= 200 && status < 300:
		return task.KindSuccess, ""
	case status == 410:
		return task.KindGone, task.ReasonGone
	case status == 429:
		return task.KindRetry, task.ReasonThrottled
	case status == 408 || status == 425:
		return task.KindRetry, task.ReasonHandler4xx
	case status == 501:
		return task.KindRefuse, task.ReasonPermanentStatus
	case status >= 500:
		return task.KindRetry, task.ReasonHandler5xx
	case status >= 400:
		return task.KindRefuse, task.ReasonPermanentStatus
	case status >= 300:
		return task.KindRefuse, task.ReasonRedirect
	}
	return task.KindRetry, task.ReasonProtocol
}

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

func TestVerdictEveryStatus(t *testing.T) {
	everything := task.StatusSet{"100-599"}
	for status := 100; status <= 599; status++ {
		ok, p := success(status), task.DefaultPolicy()
		check := func(name string, a *Answer, p task.Policy, kind task.Kind, why task.Reason) {
			t.Helper()
			a.Status, a.Sent = status, true
			o := Verdict(a, p, task.ResultPolicy{}, noon)
			if o.Kind != kind || o.Reason != why {
				t.Errorf("%d %s: %s %s, want %s %s", status, name, o.Kind, o.Reason, kind, why)
			}
			if o.Status != status || o.Unanswered || (o.Result != nil) != ok {
				t.Errorf("%d %s: %+v", status, name, o)
			}
		}
		kind, why := want(status)
		check("plain", &Answer{}, p, kind, why)

		after := &Answer{Header: header("Retry-After", "7")}
		if status == 429 || status == 503 {
			check("Retry-After", after, p, task.KindPostpone, task.ReasonThrottled)
		} else {
			check("Retry-After", after, p, kind, why)
		}

		never := &Answer{Header: header("Taskgate-Retry", " Never", "Retry-After", "7")}
		retryAll, failAll := p, p
		retryAll.RetryOn, failAll.FailOn = everything, everything
		both := failAll
		both.RetryOn = everything
		switch {
		case ok:
			for _, p := range []task.Policy{p, retryAll, failAll, both} {
				check("2xx", never, p, task.KindSuccess, "")
			}
		case status == 410:
			check("never", never, p, task.KindGone, task.ReasonGone)
			check("never, retry_on", never, retryAll, task.KindGone, task.ReasonGone)
			check("never, fail_on", never, failAll, task.KindRefuse, task.ReasonRetryNever)
			check("retry_on", &Answer{}, retryAll, task.KindRetry, task.ReasonHandler4xx)
			check("fail_on", &Answer{}, both, task.KindRefuse, task.ReasonPermanentStatus)
		default:
			for _, p := range []task.Policy{p, retryAll, failAll, both} {
				check("never", never, p, task.KindRefuse, task.ReasonRetryNever)
			}
			failWhy := task.ReasonPermanentStatus
			if status >= 300 && status < 400 {
				failWhy = task.ReasonRedirect
			}
			check("fail_on", &Answer{}, failAll, task.KindRefuse, failWhy)
			check("fail_on and retry_on", after, both, task.KindRefuse, failWhy)
			if got := Verdict(&Answer{Status: status}, retryAll, task.ResultPolicy{}, noon); got.Kind != task.KindRetry {
				t.Errorf("%d retry_on: %s", status, got.Kind)
			}
		}
	}
}

func TestVerdictRetryAfter(t *testing.T) {
	day := 24 * time.Hour
	cases := []struct {
		value string
		wait  time.Duration
		read  bool
	}{
		{"0", 0, true},
		{" 120 ", 2 * time.Minute, true},
		{"86400", day, true},
		{"99999999999", task.LongestMaxAge, true},
		{"99999999999999999999999999", task.LongestMaxAge, true},
		{noon.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second, true},
		{noon.Add(-time.Hour).Format(http.TimeFormat), 0, true},
		{noon.Add(time.Hour).Format(time.RFC850), time.Hour, true},
		{noon.Add(time.Hour).Format(time.ANSIC), time.Hour, true},
		{noon.AddDate(100, 0, 0).Format(http.TimeFormat), task.LongestMaxAge, true},
		{"", 0, false},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"soon", 0, false},
		{"٣", 0, false},
	}
	for _, c := range cases {
		for _, status := range []int{429, 503} {
			o := Verdict(&Answer{Status: status, Header: header("Retry-After", c.value)}, task.DefaultPolicy(), task.ResultPolicy{}, noon)
			kind, _ := want(status)
			if c.read {
				kind = task.KindPostpone
			}
			if o.Kind != kind || o.RetryAfter != c.wait {
				t.Errorf("%d %q: %s %s", status, c.value, o.Kind, o.RetryAfter)
			}
		}
	}
}

func TestVerdictWithoutAnswer(t *testing.T) {
	cases := []struct {
		why  task.Reason
		kind task.Kind
	}{
		{task.ReasonTimeout, task.KindRetry},
		{task.ReasonConnect, task.KindRetry},
		{task.ReasonDNS, task.KindRetry},
		{task.ReasonTLS, task.KindRetry},
		{task.ReasonProtocol, task.KindRetry},
		{task.ReasonInternal, task.KindRetry},
		{task.ReasonBlockedAddress, task.KindRefuse},
		{task.ReasonShutdown, task.KindInterrupted},
		{task.ReasonCancelled, task.KindInterrupted},
	}
	for _, c := range cases {
		for _, sent := range []bool{false, true} {
			o := Verdict(&Answer{Reason: c.why, Sent: sent, Took: 3}, task.DefaultPolicy(), task.ResultPolicy{}, noon)
			if diff := cmp.Diff(task.Outcome{Kind: c.kind, Reason: c.why, Unanswered: sent, Took: 3, Answer: o.Answer}, o); diff != "" {
				t.Error(diff)
			}
		}
		if c.why == task.ReasonBlockedAddress {
			continue
		}
		o := Verdict(&Answer{Status: 200, State: BodyBroken, Reason: c.why, Sent: true}, task.DefaultPolicy(), task.ResultPolicy{}, noon)
		if o.Kind != c.kind || o.Reason != c.why || !o.Unanswered || o.Result != nil {
			t.Errorf("broken 200: %+v", o)
		}
		o = Verdict(&Answer{Status: 500, State: BodyBroken, Reason: c.why, Sent: true}, task.DefaultPolicy(), task.ResultPolicy{}, noon)
		if o.Reason != task.ReasonHandler5xx || o.Unanswered {
			t.Errorf("broken 500: %+v", o)
		}
	}
}

func TestVerdictResult(t *testing.T) {
	h := header("Content-Type", "a/b", "X-A", "1", "X-A", "2", "X-B", "3", "Content-Encoding", "gzip")
	body := bytes.Repeat([]byte("x"), 3000)
	keep := task.ResultPolicy{KeepHeaders: []string{"x-a", "Content-Encoding", "X-None", "content-type"}}
	o := Verdict(&Answer{Status: 201, Header: h, Body: body}, task.DefaultPolicy(), keep, noon)
	wantHeaders := []task.Header{{Name: "Content-Encoding", Value: "gzip"}, {Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"}}
	if diff := cmp.Diff(&task.Result{Status: 201, ContentType: "a/b", Headers: wantHeaders, Body: body}, o.Result); diff != "" {
		t.Error(diff)
	}
	if len(o.Answer) != task.MaxAnswerKept {
		t.Errorf("%d bytes of the answer", len(o.Answer))
	}

	large := &Answer{Status: 200, Header: h, Body: body[:10], State: BodyTooLarge, Sent: true}
	o = Verdict(large, task.DefaultPolicy(), keep, noon)
	if o.Kind != task.KindRefuse || o.Reason != task.ReasonResultTooLarge || o.Result != nil || o.Unanswered {
		t.Errorf("%+v", o)
	}
	keep.Discard = true
	o = Verdict(large, task.DefaultPolicy(), keep, noon)
	if o.Kind != task.KindSuccess || !o.Result.Discarded || o.Result.Body != nil || len(o.Result.Headers) != 3 {
		t.Errorf("%+v", o.Result)
	}
}

func TestQuickRetry(t *testing.T) {
	for _, why := range task.Reasons() {
		if quickRetry(why, true) {
			t.Errorf("%s: sent, and sent again", why)
		}
		may := why == task.ReasonConnect || why == task.ReasonProtocol
		if quickRetry(why, false) != may {
			t.Errorf("%s: %v", why, !may)
		}
	}
}

func ExampleVerdict() {
	a := &Answer{Status: 503, Header: header("Retry-After", strconv.Itoa(30))}
	o := Verdict(a, task.DefaultPolicy(), task.ResultPolicy{}, noon)
	fmt.Println(o.Kind, o.Reason, o.RetryAfter)
	// Output: postpone throttled 30s
}
