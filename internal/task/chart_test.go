package task_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/taskgate/taskgate/internal/task"
)

// The chart in the docs and the table of edges are the same.
func TestStateChartIsTrue(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[task.Edge]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ {4}(\w+) --> (\w+)$`).FindAllStringSubmatch(string(doc), -1) {
		drawn[task.Edge{From: task.State(m[1]), To: task.State(m[2])}] = true
	}
	for _, e := range task.Edges() {
		if !drawn[e] {
			t.Errorf("%s --> %s is not drawn", e.From, e.To)
		}
		delete(drawn, e)
	}
	for e := range drawn {
		t.Errorf("%s --> %s is drawn, but does not exist", e.From, e.To)
	}
}
