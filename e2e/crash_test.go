package e2e_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

const crashTasks = 60

// slowly gives a kill something to interrupt.
func slowly(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusOK)
}

// single is one "taskgate serve" that can be ended and started again on its
// data and its address.
type single struct {
	*target
	*process
	env []string
}

func serveAlone(t *testing.T) *single {
	t.Helper()
	addr := freePort(t)
	s := &single{
		target: &target{name: "serve", bases: []string{"http://" + addr}, key: adminKey, t: t},
		env:    environ("TASKGATE_DATA="+t.TempDir(), "TASKGATE_LISTEN="+addr),
	}
	s.again(t)
	t.Cleanup(func() { s.stop() }) // whichever runs then
	return s
}

func (s *single) again(t *testing.T, env ...string) {
	t.Helper()
	p, err := start("taskgate", append(slices.Clone(s.env), env...), "serve")
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
}

// A process killed in the middle of its work loses nothing: what was accepted
// ends, and what may have run twice says so.
func TestKillEmbedded(t *testing.T) {
	t.Parallel()
	h := serve(t, slowly)
	tg := serveAlone(t)
	ep, _ := tg.register(t, h.URL, nil)
	ids := tg.submitMany(client.TaskSubmission{Endpoint: ep}, crashTasks)
	h.next(t)
	tg.kill()
	tg.again(t)
	if len(ids) == 0 {
		t.Fatal("nothing was accepted")
	}
	for _, id := range ids {
		tg.ends(t, id, "succeeded", "")
	}
	checkAnnounced(t, h)
}

// twoPrograms are a gateway and a dispatcher, on services.
type twoPrograms struct {
	*target
	dispatcher *process
	env        []string
}

func startTwo(t *testing.T) *twoPrograms {
	t.Helper()
	needServices(t)
	p := &twoPrograms{env: servicesEnv(namespace())}
	gw, err := start("gateway", p.env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.stop)
	p.target = &target{name: "pair", bases: []string{gw.base}, key: adminKey, t: t}
	p.dispatch(t)
	t.Cleanup(func() { p.dispatcher.stop() }) // whichever runs then
	return p
}

// dispatch starts a dispatcher in the place of the one before, if any.
func (p *twoPrograms) dispatch(t *testing.T) {
	t.Helper()
	d, err := start("dispatcher", p.env)
	if err != nil {
		t.Fatal(err)
	}
	p.dispatcher = d
}

func TestKillDispatcher(t *testing.T) {
	t.Parallel()
	tg := startTwo(t)
	h := serve(t, slowly)
	ep, _ := tg.register(t, h.URL, nil)
	ids := tg.submitMany(client.TaskSubmission{Endpoint: ep}, crashTasks)
	h.next(t)
	tg.dispatcher.kill()
	tg.dispatch(t)
	if len(ids) != crashTasks {
		t.Errorf("%d of %d tasks accepted", len(ids), crashTasks)
	}
	for _, id := range ids {
		tg.ends(t, id, "succeeded", "")
	}
	checkAnnounced(t, h)
}

// A stop with work in flight breaks nothing: no request is cut, no task runs
// twice.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	h := serve(t, slowly)
	tg := serveAlone(t)
	ep, _ := tg.register(t, h.URL, nil)
	ids := tg.submitMany(client.TaskSubmission{Endpoint: ep}, crashTasks)
	h.next(t)
	tg.stop()
	if tg.err != nil {
		t.Errorf("exit: %v", tg.err)
	}
	tg.again(t)
	for _, id := range ids {
		if got := tg.ends(t, id, "succeeded", ""); got.num("attempts") != 1 {
			t.Errorf("task ran %d times", got.num("attempts"))
		}
	}
	if n := len(h.deliveries()); n != len(ids) {
		t.Errorf("%d deliveries for %d tasks", n, len(ids))
	}
}

// checkAnnounced: a handler that gets a task again is told.
func checkAnnounced(t *testing.T, h *handler) {
	t.Helper()
	seen := map[string]bool{}
	again := 0
	for _, d := range h.deliveries() {
		id := d.header.Get("Webhook-Id")
		if seen[id] {
			again++
			if d.header.Get("Taskgate-Attempt") == "1" && d.header.Get("Taskgate-Suspect") != "true" {
				t.Errorf("%s came twice without a word", id)
			}
		}
		seen[id] = true
	}
	t.Logf("%d tasks, %d announced duplicates", len(seen), again)
}

// An endpoint that was allowed when it was registered is refused at the dial
// once its address is denied, and nothing of the inside is told.
func TestDeniedAddressIsNotDialled(t *testing.T) {
	t.Parallel()
	h := serve(t, status(200))
	tg := serveAlone(t)
	ep, _ := tg.register(t, h.URL, nil)
	tg.stop()
	tg.again(t, "TASKGATE_EGRESS_DENY=127.0.0.0/8")
	id := tg.submit(t, ep, nil).str("id")
	tg.ends(t, id, "failed", "blocked_address")
	if raw := string(tg.want(t, 200, "GET", "/v1/tasks/"+id+"/attempts", nil).raw); strings.Contains(raw, "127.0.0.1") {
		t.Errorf("the answer tells about the inside: %s", raw)
	}
	if n := len(h.deliveries()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

// A folder that is in use or is not ours is refused, and nothing is touched.
func TestServeRefusesABadFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/taskgate.db", []byte("somebody else's file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := start("taskgate", environ("TASKGATE_DATA="+dir), "serve"); err == nil {
		p.kill()
		t.Fatal("started on a foreign file")
	}
	b, err := os.ReadFile(dir + "/taskgate.db")
	if err != nil || string(b) != "somebody else's file" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
}
