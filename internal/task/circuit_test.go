package task_test

import (
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

func outcome(k task.Kind, why task.Reason, status int) *task.Outcome {
	return &task.Outcome{Kind: k, Reason: why, Status: status}
}

func TestHealth(t *testing.T) {
	for _, r := range []struct {
		what string
		o    *task.Outcome
		want task.Health
	}{
		{"200", outcome(task.KindSuccess, "", 200), task.HealthWell},
		{"404", outcome(task.KindRefuse, task.ReasonPermanentStatus, 404), task.HealthWell},
		{"a redirect", outcome(task.KindRefuse, task.ReasonRedirect, 302), task.HealthWell},
		{"410", outcome(task.KindGone, task.ReasonGone, 410), task.HealthWell},
		{"a result too large", outcome(task.KindRefuse, task.ReasonResultTooLarge, 200), task.HealthWell},
		{"408", outcome(task.KindRetry, task.ReasonHandler4xx, 408), task.HealthWell},
		{"500", outcome(task.KindRetry, task.ReasonHandler5xx, 500), task.HealthIll},
		{"a timeout", outcome(task.KindRetry, task.ReasonTimeout, 0), task.HealthIll},
		{"no connection", outcome(task.KindRetry, task.ReasonConnect, 0), task.HealthIll},
		{"no name", outcome(task.KindRetry, task.ReasonDNS, 0), task.HealthIll},
		{"bad certificate", outcome(task.KindRetry, task.ReasonTLS, 0), task.HealthIll},
		{"garbage", outcome(task.KindRetry, task.ReasonProtocol, 0), task.HealthIll},
		{"no token", outcome(task.KindRetry, task.ReasonTargetAuth, 0), task.HealthIll},
		{"503 with a time", outcome(task.KindPostpone, task.ReasonThrottled, 503), task.HealthThrottled},
		{"429 without one", outcome(task.KindRetry, task.ReasonThrottled, 429), task.HealthUnknown},
		{"500 with never", outcome(task.KindRefuse, task.ReasonRetryNever, 500), task.HealthUnknown},
		{"a blocked address", outcome(task.KindRefuse, task.ReasonBlockedAddress, 0), task.HealthUnknown},
		{"our shutdown", outcome(task.KindInterrupted, task.ReasonShutdown, 0), task.HealthUnknown},
		{"our fault", outcome(task.KindRetry, task.ReasonInternal, 0), task.HealthUnknown},
	} {
		if got := r.o.Health(); got != r.want {
			t.Errorf("%s: %d, want %d", r.what, got, r.want)
		}
	}
}

var (
	well      = outcome(task.KindSuccess, "", 200)
	ill       = outcome(task.KindRetry, task.ReasonHandler5xx, 500)
	nothing   = outcome(task.KindInterrupted, task.ReasonShutdown, 0)
	throttled = &task.Outcome{Kind: task.KindPostpone, Reason: task.ReasonThrottled, Status: 429, RetryAfter: 10 * time.Second}
)

// breakerStep is an attempt that ended some time after the one before.
type breakerStep struct {
	after time.Duration
	o     *task.Outcome
}

func times(n int, s ...breakerStep) (out []breakerStep) {
	for range n {
		out = append(out, s...)
	}
	return out
}

func TestBreakerOpens(t *testing.T) {
	second := time.Second
	p := task.DefaultBreaker()
	off := p
	off.Off = true
	for _, r := range []struct {
		what   string
		policy task.BreakerPolicy
		steps  []breakerStep
		want   task.CircuitState
		reason task.Reason
		pause  time.Duration
	}{
		{"nothing but success", p, times(100, breakerStep{second, well}), "", "", 0},
		{"one failure less than enough", p, times(19, breakerStep{0, ill}), "", "", 0},
		{"enough failures", p, times(20, breakerStep{0, ill}), task.CircuitOpen, task.ReasonHandler5xx, p.CoolDown},
		{"in a row, an hour apart", p, times(20, breakerStep{time.Hour, ill}), task.CircuitOpen, task.ReasonHandler5xx, p.CoolDown},
		{"four of five, the last a success", p, times(4, append(times(4, breakerStep{0, ill}), breakerStep{0, well})...), "", "", 0},
		{
			"four of five, the last a failure", p, times(4, append([]breakerStep{{0, well}}, times(4, breakerStep{0, ill})...)...),
			task.CircuitOpen, task.ReasonHandler5xx, p.CoolDown,
		},
		{"every second one", p, times(100, breakerStep{0, ill}, breakerStep{0, well}), "", "", 0},
		{"too slowly for the window", p, times(50, append(times(4, breakerStep{20 * second, ill}), breakerStep{0, well})...), "", "", 0},
		{"what says nothing", p, times(50, breakerStep{0, nothing}), "", "", 0},
		{"off", off, times(500, breakerStep{0, ill}), "", "", 0},
		{"throttled now and then", p, times(50, breakerStep{0, well}, breakerStep{0, throttled}, breakerStep{0, throttled}), "", "", 0},
		{"throttled again and again", p, append([]breakerStep{{0, well}}, times(5, breakerStep{0, throttled})...), task.CircuitOpen, task.ReasonThrottled, 10 * second},
		{"throttled although off", off, times(5, breakerStep{0, throttled}), task.CircuitOpen, task.ReasonThrottled, 10 * second},
		{
			"throttled for a day", p,
			times(5, breakerStep{0, &task.Outcome{Kind: task.KindPostpone, Reason: task.ReasonThrottled, RetryAfter: 24 * time.Hour}}),
			task.CircuitOpen, task.ReasonThrottled, task.LongestThrottle,
		},
	} {
		t.Run(r.what, func(t *testing.T) {
			var b task.Breaker
			now := t0
			for i, s := range r.steps {
				if b.State != "" {
					t.Fatalf("opened before step %d", i)
				}
				now = now.Add(s.after)
				b.Ended(r.policy, s.o, false, now)
			}
			if b.State != r.want || b.Reason != r.reason || r.pause > 0 && b.Next.Sub(now) != r.pause {
				t.Errorf("%+v", b.Circuit)
			}
		})
	}
}

func opened(t *testing.T, p task.BreakerPolicy) *task.Breaker {
	t.Helper()
	b := &task.Breaker{}
	for range p.MinAttempts {
		b.Ended(p, ill, false, t0)
	}
	if b.State != task.CircuitOpen || b.Closed() {
		t.Fatalf("%+v", b.Circuit)
	}
	return b
}

func TestBreakerProbes(t *testing.T) {
	p := task.DefaultBreaker()
	b := opened(t, p)
	// What began before is of no interest any more.
	if b.Ended(p, well, false, t0) || b.Ended(p, throttled, false, t0) || b.State != task.CircuitOpen {
		t.Errorf("%+v", b.Circuit)
	}
	if b.Due(t0.Add(p.CoolDown-1)) || !b.Due(t0.Add(p.CoolDown)) {
		t.Error("due at the wrong time")
	}
	now := t0.Add(p.CoolDown)
	claim := func() {
		b.Circuit = b.Claimed("me", now, now.Add(time.Minute))
		if !b.ProbedBy("me") || b.ProbedBy("you") || b.Due(now) || !b.Due(now.Add(time.Minute)) {
			t.Errorf("%+v", b.Circuit)
		}
	}
	for _, r := range []struct {
		o      *task.Outcome
		reason task.Reason
		pause  time.Duration
		probes int
	}{{ill, task.ReasonHandler5xx, p.CoolDown, 1}, {nothing, task.ReasonHandler5xx, p.CoolDown, 2}, {throttled, task.ReasonThrottled, 10 * time.Second, 3}} {
		claim()
		if b.Ended(p, well, false, now) || b.State != task.CircuitHalfOpen {
			t.Error("another attempt than the probe decides")
		}
		if !b.Ended(p, r.o, true, now) || b.State != task.CircuitOpen || b.Reason != r.reason ||
			b.Next.Sub(now) != r.pause || b.Probes != r.probes || !b.Since.Equal(t0) {
			t.Errorf("after %s: %+v", r.o.Reason, b.Circuit)
		}
	}
	claim()
	// The pause that was asked for is over; one failure is not enough yet.
	if !b.Ended(p, ill, true, now) || !b.Closed() {
		t.Errorf("a failure after a pause: %+v", b.Circuit)
	}
	b = opened(t, p)
	claim()
	b.Circuit = b.Returned(now)
	if b.State != task.CircuitOpen || !b.Due(now) {
		t.Errorf("given back: %+v", b.Circuit)
	}
	claim()
	if !b.Ended(p, well, true, now) || !b.Closed() || !b.Idle(p, now) {
		t.Errorf("after a success: %+v", b.Circuit)
	}
}

// A receiver that stays down is asked less and less often.
func TestReceiverPausesGrow(t *testing.T) {
	p := (&task.Project{Name: "p"}).Callbacks().BreakerPolicy()
	b := opened(t, p)
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		now := b.Next
		b.Circuit = b.Claimed("me", now, now.Add(time.Minute))
		b.Ended(p, ill, true, now)
		if got := b.Next.Sub(now); got != want {
			t.Errorf("pause %d is %s, want %s", i, got, want)
		}
	}
}

