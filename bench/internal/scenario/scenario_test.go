package scenario_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/report"
	"github.com/taskgate/taskgate/bench/internal/rig"
	"github.com/taskgate/taskgate/bench/internal/scenario"
)

// There is no time for anything: nothing is started, and the report says what is missing.
func TestWhatDoesNotFitIsNamed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	book := &report.Book{}
	opt := scenario.Options{Rounds: 2, For: 10 * time.Second, Systems: []string{rig.Chain, rig.Services}}
	if err := scenario.Run(ctx, &rig.Rig{Log: io.Discard}, book, nil, opt); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(book.Skipped, "\n")
	for _, want := range []string{
		"standard on chain, round 1", "standard on services, round 1", "standard on services, round 2",
		"standard on chain, round 2", "idle on services, round 1", "million on services, round 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "embedded") || strings.Contains(text, "idle on services, round 2") || len(book.Results) > 0 {
		t.Errorf("too much:\n%s\n%v", text, book.Results)
	}
	// Another system begins each round.
	order := strings.Join(book.Skipped[:4], "\n")
	if strings.Index(order, "chain, round 2") < strings.Index(order, "services, round 2") {
		t.Errorf("the rounds begin alike:\n%s", order)
	}
}

func TestUnknownNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wanted, systems []string }{{wanted: []string{"nothing"}}, {systems: []string{"nobody"}}} {
		err := scenario.Run(t.Context(), &rig.Rig{Log: io.Discard}, &report.Book{}, c.wanted, scenario.Options{Systems: c.systems, Rounds: 1})
		if err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// What cannot be started is a result, too, and leaves nothing behind.
func TestWhatDoesNotStartIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	book := &report.Book{}
	r := &rig.Rig{Root: dir, Product: dir, Tools: dir, Work: dir, Log: io.Discard}
	opt := scenario.Options{Rounds: 1, For: time.Second, Systems: []string{rig.Chain}}
	if err := scenario.Run(t.Context(), r, book, []string{"standard"}, opt); err != nil {
		t.Fatal(err)
	}
	if len(book.Results) != 1 || !strings.Contains(book.Results[0].Error, "start handler") {
		t.Errorf("%+v", book.Results)
	}
}
