package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
)

var kills = Scenario{
	Name: "kill", Number: 1, Targets: []Target{Services, Embedded},
	What: "kill -9 of a gateway, a dispatcher, or both, again and again at random moments, under load",
	Run:  runKills,
}

// victims are what one blow hits.
func victims(w *World, in *rig.Installation) []*rig.Process {
	if in.Embedded() {
		return in.Gateways
	}
	gateway := in.Gateways[w.Rand.IntN(len(in.Gateways))]
	dispatcher := in.Dispatchers[w.Rand.IntN(len(in.Dispatchers))]
	switch w.Rand.IntN(3) {
	case 0:
		return []*rig.Process{gateway}
	case 1:
		return []*rig.Process{dispatcher}
	default:
		return []*rig.Process{gateway, dispatcher}
	}
}

func runKills(t *testing.T, w *World) {
	in := w.Install(t, rig.Options{Gateways: 2, Dispatchers: 2})
	l := w.Ledger(t, in)
	w.Register(t, l, Endpoint{Name: "quick", Work: FailsFirst(5, Takes(2*time.Millisecond))})
	w.Register(t, l, Endpoint{Name: "slow", Work: Takes(150 * time.Millisecond)})
	load := l.Run(t.Context(), Load{Workers: 8, Endpoints: []string{"quick", "slow"}, Callbacks: 3, Pause: 20 * time.Millisecond})
	killed := 0
	for blows := Pick(w, 4, 30); blows > 0; blows-- {
		w.Wait(t, w.Between(50*time.Millisecond, Pick(w, 800*time.Millisecond, 3*time.Second)))
		hit := victims(w, in)
		for _, p := range hit {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			killed++
		}
		w.Wait(t, w.Between(0, 300*time.Millisecond))
		for _, p := range hit {
			restart(t, p)
		}
	}
	load.Stop()
	w.Conclude(t, l, 2*time.Minute, Mercy{}, fmt.Sprintf("%d kills", killed))
	NoRefusals(t, l)
}

func restart(t *testing.T, p *rig.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.StartLimit)
	defer cancel()
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
}
