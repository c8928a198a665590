package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var rolling = Scenario{
	Name: "rolling", Number: 3, Targets: []Target{Services, Embedded},
	What: "rolling restart of two dispatchers and two gateways (embedded: of the one process), as an upgrade does it",
	Run:  runRolling,
}

// A client that repeats 503 and connection errors with its key has every
// submission accepted, whatever is being restarted.
func runRolling(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{Gateways: 2, Dispatchers: 2})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: FailsFirst(7, Takes(2*time.Millisecond))})
	w.Register(t, l, Endpoint{Name: "slow", Work: Takes(200 * time.Millisecond)})
	load := l.Run(t.Context(), Load{Workers: 8, Endpoints: []string{"quick", "slow"}, Callbacks: 4, Pause: 10 * time.Millisecond})
	restarts := 0
	for range Pick(w, 1, 3) {
		for _, p := range in.Processes() {
			if _, err := p.Stop(rig.StopLimit); err != nil {
				t.Error(err)
			}
			restart(t, p)
			restarts++
			w.Wait(t, Pick(w, 300*time.Millisecond, 2*time.Second))
		}
	}
	load.Stop()
	tries := 1
	for _, a := range l.Accepted() {
		tries = max(tries, a.Tries)
	}
	v := w.Conclude(t, l, 90*time.Second, Mercy{}, fmt.Sprintf("%d restarts; no submission failed; the slowest took %s in %d tries or fewer",
		restarts, Seconds(l.Slowest()), tries))
	NoRefusals(t, l)
	if v.Announced > 0 {
		t.Errorf("%d tasks were done twice", v.Announced)
	}
}
