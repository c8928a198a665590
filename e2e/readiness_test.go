package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// readiness is what an admin address tells.
type readiness struct {
	Status   string
	Stopping bool
	Checks   []struct {
		Name, Status, Error string
		Vital               bool
		LatencyMS           *float64 `json:"latency_ms"`
		CheckedAt, Since    time.Time
	}
	Warnings      []string
	Role, Version string
}

func (p *process) readiness(t *testing.T) (code int, r readiness) {
	t.Helper()
	code, text := p.get(t, "/readyz?verbose")
	if err := json.Unmarshal([]byte(strings.NewReplacer("checked_at", "CheckedAt").Replace(text)), &r); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return code, r
}

// becomes waits until the admin address says so, and returns the check.
func (p *process) becomes(t *testing.T, name, status, whole string, code int) (since time.Time) {
	t.Helper()
	until(t, name+" "+status+", all "+whole, func() bool {
		got, r := p.readiness(t)
		for _, c := range r.Checks {
			if c.Name == name && c.Status == status && r.Status == whole && got == code {
				if (c.Error == "") != (status == "ok") || c.LatencyMS == nil || c.Since.After(c.CheckedAt) {
					t.Fatalf("incomplete: %+v", c)
				}
				since = c.Since
				return true
			}
		}
		return false
	})
	return since
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	installations(t, with(), func(t *testing.T, in *installation) {
		for _, p := range in.processes {
			code, r := p.readiness(t)
			var names []string
			for _, c := range r.Checks {
				names = append(names, c.Name)
			}
			want := "broker store registry"
			if r.Role != "gateway" {
				want += " delay 250ms delay 1s delay 8s delay 1m4s"
			}
			if code != http.StatusOK || r.Status != "ok" || strings.Join(names, " ") != want || r.Role == "" || r.Version == "" {
				t.Errorf("%s: %d %+v", p.bin, code, r)
			}
			if warned := strings.Contains(strings.Join(r.Warnings, ""), "RabbitMQ"); warned != (in.name == "services") {
				t.Errorf("%s: warnings %q", p.bin, r.Warnings) // of the RabbitMQ 3.10 that these tests run on
			}
			if code, text := p.get(t, "/readyz"); code != http.StatusOK || strings.Contains(text, "checks") {
				t.Errorf("%s: %d %s", p.bin, code, text)
			}
		}
	})
}

// Without the store a gateway is degraded and takes tasks; without the broker
// it is not ready. The API never says more than names.
func TestReadinessOutage(t *testing.T) {
	t.Parallel()
	needServices(t)
	amqp, amqpURL := through(t, os.Getenv("TASKGATE_TEST_AMQP_URL"))
	redis, redisURL := through(t, os.Getenv("TASKGATE_TEST_REDIS_URL"))
	in := &installation{target: &target{name: "services", key: adminKey, t: t}}
	in.env = append(servicesEnv(namespace()), "TASKGATE_AMQP_URL="+amqpURL, "TASKGATE_REDIS_URL="+redisURL)
	in.startAll(t, [][]string{{"gateway"}})
	t.Cleanup(in.stop)
	p := in.processes[0]
	ep := in.lasting(t, "http://127.0.0.1:9/")
	public := func(code int, want string) {
		t.Helper()
		got := in.do(t, "GET", "/readyz?verbose", nil)
		if text := strings.TrimSpace(string(got.raw)); got.status != code || text != want {
			t.Errorf("the API says %d %s, want %d %s", got.status, text, code, want)
		}
	}
	began := p.becomes(t, "store", "ok", "ok", 200)
	connects := in.value(t, "taskgate_store_connects_total", `outcome="ok"`)

	redis.cut()
	since := p.becomes(t, "store", "unavailable", "degraded", 200)
	if !since.After(began) {
		t.Errorf("unavailable since %v, was ok since %v", since, began)
	}
	public(200, `{"checks":[{"name":"broker","status":"ok"},{"name":"store","status":"unavailable"},{"name":"registry","status":"ok"}],"status":"degraded"}`)
	in.submit(t, ep, nil)
	// What is told on behalf of a request names it, however deep below the API.
	tells := func(line string) bool {
		return strings.Contains(line, `"acceptance not noted yet"`) && strings.Contains(line, `"request":"`)
	}
	until(t, "a line names the request", func() bool { return slices.ContainsFunc(in.lines(), tells) })
	until(t, "the metrics say so", func() bool { return in.value(t, "taskgate_dependency_up", `dependency="store"`) == 0 })
	redis.heal()
	if again := p.becomes(t, "store", "ok", "ok", 200); !again.After(since) {
		t.Errorf("ok since %v, was away since %v", again, since)
	}

	amqp.cut()
	p.becomes(t, "broker", "unavailable", "unavailable", 503)
	public(503, `{"checks":[{"name":"broker","status":"unavailable"},{"name":"store","status":"ok"},{"name":"registry","status":"ok"}],"status":"unavailable"}`)
	amqp.heal()
	p.becomes(t, "broker", "ok", "ok", 200)
	if n := in.value(t, "taskgate_broker_connects_total", `link="publish"`); n < 2 {
		t.Errorf("%v connections were counted", n)
	}
	if n := in.value(t, "taskgate_store_connects_total", `outcome="ok"`); n <= connects {
		t.Errorf("%v connections to Redis were counted, %v before the cut", n, connects)
	}
	said := map[string]int{}
	for _, line := range in.lines() {
		for _, text := range []string{"does not answer", "answers again"} {
			if strings.Contains(line, "dependency "+text) {
				dep, _ := field(line, "dependency")
				said[dep+" "+text]++
			}
		}
	}
	for _, want := range []string{"store does not answer", "store answers again", "broker does not answer", "broker answers again"} {
		if said[want] != 1 {
			t.Errorf("the log says %q %d times", want, said[want])
		}
	}
}
