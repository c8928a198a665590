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
	p.CallbackSecret = p.CallbackSecret.Rotated(sealed(task.CallbackEndpoint, second), time.Now().Add(time.Hour))
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
