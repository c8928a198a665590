package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var clocks = Scenario{
	Name: "clocks", Number: 8, Targets: []Target{Services},
	What: "one of two dispatchers is 5 minutes ahead, then 5 minutes behind; then by some seconds, with retries, delays and kills",
	Run:  runClocks,
}

// clockEnv shifts the clock of a process built with the tag chaos, see
// internal/app.
const clockEnv = "CHAOS_CLOCK_OFFSET="

func runClocks(t *testing.T, w *World) {
	little := Pick(w, 3*time.Second, 10*time.Second)
	for _, offset := range []time.Duration{5 * time.Minute, -5 * time.Minute, little, -little} {
		t.Run(offset.String(), func(t *testing.T) { runClock(t, w, offset) })
	}
}

// runClock: far off, work goes on as if nothing were; what is timed is early
// or late by as much as the clock is wrong, which is tried with a smaller
// error, since somebody has to wait for it.
func runClock(t *testing.T, w *World, offset time.Duration) {
	in := w.Install(t, rig.Options{Gateways: 1, Dispatchers: 2})
	wrong := in.Dispatchers[1]
	if err := wrong.Kill(); err != nil {
		t.Fatal(err)
	}
	wrong.Env = append(wrong.Env, clockEnv+offset.String())
	restart(t, wrong)
	l := w.Ledger(t, in)
	near := offset.Abs() < time.Minute
	work := Takes(5 * time.Millisecond)
	if near {
		work = FailsFirst(4, work)
	}
	w.Register(t, l, Endpoint{Name: "quick", Work: work, Idle: near})
	load := Load{Workers: 6, Endpoints: []string{"quick"}, Callbacks: 4, Pause: 20 * time.Millisecond}
	loop := l.Run(t.Context(), load)
	if near {
		load.Workers, load.Fields = 2, map[string]any{"delay": "1s"}
		delayed := l.Run(t.Context(), load)
		for range Pick(w, 1, 4) {
			w.Wait(t, w.Between(500*time.Millisecond, 1500*time.Millisecond))
			p := in.Dispatchers[w.Rand.IntN(2)]
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			restart(t, p)
		}
		delayed.Stop()
	} else {
		w.Wait(t, Pick(w, 2*time.Second, 10*time.Second))
	}
	loop.Stop()
	w.Conclude(t, l, 2*time.Minute, Mercy{}, fmt.Sprintf("off by %v", offset))
	NoRefusals(t, l)
}
