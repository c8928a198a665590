package e2e_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// sickbed is a handler that is down until it is mended.
type sickbed struct{ well atomic.Bool }

func (s *sickbed) answer(w http.ResponseWriter, _ *http.Request) {
	if !s.well.Load() {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// A dead endpoint with a backlog is called a few times, and then once in each
// pause; its tasks keep their attempts, its neighbour its pace, and when it is
// mended all of them succeed.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		const backlog, before = 150, 100 // that many may be in hands when it opens, on three dispatchers
		s := &sickbed{}
		h, good := serve(t, s.answer), serve(t, status(200))
		ep, _ := tg.register(t, h.URL, obj{
			"circuit_breaker": obj{"min_attempts": 5, "cool_down": "2s"}, "max_concurrency": 2,
			"retry": obj{"min_backoff": "100ms", "max_backoff": "100ms", "max_attempts": 100},
		})
		neighbour, _ := tg.register(t, good.URL, nil)
		breaker := func() client.EndpointBreaker {
			if live := tg.endpoint(t, ep).Live; live != nil {
				return live.Breaker
			}
			return client.EndpointBreaker{}
		}
		if b := breaker(); b.State != client.EndpointBreakerStateClosed || b.Since != nil {
			t.Errorf("new: %+v", b)
		}
		var ids []string
		for range backlog {
			ids = append(ids, tg.submit(t, ep, nil).str("id"))
		}
		until(t, "the circuit opens", func() bool { return breaker().State == client.EndpointBreakerStateOpen })
		if b := breaker(); b.State == client.EndpointBreakerStateOpen && (b.Reason == nil || *b.Reason != client.ReasonHandler5xx || b.Since == nil || b.NextProbeAt == nil) {
			t.Errorf("open: %+v", b)
		}
		expiring := tg.submit(t, ep, obj{"expires_in": "1s"}).str("id")
		first := len(h.deliveries())
		if first > before {
			t.Errorf("%d calls until it opened", first)
		}
		begin := time.Now()
		until(t, "three probes have failed", func() bool { b := breaker(); return b.FailedProbes != nil && *b.FailedProbes >= 3 })
		for range 20 {
			tg.ends(t, tg.submit(t, neighbour, nil).str("id"), "succeeded", "")
		}
		if most := int(time.Since(begin)/(2*time.Second)) + 8; len(h.deliveries())-first > most {
			t.Errorf("%d calls in %s, with a pause of 2 s", len(h.deliveries())-first, time.Since(begin))
		}
		tg.ends(t, expiring, "expired", "expired")

		s.well.Store(true)
		tg.patch(t, ep, obj{"max_concurrency": nil})
		attempts := 0
		for _, id := range ids {
			tg.ends(t, id, "succeeded", "")
			attempts += len(tg.attempts(t, id))
		}
		if calls := len(h.deliveries()); attempts != calls {
			t.Errorf("%d attempts, %d calls", attempts, calls)
		}
		until(t, "the circuit closes", func() bool { return breaker().State == client.EndpointBreakerStateClosed })
	})
}

// An endpoint that asks for a pause gets it as a whole: its backlog is not
// answered 429 one by one.
func TestThrottledEndpoint(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		var well atomic.Bool
		throttle := status(429, "Retry-After", "3")
		h := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if well.Load() {
				w.WriteHeader(http.StatusOK)
				return
			}
			throttle(w, r)
		})
		ep, _ := tg.register(t, h.URL, obj{"max_concurrency": 2, "retry": obj{"max_attempts": 1}})
		var ids []string
		for range 60 {
			ids = append(ids, tg.submit(t, ep, nil).str("id"))
		}
		until(t, "it is held", func() bool {
			live := tg.endpoint(t, ep).Live
			return live != nil && live.Breaker.Reason != nil && *live.Breaker.Reason == client.ReasonThrottled
		})
		begin, first := time.Now(), len(h.deliveries())
		until(t, "a few pauses are over", func() bool { return len(h.deliveries()) >= first+2 })
		if most := 2*int(time.Since(begin)/(3*time.Second)) + 20; len(h.deliveries()) > most {
			t.Errorf("%d calls in %s", len(h.deliveries()), time.Since(begin))
		}
		well.Store(true)
		for _, id := range ids {
			tg.ends(t, id, "succeeded", "")
		}
	})
}
