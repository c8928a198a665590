package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestQuotas: a project submits as much as it may have, and again when tasks
// have ended; others are not concerned.
func TestQuotas(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		h := serve(t, status(200))
		name := tg.newProject(t)
		put := func(quotas obj) { tg.want(t, 200, "PUT", "/v1/projects/"+name, obj{"quotas": quotas}) }
		put(obj{"waiting_tasks": 5, "payload_bytes": 10_000})
		_, own := tg.newKey(t, obj{"project": name, "scopes": []string{"tasks:*", "endpoints:*"}})
		ep, _ := own.register(t, h.URL, nil)
		own.pause(t, ep)
		at := own.at(0) // what came in elsewhere is known a second later
		var ids []string
		for range 5 {
			ids = append(ids, at.submit(t, ep, nil).str("id"))
		}
		for path, body := range map[string]any{"/v1/tasks": obj{"endpoint": ep}, "/v1/endpoints/" + ep + "/tasks": []byte(`{"a":1}`)} {
			r := at.want(t, 429, "POST", path, body)
			if r.obj.str("code") != "quota_exceeded" || r.header.Get("Retry-After") == "" {
				t.Errorf("%s: %s", path, r.raw)
			}
		}
		usage := func() (tasks, bytes float64) {
			u, _ := tg.want(t, 200, "GET", "/v1/projects/"+name, nil).obj["usage"].(map[string]any)
			tasks, _ = u["waiting_tasks"].(float64)
			bytes, _ = u["waiting_bytes"].(float64)
			return tasks, bytes
		}
		if n, _ := usage(); n != 5 {
			t.Errorf("%v tasks are shown to wait, want 5", n)
		}
		for range tg.bases { // every gateway knows, soon
			eventually(t, "refused everywhere", func() bool { return own.do(t, "POST", "/v1/tasks", obj{"endpoint": ep}).status == 429 })
		}
		for _, id := range ids {
			own.cancel(t, id)
		}
		eventually(t, "there is room again", func() bool { return at.do(t, "POST", "/v1/tasks", obj{"endpoint": ep}).status == 202 })

		// Bytes: one that fits, none beyond.
		put(obj{"waiting_tasks": 100, "payload_bytes": 3000})
		kilobyte := obj{"endpoint": ep, "payload": fmt.Sprintf("%01000d", 0)}
		big := 0
		eventually(t, "the bytes are used up", func() bool {
			r := at.do(t, "POST", "/v1/tasks", kilobyte)
			if r.status == 202 {
				big++
				return false
			}
			return r.status == 429 && r.obj.str("code") == "quota_exceeded"
		})
		if big > 2 {
			t.Errorf("%d payloads of 1,002 bytes were accepted within 3,000", big)
		}
		if _, bytes := usage(); bytes > 3000 {
			t.Errorf("%v bytes wait", bytes)
		}
		tg.want(t, 200, "PUT", "/v1/projects/"+name, obj{"quotas": obj{}})
		own.want(t, 200, "POST", "/v1/endpoints/"+ep+"/purge", obj{})
		own.resume(t, ep)
		eventually(t, "nothing is counted any more", func() bool { n, b := usage(); return n == 0 && b == 0 })
	})
}

// eventually polls until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// TestKeyRate: over all gateways together a key gets its rate, whatever it
// asks for; another key of the project does not notice.
func TestKeyRate(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		const perSecond, burst = 20, 10
		_, limited := tg.newKey(t, obj{"scopes": []string{"tasks:read"}, "rate": obj{"per_second": perSecond, "burst": burst}})
		_, free := tg.newKey(t, obj{"scopes": []string{"tasks:read"}})
		for range tg.bases { // every gateway knows the key
			limited.do(t, "GET", "/v1/tasks?limit=1", nil)
		}
		begin := time.Now()
		var passed, refused atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for time.Since(begin) < 2*time.Second {
					r, err := limited.try("GET", "/v1/tasks?limit=1", nil)
					switch {
					case err != nil:
						t.Error(err)
						return
					case r.status == http.StatusOK:
						passed.Add(1)
					case r.status == http.StatusTooManyRequests && r.obj.str("code") == "rate_limited" && r.header.Get("Retry-After") != "":
						refused.Add(1)
					default:
						t.Errorf("%d %s", r.status, r.raw)
						return
					}
					if p := r.header.Get("Ratelimit-Policy"); p != `"key";q=10;w=1` {
						t.Errorf("policy %q", p)
						return
					}
				}
			})
		}
		wg.Wait()
		took := time.Since(begin).Seconds()
		// Beside rate and burst: what each gateway fetched before, worth 100 ms.
		most := burst + perSecond*took + float64(len(tg.bases))*perSecond/10 + 1
		if n := float64(passed.Load()); n > most || n < perSecond*took/3 {
			t.Errorf("%v passed in %.1f s, want up to %.0f", n, took, most)
		}
		if refused.Load() == 0 {
			t.Error("none was refused")
		}
		free.want(t, 200, "GET", "/v1/tasks?limit=1", nil)
	})
}