func TestBreakerConfig(t *testing.T) {
	c := &task.CircuitBreaker{
		Off: true, FailureRatio: new(0.5), MinAttempts: new(3),
		Window: new(task.Duration(time.Second)), CoolDown: new(task.Duration(2 * time.Second)),
	}
	ep := task.Endpoint{Breaker: c}
	want := task.BreakerPolicy{Off: true, FailureRatio: 0.5, MinAttempts: 3, Window: time.Second, CoolDown: 2 * time.Second}
	if got := ep.BreakerPolicy(); got != want {
		t.Errorf("got %+v", got)
	}
	if got := (&task.Endpoint{}).BreakerPolicy(); got != task.DefaultBreaker() {
		t.Errorf("got %+v", got)
	}
	if fs := c.Validate("/x"); fs != nil {
		t.Errorf("%v", fs)
	}
	clone := c.Clone()
	*clone.FailureRatio, *clone.MinAttempts, *clone.Window, *clone.CoolDown = 0, 0, 0, 0
	if ep.BreakerPolicy() != want {
		t.Error("a clone shares")
	}
	if fs := clone.Validate("/x"); len(fs) != 4 || fs[0].Pointer != "/x/failure_ratio" || fs[3].Pointer != "/x/cool_down" {
		t.Errorf("%v", fs)
	}
}
