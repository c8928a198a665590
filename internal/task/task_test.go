package task_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/task"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func spec() task.Spec {
	return task.Spec{
		ID: task.MakeID("01JD3YV7Q8K3W5N6P7R8S9TABC", 5), Project: "default", Endpoint: "mail", CreatedAt: t0,
	}
}

func TestIDRoundTrip(t *testing.T) {
	t.Parallel()
	for shard := range task.Shards {
		id := task.MakeID("01JD3YV7Q8K3W5N6P7R8S9TABC", shard)
		got, ok := task.ParseID(string(id))
		if !ok || got != id || got.Shard() != shard {
			t.Fatalf("shard %d: id %q parsed as %q %v with shard %d", shard, id, got, ok, got.Shard())
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "x", "01jd3yv7q8k3w5n6p7r8s9tabc", "01jd3yv7q8k3w5n6p7r8s9tabcg", "01JD3YV7Q8K3W5N6P7R8S9TABC5",
		"01jd3yv7q8k3w5n6p7r8s9tab.5", "01jd3yv7q8k3w5n6p7r8s9tabc55", "01jd3yv7q8k3w5n6p7r8s9tabl5",
	} {
		if id, ok := task.ParseID(s); ok {
			t.Errorf("%q was accepted as %q", s, id)
		}
	}
}

func TestEndpointIDSeparatesProjectAndName(t *testing.T) {
	t.Parallel()
	if task.MakeEndpointID("a", "bc") == task.MakeEndpointID("ab", "c") {
		t.Fatal("two endpoints share an identity")
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	good := map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour,
		"0s": 0, "0d": 0, "250ms": 250 * time.Millisecond, "365d": 365 * 24 * time.Hour, "0": 0,
	}
	for in, want := range good {
		if got, err := task.ParseDuration(in); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "d", "-1s", "+1s", "1", "1x", "1d-1h", "-1d", "1h1d", "1.5d", "99999999d", "9999999h1d", " 1s", "1dd",
	} {
		if got, err := task.ParseDuration(in); err == nil {
			t.Errorf("%q was accepted as %v", in, got)
		}
	}
}

func TestDurationRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := task.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "d"))
		got, err := task.ParseDuration(d.String())
		if err != nil || got != d.Std() {
			t.Fatalf("%v written as %q read as %v, %v", d.Std(), d.String(), got, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1d12h", "90s", "d", "-1s", "1e9h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := task.ParseDuration(s); err == nil && d < 0 {
			t.Fatalf("%q became negative: %v", s, d)
		}
	})
}

func TestStatusSet(t *testing.T) {
	t.Parallel()
	set := task.StatusSet{"409", "500-503", "nonsense"}
	for status, want := range map[int]bool{409: true, 410: false, 500: true, 503: true, 504: false, 499: false} {
		if set.Contains(status) != want {
			t.Errorf("%d: got %v", status, !want)
		}
	}
}

func TestRetryValidateFindsEveryFault(t *testing.T) {
	t.Parallel()
	r := &task.Retry{
		MaxAttempts: new(0), MinBackoff: new(task.Duration(time.Hour)), MaxBackoff: new(task.Duration(time.Minute)),
		Multiplier: new(0.5), Jitter: new(math.NaN()), MaxAge: new(task.Duration(0)),
		Schedule: []task.Duration{task.Duration(31 * 24 * time.Hour)},
		RetryOn:  task.StatusSet{"600"}, FailOn: task.StatusSet{"500-400", "4xx"},
	}
	got := map[string]bool{}
	for _, f := range r.Validate("/retry") {
		got[f.Pointer] = true
	}
	want := map[string]bool{
		"/retry/max_attempts": true, "/retry/min_backoff": true, "/retry/multiplier": true, "/retry/jitter": true,
		"/retry/max_age": true, "/retry/schedule/0": true, "/retry/retry_on/0": true, "/retry/fail_on/0": true,
		"/retry/fail_on/1": true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	var none *task.Retry
	if fs := none.Validate("/retry"); fs != nil {
		t.Fatalf("no policy has faults: %v", fs)
	}
}

func TestPolicyLayers(t *testing.T) {
	t.Parallel()
	ep := task.Endpoint{Retry: &task.Retry{MaxAttempts: new(4), Jitter: new(0.0)}, Timeout: task.Duration(10 * time.Second)}
	s := spec()
	s.Retry = &task.Retry{Schedule: []task.Duration{task.Duration(time.Second), task.Duration(time.Minute)}}
	p := ep.Policy(&s)
	if p.MaxAttempts != 3 || p.Jitter != 0 || p.MaxAge != task.DefaultMaxAge {
		t.Fatalf("layers: %+v", p)
	}
	for used, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: time.Minute, 9: time.Minute} {
		if got := p.Backoff(used, 0.7); got != want {
			t.Errorf("used %d: %v, want %v", used, got, want)
		}
	}
	for in, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Second: time.Second, time.Hour: 10 * time.Second} {
		s.Timeout = task.Duration(in)
		if got := ep.TimeoutFor(&s); got != want {
			t.Errorf("timeout %v: %v, want %v", in, got, want)
		}
	}
}

