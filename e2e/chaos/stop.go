package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var stops = Scenario{
	Name: "stop", Number: 2, Targets: []Target{Services, Embedded},
	What: "SIGTERM of each process in turn, under load, with attempts and long-polls on their way",
	Run:  runStops,
}

// A stop in order breaks nothing that is on its way: no task is attempted
// twice, no attempt is cut, every request that reached a gateway has its
// answer, and the process ends by itself within its grace.
func runStops(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{Gateways: 2, Dispatchers: 2})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: Takes(2 * time.Millisecond)})
	w.Register(t, l, Endpoint{Name: "long", Work: Takes(2 * time.Second), Fields: map[string]any{"timeout": "30s"}})
	load := l.Run(t.Context(), Load{Workers: 6, Endpoints: []string{"quick", "quick", "quick", "long"}, Callbacks: 3, Pause: 30 * time.Millisecond})
	polls := poll(t.Context(), l, 8)
	var longest time.Duration
	stopped := 0
	for range Pick(w, 1, 4) {
		for _, p := range in.Processes() {
			w.Wait(t, w.Between(300*time.Millisecond, Pick(w, 800*time.Millisecond, 3*time.Second)))
			took, err := p.Stop(rig.Grace)
			if err != nil {
				t.Error(err)
			}
			longest = max(longest, took)
			stopped++
			restart(t, p)
		}
	}
	load.Stop()
	asked, broken := polls.stop()
	v := w.Conclude(t, l, 90*time.Second, Mercy{}, fmt.Sprintf("%d stops, the longest took %s", stopped, Seconds(longest)),
		fmt.Sprintf("%d long-polls, %d broken", asked, len(broken)))
	NoRefusals(t, l)
	for _, err := range append(broken, l.Broken()...) {
		t.Errorf("a request was broken: %v", err)
	}
	if v.Announced > 0 {
		t.Errorf("%d tasks were done twice", v.Announced)
	}
	tries := map[string]int{}
	for _, c := range append(l.Receiver.Calls(), l.Receiver.Callbacks()...) {
		if tries[c.ID]++; tries[c.ID] > 1 {
			t.Errorf("%s was attempted again (attempt %d, suspect %v)", c.ID, c.Attempt, c.Suspect)
		}
		if c.Cut {
			t.Errorf("an attempt of %s was cut", c.ID)
		}
	}
}

// Broken tells whether a request failed after it may have reached a server:
// not so when there was no connection.
func Broken(err error) bool {
	var op *net.OpError
	return err != nil && !(errors.As(err, &op) && op.Op == "dial")
}

// polling waits for ends of tasks, as the ledger's users would.
type polling struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	asked  int
	broken []error
}

// poll runs long-polls of the newest tasks until stop.
func poll(ctx context.Context, l *Ledger, workers int) *polling {
	ending, cancel := context.WithCancel(ctx)
	p := &polling{cancel: cancel}
	for range workers {
		p.wg.Go(func() {
			for ending.Err() == nil {
				accepted := l.Accepted()
				if len(accepted) == 0 {
					_ = pause(ending, 20*time.Millisecond)
					continue
				}
				// What has begun is brought to its end: an abort of ours is
				// nobody's fault.
				_, err := l.Client.Do(ctx, http.MethodGet, "/v1/tasks/"+accepted[len(accepted)-1].ID+"?wait=3s", nil)
				p.note(err)
				_ = pause(ending, 10*time.Millisecond)
			}
		})
	}
	return p
}

func (p *polling) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if Broken(err) {
		p.broken = append(p.broken, err)
	}
}

func (p *polling) stop() (asked int, broken []error) {
	p.cancel()
	p.wg.Wait()
	return p.asked, p.broken
}
