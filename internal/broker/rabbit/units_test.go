package rabbit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/broker"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]version{
		"3.10.8": {3, 10, 8}, "4.0.0-rc.1": {4, 0, 0}, "3.13.7+2": {3, 13, 7}, "4.3": {4, 3, 0}, "3.12.5.1": {3, 12, 5},
	} {
		if got, ok := parseVersion(s); !ok || got != want {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "3", "three.ten", "3.-1"} {
		if got, ok := parseVersion(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
	for _, c := range []struct {
		v, w version
		want bool
	}{
		{version{3, 9, 30}, oldest, true},
		{version{3, 10, 0}, oldest, false},
		{version{4, 0, 0}, clusterSafe, false},
		{version{3, 12, 4}, clusterSafe, true},
		{clusterSafe, clusterSafe, false},
	} {
		if got := c.v.before(c.w); got != c.want {
			t.Errorf("%v before %v: %v", c.v, c.w, got)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v                version
		cluster, allowed bool
		warning          string
		err              error
	}{
		{version{3, 9, 30}, false, true, "", errTooOld},
		{version{3, 10, 8}, false, false, "fine as a single node", nil},
		{version{3, 10, 8}, true, false, "", errCluster},
		{version{3, 12, 4}, true, false, "", errCluster},
		{version{3, 12, 4}, true, true, "holds up delayed tasks", nil},
		{version{3, 12, 5}, true, false, "3.13 or later is recommended", nil},
		{version{3, 13, 0}, true, false, "", nil},
		{version{4, 3, 5}, true, false, "", nil},
	} {
		warning, err := judge(c.v, c.cluster, c.allowed)
		if !errors.Is(err, c.err) || (c.warning == "") != (warning == "") || !strings.Contains(warning, c.warning) {
			t.Errorf("%v, cluster %v, allowed %v: %q, %v", c.v, c.cluster, c.allowed, warning, err)
		}
		if err != nil && !hopeless(err) {
			t.Errorf("%v is tried again", c.v)
		}
	}
}

func TestRungFor(t *testing.T) {
	t.Parallel()
	for left, want := range map[int64]int64{
		0: 250, 249: 250, 250: 250, 499: 250, 500: 500, 999: 500, 1000: 1000, 60_000: 32_000,
		2_097_151_999: 1_048_576_000, 2_097_152_000: 2_097_152_000, 1 << 50: 2_097_152_000,
	} {
		if got := rungFor(left); got != want {
			t.Errorf("%d ms left: rung %d, want %d", left, got, want)
		}
	}
}

// TestKeyAt: a message goes to its target when and only when its time has
// come, and no rung outlasts what is left.
func TestKeyAt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		now := time.UnixMilli(1_764_000_000_000).Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(rt, "now")))
		left := time.Duration(rapid.Int64Range(-1e9, 1<<60).Draw(rt, "left"))
		p := parcel{wire: broker.Wire{Endpoint: "ep", ETA: now.Add(left)}}
		switch key := p.keyAt(now); key {
		case "ep":
			if left > 0 {
				rt.Fatalf("%v early", left)
			}
		case dueKey:
			if left <= -2*time.Millisecond || left > 250*time.Millisecond {
				rt.Fatalf("%v left for the router's hold", left)
			}
		default:
			ms := rungFor(left.Milliseconds())
			// Rounding to milliseconds may add two.
			if alt := rungFor(left.Milliseconds() + 2); key != rungKey(ms) && key != rungKey(alt) {
				rt.Fatalf("%v left: %s", left, key)
			}
			if time.Duration(ms)*time.Millisecond > left+2*time.Millisecond {
				rt.Fatalf("%v left: %s outlasts it", left, key)
			}
		}
	})
}

func TestParcelCheck(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, 300))
	for name, w := range map[string]broker.Wire{
		"nowhere":   {},
		"both":      {Endpoint: "e", System: broker.Dead},
		"long meta": {Endpoint: "e", Meta: long},
		"long id":   {Endpoint: "e", ID: long},
	} {
		if (&parcel{wire: w}).check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (&parcel{wire: broker.Wire{System: broker.Parked}}).check(); err != nil {
		t.Error(err)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt := range 100 {
		if d := backoff(attempt); d < redialFirst/2 || d > redialMost {
			t.Errorf("attempt %d: %v", attempt, d)
		}
	}
}
