package telemetry

import (
	"fmt"
	"strings"
)

// Table is the documentation of every metric, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for n := range metricCount {
		e := catalogue[n]
		labels := "–"
		if e.labels != "" {
			labels = "`" + strings.Join(n.labels(), "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", n.full(), e.kind, labels, e.help)
	}
	return b.String()
}
