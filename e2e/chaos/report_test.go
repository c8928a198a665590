package chaos

import (
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	t.Parallel()
	r := &Report{}
	r.Add(Row{Number: 2, Scenario: "stop", Target: Embedded, What: "SIGTERM", Verdict: Verdict{Accepted: 5}})
	r.Add(Row{Number: 1, Scenario: "kill", Target: Services, What: "kill -9", Facts: []string{"7 kills", "two rounds"}, Verdict: Verdict{
		Accepted: 10, Lost: []string{"one"}, Announced: 3, Unannounced: []string{"a", "b"}, Stall: 1500 * time.Millisecond, Settled: time.Second,
	}})
	doc, err := replaceReport("before\n"+reportBegin+"\nold\n"+reportEnd+"\nafter\n", r.Markdown([]string{"2 cores"}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"before", reportBegin, "", "- 2 cores", "",
		"| # | scenario | on | what is done | accepted | lost | duplicates, announced | duplicates, unannounced | longest stall | settled in | more |",
		"|--:|---|---|---|--:|--:|--:|--:|--:|--:|---|",
		"| 1 | kill | services | kill -9 | 10 | 1 | 3 | 2 | 1.5 s | 1.0 s | 7 kills; two rounds |",
		"| 2 | stop | embedded | SIGTERM | 5 | 0 | 0 | 0 | 0.0 s | 0.0 s |  |",
		"| | **together** | | | **15** | **1** | **3** | **2** | | | |", "", reportEnd, "after", "",
	}
	if doc != strings.Join(want, "\n") {
		t.Errorf("got\n%s", doc)
	}
	if _, err := replaceReport("no markers", "x"); err == nil {
		t.Error("a document without the markers was written to")
	}
}
