package e2e_test

import (
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// seen is a Taskgate of one case's own, in processes whose logs are kept and
// whose admin addresses are known.
type seen struct {
	*target
	processes []*process

	mu  sync.Mutex
	log []string
}

// seenTargets runs the case on both backends, with more settings.
func seenTargets(t *testing.T, run func(t *testing.T, s *seen), env ...string) {
	t.Helper()
	if os.Getenv("TASKGATE_E2E_URL") != "" {
		t.Skip("needs processes of its own")
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		s := &seen{target: &target{name: "embedded", key: adminKey, t: t}}
		s.start(t, "taskgate", environ(append(env, "TASKGATE_DATA="+t.TempDir())...), "serve")
		run(t, s)
	})
	t.Run("services", func(t *testing.T) {
		t.Parallel()
		needServices(t)
		s := &seen{target: &target{name: "services", key: adminKey, t: t}}
		own := append(servicesEnv(namespace()), env...)
		s.start(t, "dispatcher", own)
		s.start(t, "gateway", own)
		run(t, s)
	})
}

func (s *seen) start(t *testing.T, bin string, env []string, args ...string) {
	t.Helper()
	p, err := (&process{bin: bin, keep: s.keep}).start(env, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(s.lines(), "\n"))
	}
	t.Cleanup(p.stop) // stopping twice does no harm
	s.processes = append(s.processes, p)
	if bin != "dispatcher" {
		s.bases = append(s.bases, p.base)
	}
}

func (s *seen) keep(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
}

// endpoint registers one that lives as long as the target, which is gone when
// the case ends.
func (s *seen) endpoint(t *testing.T, url string) string {
	t.Helper()
	name := "e" + randomHex(6)
	s.want(t, http.StatusCreated, "PUT", "/v1/endpoints/"+name,
		obj{"url": url, "timeout": "5s", "retry": obj{"min_backoff": "200ms", "max_backoff": "1s", "jitter": 0}})
	return name
}

// lines are those of all logs so far.
func (s *seen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// end ends every process in order, which sends and writes what waits.
func (s *seen) end() {
	for _, p := range slices.Backward(s.processes) {
		p.stop()
	}
}

// admin asks an admin address.
func (p *process) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := plain.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, p.admin+path, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
