package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// metrics are series as Prometheus would have them: name to label sets.
type metrics map[string][]labels.Labels

// scrapeAll reads the metrics of every process.
func (in *installation) scrapeAll(t *testing.T) metrics {
	t.Helper()
	out := metrics{}
	for _, p := range in.processes {
		status, text := p.get(t, "/metrics")
		if status != http.StatusOK {
			t.Fatalf("metrics: %d %s", status, text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			series, err := parser.ParseMetric(line[:strings.LastIndex(line, " ")])
			if err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			name := series.Get(labels.MetricName)
			out[name] = append(out[name], series)
		}
	}
	return out
}

// value returns the sum of the series with these labels, -1 for none.
func (in *installation) value(t *testing.T, name string, want ...string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for _, p := range in.processes {
		_, text := p.get(t, "/metrics")
		for line := range strings.SplitSeq(text, "\n") {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
				continue
			}
			if slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(rest, w) }) {
				continue
			}
			var v float64
			if err := json.Unmarshal([]byte(line[strings.LastIndex(line, " ")+1:]), &v); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		return -1
	}
	return sum
}

// traffic gives every metric a reason to exist, but for those of trouble.
func (in *installation) traffic(t *testing.T) (ep string) {
	t.Helper()
	h := serve(t, status(500), body(200, "text/plain", "ok"))
	ep = in.lasting(t, h.URL)
	id := in.submit(t, ep, nil).str("id")
	in.ends(t, id, "succeeded", "")
	in.submit(t, ep, obj{"delay": "1h"})
	until(t, "a round of housekeeping", func() bool { return in.value(t, "taskgate_swept_total") >= 0 })
	return ep
}