// load is what one caller saw.
type load struct {
	mu       sync.Mutex
	accepted []time.Duration
	refused  []time.Duration
	ids      []string
	other    string
}

// share is how many of the answered were refused.
func (l *load) share() float64 {
	return float64(len(l.refused)) / float64(max(1, len(l.refused)+len(l.accepted)))
}

func (l *load) note(took time.Duration, r reply, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.other = err.Error()
	case r.status == http.StatusAccepted:
		l.accepted = append(l.accepted, took)
		l.ids = append(l.ids, r.obj.str("id"))
	case r.status == http.StatusServiceUnavailable && r.obj.str("code") == "overloaded":
		l.refused = append(l.refused, took)
		if s, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || s < 1 {
			l.other = "no Retry-After"
		}
	default:
		l.other = fmt.Sprintf("%d %s", r.status, r.raw)
	}
}

func at(ds []time.Duration, share float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	slices.Sort(ds)
	return ds[min(len(ds)-1, int(share*float64(len(ds))))]
}

// submits makes a closed loop of submissions until the time is over.
func (tg *target) submits(ep string, workers int, until time.Time) *load {
	l := &load{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for time.Now().Before(until) {
				begin := time.Now()
				r, err := tg.try("POST", "/v1/tasks", obj{"endpoint": ep, "payload": "x"})
				l.note(time.Since(begin), r, err)
			}
		})
	}
	wg.Wait()
	return l
}

// TestOverloadIsFair: a key floods far above what the gateways work at the same
// time. It is refused, quickly; a calm key beside it is not; what was accepted
// runs; and nothing is left behind.
func TestOverloadIsFair(t *testing.T) {
	t.Parallel()
	installations(t, func(*testing.T) []string {
		return []string{"TASKGATE_MAX_INFLIGHT=8", "TASKGATE_MAX_POLLS=4"}
	}, func(t *testing.T, in *installation) {
		h := serve(t, status(200))
		ep, _ := in.register(t, h.URL, nil)
		_, calm := in.newKey(t, obj{"scopes": []string{"tasks:*"}})
		_, flood := in.newKey(t, obj{"scopes": []string{"tasks:*"}})
		for range in.bases {
			calm.submit(t, ep, nil)
			flood.submit(t, ep, nil)
		}
		before := in.value(t, "go_goroutines")
		until := time.Now().Add(3 * time.Second)
		var flooded, calmly *load
		var wg sync.WaitGroup
		wg.Go(func() { flooded = flood.submits(ep, 40*len(in.bases), until) })
		wg.Go(func() { calmly = calm.submits(ep, 1, until) })
		wg.Wait()
		if flooded.other != "" || calmly.other != "" {
			t.Fatalf("flood: %q, calm: %q", flooded.other, calmly.other)
		}
		t.Logf("flood: %d accepted (p50 %s), %d refused (p50 %s, p99 %s); calm: %d accepted (p50 %s), %d refused",
			len(flooded.accepted), at(flooded.accepted, .5), len(flooded.refused), at(flooded.refused, .5), at(flooded.refused, .99),
			len(calmly.accepted), at(calmly.accepted, .5), len(calmly.refused))
		if len(flooded.refused) == 0 {
			t.Error("the flood was never refused")
		}
		// Not none: on a machine that stands still for a moment nobody's wait ends
		// in time. But much fewer than the one that floods.
		if len(calmly.accepted) == 0 || calmly.share() > flooded.share()/4 {
			t.Errorf("calm: %d accepted, %d refused", len(calmly.accepted), len(calmly.refused))
		}
		if p := at(flooded.refused, .5); p > 2*at(flooded.accepted, .5)+50*time.Millisecond {
			t.Errorf("a refusal takes %s, an acceptance %s", p, at(flooded.accepted, .5))
		}
		for _, id := range slices.Concat(flooded.ids, calmly.ids) {
			in.ends(t, id, "succeeded", "")
		}
		eventually(t, "no place is held any more", func() bool {
			return in.value(t, "taskgate_http_places", "what", "working") == 0 && in.value(t, "taskgate_http_places", "what", "queued") == 0
		})
		eventually(t, "no goroutine is left", func() bool {
			http.DefaultClient.CloseIdleConnections()
			return in.value(t, "go_goroutines") < before+float64(200*len(in.processes))
		})
		if in.value(t, "taskgate_http_refused_total", "code", "overloaded") < float64(len(flooded.refused)) {
			t.Error("refusals are not counted")
		}
	})
}
