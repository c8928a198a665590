package chaos

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var overload = Scenario{
	Name: "overload", Number: 11, Targets: []Target{Services, Embedded},
	What: "submissions at three times the capacity measured before, at a fixed rate whatever comes back (open loop) and as quickly as " +
		"answers come from three times as many callers as are worked (closed loop); beside them another key that submits now and then",
	Run: runOverload,
}

// inflight is what the gateway works at the same time here: few, so that a load
// client on the same machine can go beyond it.
const inflight = 32

func runOverload(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{GatewayEnv: []string{fmt.Sprintf("TASKGATE_MAX_INFLIGHT=%d", inflight)}})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "work", Work: Takes(0), Idle: true})
	flood, calm := w.caller(t, l, "flood"), w.caller(t, l, "calm")
	goroutines := metric(t, in.Gateways[0], "go_goroutines")

	measured := &tries{}
	span := Pick(w, 3*time.Second, 15*time.Second)
	flood.closed(t, l, measured, inflight, span)
	capacity := float64(len(measured.accepted)) / span.Seconds()
	below := &tries{}
	flood.open(t, l, below, capacity*0.8, span)

	above, beside := &tries{}, &tries{}
	together(
		func() { flood.open(t, l, above, capacity*3, span) },
		func() { calm.open(t, l, beside, 5, span) },
	)
	eager, besideEager := &tries{}, &tries{}
	together(
		func() { flood.closed(t, l, eager, 3*2*inflight, span) }, // as many wait as are worked
		func() { calm.open(t, l, besideEager, 5, span) },
	)
	peakRSS := peak(t, in.Gateways[0])
	flood.http.CloseIdleConnections()
	calm.http.CloseIdleConnections()
	w.Until(t, time.Minute, "no goroutine of the gateway is left", func() bool {
		return metric(t, in.Gateways[0], "go_goroutines") < goroutines+200
	})
	w.Conclude(t, l, 3*time.Minute, Mercy{},
		fmt.Sprintf("capacity %.0f accepted a second; at 0.8 of it %s", capacity, below),
		fmt.Sprintf("open loop at 3 times: %s; the other key: %s", above, beside),
		fmt.Sprintf("closed loop of %d: %s; the other key: %s", 3*2*inflight, eager, besideEager),
		fmt.Sprintf("memory of the gateway at most %d MiB", peakRSS>>20))

	for name, got := range map[string]*tries{"open": above, "closed": eager} {
		if len(got.refused) == 0 {
			t.Errorf("%s: nothing was refused: this was no overload", name)
		}
		if len(got.accepted) == 0 {
			t.Errorf("%s: nothing was accepted", name)
			continue
		}
		// A small run has the machine not for itself: what it measures is how late
		// its own client is.
		if w.Whole {
			quick(t, name, got, below)
		}
	}
	for name, pair := range map[string][2]*tries{"open": {beside, above}, "closed": {besideEager, eager}} {
		// On a busy machine nobody's wait may end in time, but fewer of its.
		got, most := pair[0], Pick(w, pair[1].share()/2, 0.1)
		if len(got.accepted) == 0 || got.share() > most {
			t.Errorf("%s: the calm key had %d accepted and %d refused", name, len(got.accepted), len(got.refused))
		}
	}
	for name, got := range map[string]*tries{
		"measuring": measured, "below": below, "open": above, "beside it": beside, "closed": eager, "beside that": besideEager,
	} {
		if got.other != "" {
			t.Errorf("%s: %d answers were neither, such as %s", name, got.others, got.other)
		}
	}
	if w.Whole && w.Target == Services && peakRSS > memoryLimit {
		t.Errorf("the gateway held %d MiB", peakRSS>>20)
	}
}

// quick: what is let in waits for a moment at most, and a refusal costs less.
func quick(t *testing.T, name string, got, below *tries) {
	t.Helper()
	if most := 10*at(below.accepted, .99) + time.Second; at(got.accepted, .99) > most {
		t.Errorf("%s: accepted p99 %v, at 0.8 of the capacity %v", name, at(got.accepted, .99), at(below.accepted, .99))
	}
	if at(got.refused, .5) > 2*at(got.accepted, .5)+50*time.Millisecond {
		t.Errorf("%s: a refusal takes %v, an acceptance %v", name, at(got.refused, .5), at(got.accepted, .5))
	}
}

