package dispatch

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

func TestTry(t *testing.T) {
	const day = 24 * time.Hour
	answers := map[string]struct {
		status int
		header http.Header
		want   task.TrialResult
	}{
		"success":  {200, nil, task.TrialResult{Kind: task.KindSuccess, Status: 200, State: task.Succeeded}},
		"failure":  {500, nil, task.TrialResult{Kind: task.KindRetry, Reason: task.ReasonHandler5xx, Status: 500, State: task.Retrying, TaskReason: task.ReasonHandler5xx, NextIn: task.Duration(5 * time.Second)}},
		"refusal":  {400, nil, task.TrialResult{Kind: task.KindRefuse, Reason: task.ReasonPermanentStatus, Status: 400, State: task.Failed, TaskReason: task.ReasonPermanentStatus}},
		"later":    {429, http.Header{"Retry-After": {"86400"}}, task.TrialResult{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 429, State: task.Retrying, TaskReason: task.ReasonThrottled, NextIn: task.Duration(day)}},
		"too late": {429, http.Header{"Retry-After": {"864000"}}, task.TrialResult{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 429, State: task.Failed, TaskReason: task.ReasonMaxAge}},
		"gone":     {410, nil, task.TrialResult{Kind: task.KindGone, Reason: task.ReasonGone, Status: 410, State: task.Failed, TaskReason: task.ReasonGone, Disables: true}},
	}
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			ep := endpoint("a", "http://a")
			ep.Paused = true
			var sent *Request
			w := newWorld(t, PoolOptions{}, func(_ context.Context, r *Request) *Answer {
				sent = r
				return &Answer{Status: c.status, Header: c.header, Body: []byte("hello"), Took: time.Second, Sent: true}
			}, ep)
			trial := task.Trial{ID: message(1, "a").ID, Project: "default", Endpoint: "a", Payload: []byte("{}"), Type: "text/x"}
			got := w.d.Try(t.Context(), &trial)
			c.want.Took, c.want.Answer = task.Duration(time.Second), []byte("hello")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !sent.Test || sent.Attempt != 1 || sent.MaxAttempts != 10 || sent.Timeout != trialTimeout ||
				string(sent.Message.Payload) != "{}" || sent.Message.ContentType != "text/x" || sent.Message.ID != trial.ID {
				t.Errorf("sent %+v", sent)
			}
			if ep, _, _ := w.eps.EndpointByID(ep.ID()); ep.Disabled != task.ReasonNone || len(w.e.outcomes()) != 0 || w.d.meter.remembered() != 0 {
				t.Error("the trial left something behind")
			}
		})
	}
}

func TestTryWithoutEndpointAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := endpoint("a", "http://a")
		ep.Timeout = task.Duration(time.Hour)
		w := newWorld(t, PoolOptions{}, hanging(nil), ep)
		if got := w.d.Try(t.Context(), &task.Trial{Project: "default", Endpoint: "b"}); !got.Unknown {
			t.Errorf("got %+v", got)
		}
		begin := time.Now()
		got := w.d.Try(t.Context(), &task.Trial{Project: "default", Endpoint: "a"})
		if got.Reason != task.ReasonTimeout || time.Since(begin) != trialTimeout {
			t.Errorf("after %s: %+v", time.Since(begin), got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := w.d.Try(ctx, &task.Trial{Project: "default", Endpoint: "a"}); got.Kind != task.KindInterrupted || got.Reason != task.ReasonShutdown {
			t.Errorf("interrupted: %+v", got)
		}
	})
}

// The handler can tell a trial from a task, and nobody else can pass for one.
func TestTrialHeader(t *testing.T) {
	s := newSender(t, loopback(), "")
	m := message(1, "a")
	m.Headers = []task.Header{{Name: "Taskgate-Test", Value: "true"}}
	ep := endpoint("a", "http://a")
	for _, test := range []bool{true, false} {
		got := s.headers(&Request{Endpoint: &ep, Message: m, Attempt: 1, Test: test}, time.Now()).Get("Taskgate-Test")
		if (got == "true") != test || got != "" != test {
			t.Errorf("test %v: %q", test, got)
		}
	}
}