// down makes an endpoint that is not called any more: what shows trouble has
// to be seen as well.
func (in *installation) down(t *testing.T) {
	t.Helper()
	h := serve(t, status(500))
	ep := in.lasting(t, h.URL)
	in.patch(t, ep, obj{
		"circuit_breaker": obj{"min_attempts": 2, "cool_down": "1h"},
		"retry":           obj{"min_backoff": "100ms", "max_backoff": "100ms", "max_attempts": 100},
	})
	for range 3 {
		in.submit(t, ep, nil)
	}
	until(t, "an open circuit is told", func() bool {
		return in.value(t, "taskgate_endpoint_breaker_open", `endpoint="`+ep+`"`) >= 1
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	installations(t, with(), func(t *testing.T, in *installation) {
		ep := in.traffic(t)
		label := `endpoint="` + ep + `"`
		for _, c := range []struct {
			name   string
			labels []string
			want   float64
		}{
			{"taskgate_tasks_accepted_total", []string{label}, 2},
			{"taskgate_tasks_finished_total", []string{label, `state="succeeded"`}, 1},
			{"taskgate_attempts_total", []string{label, `outcome="retry"`, `reason="handler_5xx"`}, 1},
			{"taskgate_attempts_total", []string{label, `outcome="success"`}, 1},
			{"taskgate_attempts_in_flight", []string{label}, 0},
			{"taskgate_attempt_duration_seconds_count", []string{label}, 2},
			{"taskgate_attempt_start_delay_seconds_count", []string{label}, 2},
			{"taskgate_http_requests_total", []string{`route="/v1/tasks"`, `method="POST"`, `class="2xx"`}, 2},
			{"taskgate_broker_publishes_total", []string{`kind="task"`, `outcome="stored"`}, 3},
			{"taskgate_store_calls_total", []string{`operation="create"`, `outcome="ok"`}, 2},
			{"taskgate_long_polls_waiting", nil, 0},
			{"taskgate_endpoint_tasks", []string{label, `state="scheduled"`}, float64(len(in.processes))}, // each says so
			{"taskgate_broker_system_messages", []string{`queue="dead"`}, 0},
			{"taskgate_dependency_up", []string{`dependency="store"`}, float64(len(in.processes))},
		} {
			until(t, c.name+strings.Join(c.labels, ","), func() bool { return in.value(t, c.name, c.labels...) == c.want })
		}
		in.down(t)
		in.judge(t)
	})
}

// judge holds dashboard and alert rules against what the processes export.
func (in *installation) judge(t *testing.T) {
	t.Helper()
	live := in.scrapeAll(t)
	if in.name == "embedded" {
		// No connections are made here, so nobody counts them.
		for _, n := range []string{"broker_connects_total", "store_connects_total", "store_connections", "store_pool_timeouts_total"} {
			live["taskgate_"+n] = nil
		}
	}
	for where, expr := range expressions(t) {
		parsed, err := parser.ParseExpr(expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		live.judge(t, where, parsed)
	}
}

// fromPrometheus are labels that every series gets when it is scraped.
var fromPrometheus = []string{"instance", "job"}

// judge checks that each metric of an expression exists, and each label that
// it selects or groups by.
func (m metrics) judge(t *testing.T, where string, expr parser.Expr) {
	t.Helper()
	known := slices.Clone(fromPrometheus)
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		series, exists := m[v.Name]
		if !exists {
			t.Errorf("%s: there is no metric %s", where, v.Name)
		}
		var names []string
		for _, l := range series {
			l.Range(func(l labels.Label) { names = append(names, l.Name) })
		}
		known = append(known, names...)
		for _, l := range v.LabelMatchers {
			if series != nil && l.Name != labels.MetricName && !slices.Contains(names, l.Name) {
				t.Errorf("%s: %s has no label %s", where, v.Name, l.Name)
			}
			has := func(s labels.Labels) bool { return l.Matches(s.Get(l.Name)) }
			if shows[l.Name] && l.Type == labels.MatchEqual && !slices.ContainsFunc(series, has) {
				t.Errorf("%s: no %s with %s", where, v.Name, l)
			}
		}
		if series == nil && exists {
			known = append(known, "link", "use", "outcome")
		}
		return nil
	})
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		var by []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			by = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				by = slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
			}
		}
		for _, l := range by {
			if !slices.Contains(known, l) {
				t.Errorf("%s: groups by %s, which no metric there has", where, l)
			}
		}
		return nil
	})
}

// shows are labels all of whose values show in normal work.
var shows = map[string]bool{"state": true, "queue": true, "what": true}

// expressions are those of the dashboard and of the alert rules, by where
// they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	docs := string(must(os.ReadFile("../docs/observability.md")))
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if out["alert "+r.Alert] != "" || r.Expr == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %q is there twice, or incomplete", r.Alert)
			}
			if !strings.Contains(docs, "`"+r.Alert+"`") {
				t.Errorf("docs/observability.md does not explain %s", r.Alert)
			}
			out["alert "+r.Alert] = r.Expr
		}
	}
	var board struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name       string
				Definition string
			}
		}
	}
	if err := json.Unmarshal(read(t, "grafana/taskgate.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			out["panel "+p.Title+": "+target.Expr] = resolve(target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if m := labelValues.FindStringSubmatch(v.Definition); m != nil {
			out["variable "+v.Name] = "count by (" + m[2] + ") (" + resolve(m[1]) + ")"
		}
	}
	if len(out) < 60 {
		t.Errorf("only %d expressions found", len(out))
	}
	return out
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// resolve puts values for Grafana's variables.
func resolve(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$project", ".*", "$endpoint", ".*").Replace(expr)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../deployments/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Prometheus's own tool, where it is installed, runs the unit tests of the
// alert rules.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
			t.Fatal("promtool is not installed: scripts/apt-install prometheus")
		}
		t.Skip("no promtool (Debian: apt-get install prometheus); expressions are parsed by TestMetrics all the same")
	}
	cmd := exec.Command(tool, "test", "rules", "alerts.test.yml")
	cmd.Dir = "../deployments/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
