package results_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// hints is a store of nothing but hints and leases. It loses the first few.
type hints struct {
	results.Driver
	mu    sync.Mutex
	ears  map[results.Topic][]func(string)
	leads map[string]string
	lose  int
	down  bool
}

func (h *hints) Hint(_ context.Context, t results.Topic, msg string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return results.ErrUnavailable
	}
	if h.lose > 0 {
		h.lose--
		return nil
	}
	for _, fn := range h.ears[t] {
		go fn(msg)
	}
	return nil
}

func (h *hints) Subscribe(ctx context.Context, t results.Topic, fn func(string), reset func()) error {
	h.mu.Lock()
	h.ears[t] = append(h.ears[t], fn)
	h.mu.Unlock()
	reset()
	<-ctx.Done()
	return nil
}

func (h *hints) Lead(_ context.Context, name, owner string, _ time.Duration) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leads[name] == "" {
		h.leads[name] = owner
	}
	return h.leads[name] == owner, nil
}

// calling is a process that asks, and some that serve.
type calling struct {
	*results.Calls
	hints  *hints
	mu     sync.Mutex
	served []string // by whom
	takes  time.Duration
	deaf   bool // serving does not end with its context
}

func (c *calling) obeys(ctx context.Context) <-chan struct{} {
	if c.deaf {
		return nil
	}
	return ctx.Done()
}

func newCalling(t *testing.T, servers, atOnce int) *calling {
	t.Helper()
	h := &hints{ears: map[results.Topic][]func(string){}, leads: map[string]string{}}
	s := results.NewStore(h)
	c := &calling{Calls: results.NewCalls(s, "me"), hints: h, takes: 100 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	for i := range servers {
		owner := fmt.Sprint("server", i)
		wg.Go(func() {
			_ = s.ServeCalls(ctx, owner, atOnce, func(ctx context.Context, body []byte) []byte {
				c.mu.Lock()
				c.served = append(c.served, owner)
				c.mu.Unlock()
				select {
				case <-time.After(c.takes):
				case <-c.obeys(ctx):
				}
				return append([]byte("to "), body...)
			})
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	synctest.Wait()
	return c
}

func (c *calling) ask(t *testing.T, within time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	body, err := c.Call(ctx, []byte("you"))
	return string(body), err
}

func TestCallsAreServedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCalling(t, 3, 4)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if got, err := c.ask(t, time.Minute); got != "to you" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if len(c.served) != 4 {
			t.Errorf("served by %v", c.served)
		}
	})
}

// Whichever hint is lost, the call is made once and its answer heard.
func TestCallsSurviveLostHints(t *testing.T) {
	for lose := range 4 {
		synctest.Test(t, func(t *testing.T) {
			c := newCalling(t, 1, 4)
			c.takes = 1500 * time.Millisecond
			c.hints.lose = lose
			if got, err := c.ask(t, time.Minute); got != "to you" || err != nil {
				t.Errorf("%d lost: got %q, %v", lose, got, err)
			}
			if len(c.served) != 1 {
				t.Errorf("%d lost: served by %v", lose, c.served)
			}
		})
	}
}

func TestCallsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(c *calling, what string, within, after time.Duration, says string) {
			t.Helper()
			begin := time.Now()
			_, err := c.ask(t, within)
			if task.CodeOf(err) != task.CodeUnavailable || !strings.Contains(fmt.Sprint(err), says) || time.Since(begin) != after {
				t.Errorf("%s: %v after %s", what, err, time.Since(begin))
			}
		}
		fails(newCalling(t, 0, 1), "nobody serves", time.Minute, 5*time.Second, "no dispatcher took")
		slow := newCalling(t, 1, 1)
		slow.takes, slow.deaf = time.Hour, true
		fails(slow, "no answer", 10*time.Second, 10*time.Second, "may have been made")
		slow.hints.down = true
		fails(slow, "store away", time.Minute, 0, "cannot be reached")
		slow.hints.down = false

		// Who is busy leaves calls to others; said again it is taken.
		busy := newCalling(t, 1, 1)
		busy.takes = 2500 * time.Millisecond
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := busy.ask(t, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
