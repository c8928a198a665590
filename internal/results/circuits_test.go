package results_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func TestCircuits(t *testing.T) {
	s, d := embedded(t)
	now := time.Now().UTC().Truncate(time.Millisecond)
	open := task.Circuit{
		State: task.CircuitOpen, Reason: task.ReasonConnect, Since: now, At: now, Next: now.Add(time.Minute), Probes: 3,
	}
	swap := func(id task.EndpointID, c task.Circuit, version int64) (task.StoredCircuit, bool) {
		t.Helper()
		present, ok, err := s.SwapCircuit(t.Context(), id, c, version)
		if err != nil {
			t.Fatal(err)
		}
		return present, ok
	}
	for i := range 600 { // more than one page
		if stored, ok := swap(task.EndpointID(fmt.Sprintf("%04d", i)), open, 0); !ok || stored.Version != 1 || stored.Circuit != open {
			t.Fatalf("%+v", stored)
		}
	}
	if present, ok := swap("0007", open, 0); ok || present.Version != 1 || present.Circuit != open {
		t.Errorf("written over: %+v", present)
	}
	claimed := open.Claimed("me", now.Add(time.Minute), now.Add(2*time.Minute))
	if stored, ok := swap("0007", claimed, 1); !ok || stored.Version != 2 {
		t.Errorf("%+v", stored)
	}
	// What nobody can read is in nobody's way.
	if _, ok, err := d.SwapDocument(t.Context(), task.Document{Kind: "circuit", Name: "bad", Data: []byte("{"), KeepTill: now.Add(time.Hour)}); !ok || err != nil {
		t.Fatal(err)
	}
	all, err := s.Circuits(t.Context())
	if err != nil || len(all) != 600 || all["0007"] != (task.StoredCircuit{Circuit: claimed, Version: 2}) || all["0599"].Circuit != open {
		t.Errorf("%d, %+v, %v", len(all), all["0007"], err)
	}
	if stored, ok := swap("0007", task.Circuit{}, 2); !ok || stored.Version != 0 {
		t.Errorf("closed: %+v", stored)
	}
	if present, ok := swap("0007", claimed, 2); ok || present.Version != 0 || !present.Closed() {
		t.Errorf("written after it was closed: %+v", present)
	}
	if all, err = s.Circuits(t.Context()); err != nil || len(all) != 599 {
		t.Errorf("%d, %v", len(all), err)
	}
}

// oneDocument is a store that holds a document of somebody's making.
type oneDocument struct {
	results.Driver
	doc task.Document
}

func (o oneDocument) ListDocuments(context.Context, string, string, string, int) ([]task.Document, bool, error) {
	return []task.Document{o.doc}, false, nil
}

// FuzzCircuit: what is stored, whoever wrote it, is read or left out.
func FuzzCircuit(f *testing.F) {
	f.Add([]byte(`{"state":"open","since":"2026-01-01T00:00:00Z","at":"2026-01-01T00:00:00Z","next":"2026-01-01T00:00:30Z"}`), int64(1))
	f.Add([]byte(`{"state":"half_open","prober":"x","until":"2026-01-01T00:00:00Z"}`), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, version int64) {
		s := results.NewStore(oneDocument{doc: task.Document{Name: "a", Data: data, Version: version}})
		all, err := s.Circuits(t.Context())
		if err != nil || len(all) > 1 {
			t.Fatal(all, err)
		}
		for _, c := range all {
			b := task.Breaker{Circuit: c.Circuit}
			b.Ended(task.DefaultBreaker(), &task.Outcome{Kind: task.KindSuccess}, c.ProbedBy("x"), time.Now())
		}
	})
}
