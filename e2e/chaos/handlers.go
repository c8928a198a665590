package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var handlers = Scenario{
	Name: "handlers", Number: 7, Targets: []Target{Services},
	What: "attempts at handlers that hang, answer a byte a second, send 1 GB, close in the middle, answer rubbish, redirect, " +
		"have a bad certificate; beside them a healthy one",
	Run: runHandlers,
}

// bad are handlers that never do what they should; each is called for many
// tasks at the same time.
type bad struct {
	name string
	work Work
}

func badHandlers() []bad {
	return []bad{
		{"hangs", func(_ http.ResponseWriter, r *http.Request, _ Call, _ func()) int {
			<-r.Context().Done()
			return 0
		}},
		{"drips", func(w http.ResponseWriter, r *http.Request, _ Call, _ func()) int {
			c := http.NewResponseController(w)
			for pause(r.Context(), time.Second) == nil {
				if _, err := w.Write([]byte{'.'}); err != nil || c.Flush() != nil {
					break
				}
			}
			return 0
		}},
		{"floods", func(w http.ResponseWriter, r *http.Request, _ Call, _ func()) int {
			block := bytes.Repeat([]byte{'x'}, 64<<10)
			for range 1 << 30 / len(block) {
				if _, err := w.Write(block); err != nil || r.Context().Err() != nil {
					break
				}
			}
			return 0
		}},
		{"closes", func(w http.ResponseWriter, _ *http.Request, _ Call, _ func()) int {
			hijacked(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")
			return 0
		}},
		{"rubbish", func(w http.ResponseWriter, _ *http.Request, _ Call, _ func()) int {
			hijacked(w, "\x00\xff\xfe this is no HTTP \r\n\r\n")
			return 0
		}},
		{"redirects", func(w http.ResponseWriter, _ *http.Request, _ Call, _ func()) int {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			return http.StatusFound
		}},
	}
}

// hijacked answers with bytes of our own and closes.
func hijacked(w http.ResponseWriter, text string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	write(buf, text)
}

func write(w *bufio.ReadWriter, text string) {
	if _, err := w.WriteString(text); err == nil {
		_ = w.Flush()
	}
}

func runHandlers(t *testing.T, w *World) {
	each := Pick(w, 40, 720) // of seven kinds
	timeout := Pick(w, 2*time.Second, 20*time.Second)
	in := w.Install(t, rig.Options{Gateways: 1, Dispatchers: 2, DispatcherEnv: []string{
		fmt.Sprintf("TASKGATE_CONCURRENCY=%d", Pick(w, 256, 4096)),
	}})
	l := w.Ledger(t, in)
	healthy := &latencies{}
	w.Register(t, l, Endpoint{Name: "healthy", Work: healthy.work})
	alone := healthy.measure(t, w, l)

	badCert := httptest.NewUnstartedServer(http.NotFoundHandler())
	badCert.Config.ErrorLog = silent()
	badCert.StartTLS()
	t.Cleanup(badCert.Close)
	fields := map[string]any{"timeout": timeout.String(), "retry": map[string]any{"max_attempts": 1}}
	names := []string{"certificate"}
	w.Register(t, l, Endpoint{Name: "certificate", URL: badCert.URL, Fields: fields, Idle: true})
	for _, b := range badHandlers() {
		w.Register(t, l, Endpoint{Name: b.name, Work: b.work, Fields: fields, Idle: true})
		names = append(names, b.name)
	}
	var wg sync.WaitGroup
	for _, name := range names {
		for range 4 {
			wg.Go(func() {
				for range each / 4 {
					// What waits behind an open circuit ends by its expiry.
					l.Submit(t.Context(), Submission{Endpoint: name, Fields: map[string]any{"expires_in": "60s"}})
				}
			})
		}
	}
	wg.Wait()
	beside := healthy.measure(t, w, l)
	w.Conclude(t, l, 3*time.Minute, Mercy{}, fmt.Sprintf("%d attempts at bad handlers", each/4*4*len(names)),
		fmt.Sprintf("healthy one alone p50 %v, p99 %v; beside them p50 %v, p99 %v", alone.p50, alone.p99, beside.p50, beside.p99))
	NoRefusals(t, l)
	if most := max(Pick(w, 10*alone.p99, 2*alone.p99), Pick(w, 500*time.Millisecond, 0)); beside.p99 > most {
		t.Errorf("beside bad handlers the healthy one's p99 is %v, alone %v", beside.p99, alone.p99)
	}
}

// latencies of a healthy handler: from the beginning of the submission to the
// call.
type latencies struct {
	mu  sync.Mutex
	got map[string]time.Time
}

func (h *latencies) work(_ http.ResponseWriter, _ *http.Request, c Call, commit func()) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.got == nil {
		h.got = map[string]time.Time{}
	}
	h.got[c.Key] = c.Started
	commit()
	return http.StatusOK
}

// figures are percentiles.
type figures struct{ p50, p99 time.Duration }

// measure submits at a fixed rate, whether or not the answers come in time,
// and waits for the calls.
func (h *latencies) measure(t *testing.T, w *World, l *Ledger) figures {
	t.Helper()
	tick := time.NewTicker(time.Second / Pick[time.Duration](w, 30, 100))
	defer tick.Stop()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
		in []Accepted
	)
	for range Pick(w, 100, 1500) {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		wg.Go(func() {
			if a, ok := l.Submit(t.Context(), Submission{Endpoint: "healthy"}); ok {
				mu.Lock()
				defer mu.Unlock()
				in = append(in, a)
			}
		})
	}
	wg.Wait()
	var took []time.Duration
	w.Until(t, time.Minute, "the healthy handler was called", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		took = took[:0]
		for _, a := range in {
			if at, ok := h.got[a.Key]; ok {
				took = append(took, at.Sub(a.Began))
			}
		}
		return len(took) == len(in)
	})
	slices.Sort(took)
	return figures{p50: took[len(took)/2].Round(100 * time.Microsecond), p99: took[len(took)*99/100].Round(100 * time.Microsecond)}
}
