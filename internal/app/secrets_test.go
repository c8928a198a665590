package app

import (
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/seal"
	"github.com/taskgate/taskgate/internal/task"
)

// During a rotation both secrets sign, the new one first.
func TestSecretsOpen(t *testing.T) {
	ring, err := seal.NewRing(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	s := secrets{ring}
	first, second := s.Generate(), s.Generate()
	sealed := func(owner, secret string) []byte {
		out, err := s.Seal("p", owner, secret)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	p := task.Project{Name: "p", CallbackSecret: task.SealedSecret{Current: sealed(task.CallbackEndpoint, first)}}
	if got, err := s.open(p.Callbacks()); err != nil || len(got) != 1 || got[0].Reveal() != first {
		t.Errorf("%d secrets, %v", len(got), err)
	}
	p.CallbackSecret = p.CallbackSecret.Rotated(sealed(task.CallbackEndpoint, second), "", time.Now().Add(time.Hour))
	got, err := s.open(p.Callbacks())
	if err != nil || len(got) != 2 || got[0].Reveal() != second || got[1].Reveal() != first {
		t.Errorf("%d secrets, %v", len(got), err)
	}
	p.CallbackSecret.PreviousUntil = time.Now()
	if got, err := s.open(p.Callbacks()); err != nil || len(got) != 1 || got[0].Reveal() != second {
		t.Errorf("%d secrets, %v", len(got), err)
	}
	p.CallbackSecret.Current = sealed("another", second)
	if _, err := s.open(p.Callbacks()); err == nil {
		t.Error("opened what was sealed for something else")
	}
}

// A target's secret opens for its endpoint only, and never as another kind.
func TestTargetSecrets(t *testing.T) {
	ring, err := seal.NewRing(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	s := secrets{ring}
	sealed, err := s.SealTarget("p", "e", task.TargetSecret{Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	ep := task.Endpoint{Project: "p", Name: "e", Auth: &task.TargetAuth{Sealed: sealed}}
	if got, err := s.openTarget(&ep); err != nil || got.Password != "hunter2" {
		t.Errorf("%v, %v", got.Password == "hunter2", err)
	}
	ep.SealedSecret.Current = sealed
	if _, err := s.open(&ep); err == nil {
		t.Error("a target's secret signs")
	}
	ep.Name = "f"
	if _, err := s.openTarget(&ep); err == nil {
		t.Error("opened for another endpoint")
	}
}
