package e2e_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// The soak: tasks at a moderate rate against a handler that fails as its
// payload says. Every task must end in the state that the delivery table
// says, none may be lost, and the times of its attempts must fit its policy.

// plan is what the handler does with one task, attempt after attempt; the
// last step repeats. It is drawn from the task's number, so a run can be
// repeated.
type plan struct {
	steps         []answer
	names         []string
	state, reason string
	attempts      int
}

const (
	soakRate    = 40 // tasks a second
	soakBackoff = 100 * time.Millisecond
)

func steps() map[string]answer {
	return map[string]answer{
		"ok":    body(200, "text/plain", "done"),
		"500":   status(500),
		"429":   status(429, "Retry-After", "1"),
		"400":   status(400),
		"hang":  hang,
		"close": closed,
	}
}

func closed(w http.ResponseWriter, _ *http.Request) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// plans are the shapes of a task's life, by number.
func plans() []plan {
	shape := func(state, reason string, attempts int, names ...string) plan {
		p := plan{state: state, reason: reason, attempts: attempts, names: names}
		for _, n := range names {
			p.steps = append(p.steps, steps()[n])
		}
		return p
	}
	return []plan{
		shape("succeeded", "", 1, "ok"),
		shape("succeeded", "", 1, "ok"),
		shape("succeeded", "", 2, "500", "ok"),
		shape("succeeded", "", 3, "close", "500", "ok"),
		shape("succeeded", "", 2, "429", "ok"),
		shape("succeeded", "", 4, "429", "500", "close", "ok"),
		shape("succeeded", "", 2, "hang", "ok"),
		shape("failed", "permanent_status", 1, "400"),
		shape("failed", "permanent_status", 2, "500", "400"),
		shape("failed", "attempts_exhausted", 3, "500"),
		shape("failed", "attempts_exhausted", 3, "close"),
		shape("failed", "attempts_exhausted", 3, "hang"),
	}
}

func soakTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("TASKGATE_SOAK")); err == nil {
		return d
	}
	return 20 * time.Second
}

// soakHandler plays each task's plan.
type soakHandler struct {
	mu    sync.Mutex
	tries map[string]int
	times map[string][]time.Time
}

func (s *soakHandler) answer(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Webhook-Id")
	p := planOf(r.Header.Get("X-Plan"))
	s.mu.Lock()
	s.tries[id]++
	n := s.tries[id]
	s.times[id] = append(s.times[id], time.Now())
	s.mu.Unlock()
	p.steps[min(n, len(p.steps))-1](w, r)
}

func planOf(number string) plan {
	h := fnv.New32a()
	_, _ = h.Write([]byte(number))
	all := plans()
	return all[int(h.Sum32()%uint32(len(all)))]
}

func TestSoak(t *testing.T) {
	targets(t, func(t *testing.T, tg *target) {
		sh := &soakHandler{tries: map[string]int{}, times: map[string][]time.Time{}}
		h := serve(t, sh.answer)
		ep, _ := tg.register(t, h.URL, obj{
			"timeout": "1s",
			"retry":   obj{"max_attempts": 3, "min_backoff": "100ms", "max_backoff": "200ms", "multiplier": 2, "jitter": 0},
		})
		gone := soakGone(t, tg)
		accepted := soakSubmit(t, tg, ep)
		for number, id := range accepted {
			sh.check(t, tg, number, id)
		}
		tg.want(t, 200, "POST", "/v1/endpoints/"+gone.endpoint+"/resume", nil)
		for _, id := range gone.held {
			tg.ends(t, id, "succeeded", "")
		}
		t.Logf("%d tasks in %v, every one in its state", len(accepted)+len(gone.held)+1, soakTime())
	})
}

// held are the tasks of an endpoint that answered 410 once.
type held struct {
	endpoint string
	held     []string
}

func soakGone(t *testing.T, tg *target) held {
	t.Helper()
	ep, _ := tg.register(t, serve(t, status(410), status(200)).URL, nil)
	tg.ends(t, tg.submit(t, ep, nil).str("id"), "failed", "endpoint_gone")
	out := held{endpoint: ep}
	for range 5 {
		out.held = append(out.held, tg.submit(t, ep, nil).str("id"))
	}
	return out
}

// soakSubmit submits at a fixed rate for the soak's time.
func soakSubmit(t *testing.T, tg *target, ep string) map[string]string {
	t.Helper()
	var (
		mu       sync.Mutex
		accepted = map[string]string{}
		wg       sync.WaitGroup
	)
	tick := time.NewTicker(time.Second / soakRate)
	defer tick.Stop()
	end := time.After(soakTime())
	for n := 0; ; n++ {
		select {
		case <-end:
			wg.Wait()
			return accepted
		case <-tick.C:
		}
		wg.Go(func() {
			number := fmt.Sprint(n)
			r, err := tg.api().SubmitTaskWithResponse(t.Context(), nil, client.TaskSubmission{
				Endpoint: ep, Payload: json.RawMessage(number), Headers: &client.Headers{"X-Plan": number},
			})
			if err != nil {
				t.Errorf("task %d: %v", n, err)
				return
			}
			if r.JSON202 == nil {
				t.Errorf("task %d: status %d: %s", n, r.StatusCode(), r.Body)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			accepted[number] = r.JSON202.Id
		})
	}
}

func (s *soakHandler) check(t *testing.T, tg *target, number, id string) {
	t.Helper()
	p := planOf(number)
	got := tg.await(t, id)
	if got.str("state") != p.state || got.str("reason") != p.reason || got.num("attempts") != p.attempts {
		t.Errorf("task %s (%v): %s (%s) after %d attempts, want %s (%s) after %d: %v", number, p.names,
			got.str("state"), got.str("reason"), got.num("attempts"), p.state, p.reason, p.attempts, tg.attempts(t, id))
	}
	s.mu.Lock()
	times := s.times[id]
	s.mu.Unlock()
	for i := 1; i < len(times); i++ {
		least := soakBackoff
		if p.names[min(i, len(p.names))-1] == "429" {
			least = time.Second
		}
		if gap := times[i].Sub(times[i-1]); gap < least {
			t.Errorf("task %s: attempt %d came after %v, its policy says at least %v", number, i+1, gap, least)
		}
	}
}
