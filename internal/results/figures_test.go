package results_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskgate/taskgate/internal/task"
)

// Figures are the sum of five minutes, of all processes.
func TestFigures(t *testing.T) {
	s, _ := embedded(t)
	now := time.Date(2027, 1, 2, 3, 4, 20, 0, time.UTC)
	a := task.EndpointTally{Endpoint: "a", Tally: task.Tally{Succeeded: 1, InFlight: 2}}
	a.Took.Add(time.Second)
	a.Took.Add(task.MaxTimeout)
	for _, ago := range []time.Duration{0, 4 * time.Minute, 5 * time.Minute} {
		for _, owner := range []string{"x", "y"} {
			if err := s.Tally(t.Context(), owner, now.Add(-ago), []task.EndpointTally{a}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := s.Figures(t.Context(), []task.EndpointID{"b", "a"}, now)
	if err != nil {
		t.Fatal(err)
	}
	over := 4*time.Minute + 20*time.Second
	want := []task.Figures{{Over: over}, {Over: over, Tally: task.Tally{Succeeded: 4, InFlight: 4}}}
	for range 4 {
		want[1].Took.Add(time.Second)
		want[1].Took.Add(task.MaxTimeout)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