func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := task.DefaultPolicy()
		p.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		p.Multiplier = rapid.Float64Range(1, 100).Draw(t, "multiplier")
		used := rapid.IntRange(0, 2000).Draw(t, "used")
		rnd := rapid.Float64Range(0, 0.999).Draw(t, "rnd")
		full := p
		full.Jitter = 0
		d, top := p.Backoff(used, rnd), full.Backoff(used, rnd)
		if d < 0 || d > p.MaxBackoff || d > top || float64(d) < float64(top)*(1-p.Jitter)-1 {
			t.Fatalf("backoff %v outside (…, %v]", d, top)
		}
	})
}

func TestDefaultPolicySpansAboutADay(t *testing.T) {
	t.Parallel()
	p := task.DefaultPolicy()
	p.Jitter = 0
	var sum time.Duration
	for n := 1; n < p.MaxAttempts; n++ {
		sum += p.Backoff(n, 0)
	}
	if sum < 18*time.Hour || sum > 30*time.Hour {
		t.Fatalf("ten attempts span %v", sum)
	}
}

func genRecord(t *rapid.T) task.Record {
	ms := func(name string) time.Time {
		return task.FromMillis(rapid.Int64Range(0, 4e12).Draw(t, name))
	}
	small := rapid.IntRange(0, 1000)
	return task.Record{
		Version: rapid.Int64Range(1, 1e9).Draw(t, "version"),
		State:   rapid.SampledFrom(task.States()).Draw(t, "state"),
		Reason:  rapid.SampledFrom(task.Reasons()).Draw(t, "reason"),
		Gen:     small.Draw(t, "gen"), Seq: small.Draw(t, "seq"), Starts: small.Draw(t, "starts"), Used: small.Draw(t, "used"),
		Suspects: small.Draw(t, "suspects"), Suspect: rapid.Bool().Draw(t, "suspect"),
		Lease: task.Lease{
			Token: rapid.String().Draw(t, "token"), Owner: rapid.String().Draw(t, "owner"), Until: ms("until"),
		},
		ETA: ms("eta"), LastETA: ms("lasteta"), Born: ms("born"), StartedAt: ms("started"), ChangedAt: ms("changed"), EndedAt: ms("ended"),
		Status: small.Draw(t, "status"), Rebuilt: rapid.Bool().Draw(t, "rebuilt"),
	}
}

func TestRecordCodec(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := genRecord(t)
		b, err := r.EncodeHead()
		if err != nil {
			t.Fatal(err)
		}
		got, err := task.DecodeHead(b, r.Version)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestEnvelopeCodecKeepsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := task.Envelope{Spec: spec(), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload")}
		e.ContentType = rapid.String().Draw(t, "type")
		e.Labels = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels")
		e.Headers = []task.Header{{Name: "X-A", Value: rapid.String().Draw(t, "header")}}
		b, err := task.EncodeEnvelope(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := task.DecodeEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Payload, e.Payload) || got.ID != e.ID {
			t.Fatalf("payload changed: %q → %q", e.Payload, got.Payload)
		}
	})
}

func TestResultCodecKeepsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := task.Result{Status: 200, ContentType: "text/plain", Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body")}
		b, err := task.EncodeResult(&r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := task.DecodeResult(b)
		if err != nil || !bytes.Equal(got.Body, r.Body) || got.Status != 200 {
			t.Fatalf("result changed: %+v, %v", got, err)
		}
	})
}

func FuzzDecodeEnvelope(f *testing.F) {
	e := task.Envelope{Spec: spec(), Payload: []byte(`{"a":1}`)}
	b, err := task.EncodeEnvelope(&e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = task.DecodeEnvelope(b)
		_, _ = task.DecodeResult(b)
		_, _ = task.DecodeHead(b, 1)
		_, _ = task.DecodeAttempt(b)
	})
}
