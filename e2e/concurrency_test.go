package e2e_test

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// crowd is a handler that counts who is in it.
type crowd struct {
	mu        sync.Mutex
	now, most int
	takes     time.Duration
}

func (c *crowd) answer(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	takes := c.takes
	c.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
	}
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

// slow changes how long an answer takes.
func (c *crowd) slow(takes time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes = takes
}

// look returns how many are in it and how many were since the last look.
func (c *crowd) look() (now, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, c.most = c.most, c.now
	return c.now, most
}

// However many dispatchers deliver, never more attempts run at once than the
// endpoint allows; a change of it needs no restart.
func TestMaxConcurrency(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		c := &crowd{takes: 30 * time.Millisecond}
		h := serve(t, c.answer)
		ep, _ := tg.register(t, h.URL, obj{"max_concurrency": 3})
		var ids []string
		for range 150 {
			ids = append(ids, tg.submit(t, ep, nil).str("id"))
		}
		for _, id := range ids {
			tg.ends(t, id, "succeeded", "")
		}
		if _, most := c.look(); most != 3 {
			t.Errorf("%d at once, 3 are allowed", most)
		}

		c.slow(300 * time.Millisecond)
		if got := tg.patch(t, ep, obj{"max_concurrency": 8}); got.num("max_concurrency") != 8 {
			t.Errorf("got %v", got)
		}
		until(t, "eight run at once", func() bool {
			for range 8 {
				tg.submit(t, ep, nil)
			}
			_, most := c.look()
			return most >= 8
		})
		tg.patch(t, ep, obj{"max_concurrency": 1})
		until(t, "one runs at once", func() bool {
			for range 3 { // more than one at a time can do meanwhile
				tg.submit(t, ep, nil)
			}
			<-time.After(600 * time.Millisecond)
			now, most := c.look()
			return now == 1 && most == 1
		})
		tg.patch(t, ep, obj{"max_concurrency": nil})
		until(t, "there is no limit", func() bool {
			for range 4 {
				tg.submit(t, ep, nil)
			}
			_, most := c.look()
			return most > 8
		})
	})
}

// A dispatcher that dies leaves its part to the others.
func TestMaxConcurrencyOutlivesADispatcher(t *testing.T) {
	t.Parallel()
	needServices(t)
	env := servicesEnv(namespace())
	gw, err := start("gateway", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.stop)
	tg := &target{name: "pair", bases: []string{gw.base}, key: adminKey}
	c := &crowd{takes: 200 * time.Millisecond}
	h := serve(t, c.answer)
	ep, _ := tg.register(t, h.URL, obj{"max_concurrency": 1, "timeout": "1s"})
	first, err := start("dispatcher", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.stop)
	tg.ends(t, tg.submit(t, ep, nil).str("id"), "succeeded", "") // it has the one part there is
	second, err := start("dispatcher", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.stop)
	var ids []string
	for range 20 {
		ids = append(ids, tg.submit(t, ep, nil).str("id"))
	}
	h.next(t)
	h.next(t)
	first.kill()
	for _, id := range ids {
		tg.ends(t, id, "succeeded", "")
	}
	if _, most := c.look(); most != 1 {
		t.Errorf("%d at once, 1 is allowed", most)
	}
}