func together(all ...func()) {
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f)
	}
	wg.Wait()
}

// caller is one key. It never repeats what was refused.
type caller struct {
	client *Client
	http   *http.Transport
}

func (w *World) caller(t *testing.T, l *Ledger, name string) *caller {
	t.Helper()
	got, err := l.Client.Want(t.Context(), http.MethodPost, "/v1/keys", map[string]any{"name": name, "scopes": []string{"tasks:*"}})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 30 * time.Second}
	return &caller{http: tr, client: &Client{
		Bases: l.Client.Bases, Key: got.text("key"), HTTP: &http.Client{Timeout: requestLimit, Transport: tr},
	}}
}

// tries are single requests and what became of them, with how long each took.
type tries struct {
	mu                sync.Mutex
	accepted, refused []time.Duration
	others            int
	other             string // the last answer that was neither
}

// share is how many of those that were answered were refused.
func (o *tries) share() float64 {
	return float64(len(o.refused)) / float64(max(1, len(o.refused)+len(o.accepted)))
}

func (o *tries) String() string {
	return fmt.Sprintf("%d accepted (p50 %v, p99 %v), %d refused (p50 %v, p99 %v)",
		len(o.accepted), at(o.accepted, .5), at(o.accepted, .99), len(o.refused), at(o.refused, .5), at(o.refused, .99))
}

func at(took []time.Duration, part float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(float64(len(sorted)-1)*part)].Round(100 * time.Microsecond)
}

// submit makes one request; from is when it should have begun.
func (c *caller) submit(ctx context.Context, l *Ledger, into *tries, from time.Time) {
	key := rand.Text()
	got, err := c.client.Do(ctx, http.MethodPost, "/v1/tasks", map[string]any{
		"endpoint": "work", "payload": map[string]any{"key": key}, "headers": map[string]any{keyHeader: key},
	}, "Idempotency-Key", key)
	took := time.Since(from)
	into.mu.Lock()
	defer into.mu.Unlock()
	switch {
	case err == nil && got.status == http.StatusAccepted:
		into.accepted = append(into.accepted, took)
		l.Promise(Accepted{ID: got.object().text("id"), Key: key, Endpoint: "work", Began: from, At: time.Now(), Tries: 1})
	case err == nil && got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != "":
		into.refused = append(into.refused, took)
	default:
		into.others++
		into.other = fmt.Sprintf("%v, status %d: %s", err, got.status, got.body)
	}
}

// closed has so many submit one after the other, without a pause.
func (c *caller) closed(t *testing.T, l *Ledger, into *tries, workers int, span time.Duration) {
	until := time.Now().Add(span)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for now := time.Now(); now.Before(until) && t.Context().Err() == nil; now = time.Now() {
				c.submit(t.Context(), l, into, now)
			}
		})
	}
	wg.Wait()
}

// outstanding bounds what this client has under way: one that cannot keep up
// with its own rate must not take the machine with it.
const outstanding = 2000

// open begins so many a second, whether or not the others are answered, and
// counts from when each should have begun. It ends with its span, however few
// it could begin.
func (c *caller) open(t *testing.T, l *Ledger, into *tries, rate float64, span time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, outstanding)
	began := time.Now()
	for n := 0; time.Since(began) < span; {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
		for upTo := int(rate * time.Since(began).Seconds()); n < upTo; n++ {
			select {
			case places <- struct{}{}:
			case <-t.Context().Done():
				return
			}
			due := began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			wg.Go(func() {
				defer func() { <-places }()
				c.submit(t.Context(), l, into, due)
			})
			if time.Since(began) > span {
				return
			}
		}
	}
}

// metric is a value that a process exports without labels.
func metric(t *testing.T, p *rig.Process, name string) float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Admin()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: requestLimit}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
