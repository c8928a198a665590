package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// installation is a target of the case's own, in real processes. On services
// it has two gateways.
type installation struct {
	*target
	env []string

	mu        sync.Mutex
	processes []*process
	log       []string
}

// installations runs the case on an installation of each kind, started with
// what env adds to the environment.
func installations(t *testing.T, env func(t *testing.T) []string, run func(t *testing.T, in *installation)) {
	t.Helper()
	for _, name := range []string{"embedded", "services"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &installation{target: &target{name: name, key: adminKey, t: t}}
			if name == "services" {
				needServices(t)
				in.env = append(servicesEnv(namespace()), env(t)...)
			} else {
				in.env = append(environ("TASKGATE_DATA="+t.TempDir()), env(t)...)
			}
			in.start(t)
			t.Cleanup(in.stop)
			run(t, in)
		})
	}
}

func (in *installation) start(t *testing.T) {
	t.Helper()
	programs := [][]string{{"gateway"}, {"gateway"}, {"dispatcher"}}
	if in.name == "embedded" {
		programs = [][]string{{"taskgate", "serve"}}
	}
	in.startAll(t, programs)
}

func (in *installation) startAll(t *testing.T, programs [][]string) {
	t.Helper()
	for _, program := range programs {
		p, err := (&process{bin: program[0], keep: in.keep}).start(in.env, program[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		in.processes = append(in.processes, p)
		if p.bin != "dispatcher" {
			in.bases = append(in.bases, p.base)
		}
	}
}

func (in *installation) keep(line string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.log = append(in.log, line)
}

// said counts the lines of the log with a text.
func (in *installation) said(text string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, line := range in.log {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (in *installation) stop() {
	for _, p := range in.processes {
		p.stop()
	}
	in.processes, in.bases = nil, nil
}

// hangUp sends SIGHUP to whoever reads the endpoints file.
func (in *installation) hangUp(t *testing.T) {
	t.Helper()
	for _, p := range in.processes {
		if p.bin == "dispatcher" {
			continue
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}

// everywhere checks each gateway.
func (in *installation) everywhere(ok func(tg *target) bool) bool {
	for i := range in.bases {
		if !ok(in.at(i)) {
			return false
		}
	}
	return true
}

const fileSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestEndpointsAreCode: what a file declares is there, is the file's to
// change, and is held when the file has it no more.
func TestEndpointsAreCode(t *testing.T) {
	t.Parallel()
	h := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	file := func(where string) string {
		return fmt.Sprintf("endpoints:\n  declared: {url: '%s%s', secret: '${E2E_SECRET}'}\nprojects:\n  acme:\n    endpoints:\n      theirs: {url: '%s'}\n",
			h.URL, where, h.URL)
	}
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(t *testing.T) []string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "endpoints.yaml")
		write(t, path, file("/first"))
		return []string{"TASKGATE_ENDPOINTS_FILE=" + path, "E2E_SECRET=" + fileSecret}
	}
	installations(t, env, func(t *testing.T, in *installation) {
		path := in.setting("TASKGATE_ENDPOINTS_FILE")
		url := func(tg *target) string { return tg.want(t, 200, "GET", "/v1/endpoints/declared", nil).obj.str("url") }
		in.everywhere(func(tg *target) bool {
			ep := tg.want(t, 200, "GET", "/v1/endpoints/declared", nil).obj
			if ep.str("source") != "file" || ep.str("created_at") != ep.str("updated_at") {
				t.Errorf("the gateways do not agree: %v", ep)
			}
			tg.want(t, 200, "GET", "/v1/endpoints/theirs", nil, "Taskgate-Project", "acme")
			if r := tg.want(t, 409, "PUT", "/v1/endpoints/declared", obj{"url": h.URL}); r.obj.str("code") != "read_only" {
				t.Errorf("%s", r.raw)
			}
			return true
		})
		first := in.submit(t, "declared", nil).str("id")
		in.ends(t, first, "succeeded", "")
		for _, d := range h.deliveries() {
			if d.header.Get("Webhook-Id") == first {
				verify(t, fileSecret, d)
			}
		}

		write(t, path, file("/second"))
		in.hangUp(t)
		until(t, "another file is taken", func() bool {
			return in.everywhere(func(tg *target) bool { return url(tg) == h.URL+"/second" })
		})

		write(t, path, file("/third")+"bad: yes\n")
		in.hangUp(t)
		until(t, "a bad file is refused", func() bool { return in.said("endpoints file not taken") == len(in.bases) })
		if got := url(in.target); got != h.URL+"/second" || in.said("line 7: /bad: unknown field") != len(in.bases) {
			t.Errorf("the endpoint's URL is %s, the log says %q", got, in.log)
		}

		write(t, path, "endpoints: {}\n")
		in.hangUp(t)
		until(t, "it is unlisted", func() bool {
			return in.want(t, 200, "GET", "/v1/endpoints/declared", nil).obj.str("source") == "unlisted"
		})
		if in.said("the file has no more") == 0 {
			t.Errorf("not reported: %q", in.log)
		}
		var held string
		until(t, "its tasks are held", func() bool {
			held = in.submit(t, "declared", nil).str("id")
			return in.want(t, 200, "GET", "/v1/tasks/"+held+"?wait=300ms", nil).obj.str("state") == "queued"
		})
		write(t, path, file("/fourth"))
		in.hangUp(t)
		in.ends(t, held, "succeeded", "")
		if res := in.want(t, 200, "GET", "/v1/tasks/"+held+"/result", nil); string(res.raw) != "/fourth" {
			t.Errorf("delivered to %s", res.raw)
		}
	})
}

// setting returns a value of the installation's environment.
func (in *installation) setting(name string) (value string) {
	for _, entry := range in.env {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
