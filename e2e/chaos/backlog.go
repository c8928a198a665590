package chaos

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var backlog = Scenario{
	Name: "backlog", Number: 10, Targets: []Target{Services},
	What: "a million tasks wait at a paused endpoint; it is resumed, and in the end what is left is purged",
	Run:  runBacklog,
}

// memoryLimit of a process, whatever waits. Nobody's memory may follow the
// backlog.
const memoryLimit = 150 << 20

// Bounds of the whole form: what is not reached within them is said in the
// report.
const (
	fillLimit  = 7 * time.Minute
	drainLimit = time.Minute
	purgeLimit = 2 * time.Minute
)

func runBacklog(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{Gateways: 1, Dispatchers: 1})
	l := w.Ledger(t, in)
	f := &filling{ledger: l, want: int64(Pick(w, 500, 1_000_000))}
	w.Register(t, l, Endpoint{Name: "full", Work: f.work, Idle: true})
	w.Register(t, l, Endpoint{Name: "other", Work: Takes(time.Millisecond)})
	before := pace(t, w, l)
	must(t, l, http.MethodPost, "/v1/endpoints/full/pause")
	took := f.fill(t, Pick(w, time.Minute, fillLimit))
	accepted := f.accepted.Load()
	beside := pace(t, w, l)
	gatewayRSS, dispatcherRSS := peak(t, in.Gateways[0]), peak(t, in.Dispatchers[0])
	must(t, l, http.MethodPost, "/v1/endpoints/full/resume")
	began := time.Now()
	f.await(t, w, Pick(w, 2*time.Minute, drainLimit), accepted)
	drained, drainTook := f.done.Load(), time.Since(began)
	purged, all := f.purge(t, w, accepted)
	w.Until(t, time.Minute, "what runs has ended", func() bool { return f.running.Load() == 0 })
	dispatcherRSS = max(dispatcherRSS, peak(t, in.Dispatchers[0]))
	w.Conclude(t, l, time.Minute, Mercy{},
		fmt.Sprintf("%d waiting, accepted in %s (one by one); %d done, at %.0f a second, after resume; then %d purged%s",
			accepted, Seconds(took), f.done.Load(), float64(drained)/drainTook.Seconds(), purged, left(all)),
		fmt.Sprintf("memory at most: gateway %d MiB, dispatcher %d MiB", gatewayRSS>>20, dispatcherRSS>>20),
		fmt.Sprintf("another endpoint %.0f tasks a second before, %.0f beside it", before, beside))
	NoRefusals(t, l)
	if most := max(gatewayRSS, dispatcherRSS); most > memoryLimit {
		t.Errorf("a process holds %d MiB", most>>20)
	}
	if beside < before*Pick(w, 0.2, 0.7) {
		t.Errorf("another endpoint did %.0f tasks a second before, and %.0f beside the backlog", before, beside)
	}
	if drained == 0 {
		t.Error("nothing was delivered after the resume")
	}
	// Every one has been done or was cancelled; one that was purged while it
	// ran may be both.
	if missing := accepted - f.done.Load() - purged; missing > 0 && all {
		t.Errorf("lost: %d of %d tasks of the backlog were neither done nor purged", missing, accepted)
	}
	if f.again.Load() > 0 {
		t.Errorf("%d tasks of the backlog came again unannounced", f.again.Load())
	}
}

// filling is a backlog by number: a million tasks are too many to be written
// down one by one.
type filling struct {
	ledger *Ledger
	want   int64

	next, accepted, done, running, again atomic.Int64

	mu   sync.Mutex
	seen map[int64]struct{}
}

const numberHeader = "X-Ledger-Number"

// work counts each task once.
func (f *filling) work(_ http.ResponseWriter, r *http.Request, c Call, commit func()) int {
	f.running.Add(1)
	defer f.running.Add(-1)
	n, err := strconv.ParseInt(r.Header.Get(numberHeader), 10, 64)
	if err != nil {
		return http.StatusBadRequest
	}
	commit()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[int64]struct{}{}
	}
	if _, ok := f.seen[n]; ok {
		if c.first() {
			f.again.Add(1)
		}
		return http.StatusOK
	}
	f.seen[n] = struct{}{}
	f.done.Add(1)
	return http.StatusOK
}

// fill submits until there are enough, or the time is over.
func (f *filling) fill(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	// What was begun is brought to its end, which has one, too.
	whole, cancelWhole := context.WithTimeout(t.Context(), limit+time.Minute)
	defer cancelWhole()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := f.next.Add(1)
				if n > f.want {
					return
				}
				number := strconv.FormatInt(n, 10)
				a, err := f.ledger.Client.Try(whole, http.MethodPost, "/v1/tasks", map[string]any{
					"endpoint": "full", "headers": map[string]string{numberHeader: number},
				}, "Idempotency-Key", "fill-"+number)
				if err != nil || a.status != http.StatusAccepted {
					t.Errorf("submission %d: %v, status %d: %s", n, err, a.status, a.body)
					return
				}
				f.accepted.Add(1)
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// await waits until n are done, or the time is over.
func (f *filling) await(t *testing.T, w *World, limit time.Duration, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := Await(ctx, "the backlog is drained", func() bool { return f.done.Load() >= n })
	if err != nil && !w.Whole {
		t.Errorf("%v: %d of %d done", err, f.done.Load(), n)
	}
}

// left says in the report that the purge was given up.
func left(all bool) string {
	if all {
		return ""
	}
	return fmt.Sprintf(" in %v, and the rest was left", purgeLimit)
}

// purge cancels what is left, if anything is, and returns how many, and
// whether the time was enough.
func (f *filling) purge(t *testing.T, w *World, accepted int64) (purged int64, all bool) {
	t.Helper()
	if f.done.Load() >= accepted {
		return 0, true
	}
	must(t, f.ledger, http.MethodPost, "/v1/endpoints/full/pause")
	w.Until(t, time.Minute, "what runs has ended", func() bool { return f.running.Load() == 0 })
	body := map[string]any{}
	for end := time.Now().Add(purgeLimit); time.Now().Before(end); {
		got, err := f.ledger.Client.Want(t.Context(), http.MethodPost, "/v1/endpoints/full/purge", body)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := got["cancelled"].(float64)
		purged += int64(n)
		cursor := got.text("next_cursor")
		if cursor == "" {
			return purged, true
		}
		body["cursor"] = cursor
	}
	t.Logf("the purge was not done in %v: %d so far", purgeLimit, purged)
	return purged, false
}

// pace is how many tasks a second another endpoint does, end to end.
func pace(t *testing.T, w *World, l *Ledger) float64 {
	t.Helper()
	from, began := l.Receiver.Committed(), time.Now()
	load := l.Run(t.Context(), Load{Workers: 8, Endpoints: []string{"other"}})
	w.Wait(t, Pick(w, 3*time.Second, 15*time.Second))
	load.Stop()
	w.Until(t, time.Minute, "they are done", func() bool {
		accepted := l.Accepted()
		return l.Receiver.Done(accepted[len(accepted)-1].ID)
	})
	return float64(l.Receiver.Committed()-from) / time.Since(began).Seconds()
}

func peak(t *testing.T, p *rig.Process) int64 {
	t.Helper()
	n, err := p.PeakRSS()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func must(t *testing.T, l *Ledger, method, path string) {
	t.Helper()
	if _, err := l.Client.Want(t.Context(), method, path, nil); err != nil {
		t.Fatal(err)
	}
}
