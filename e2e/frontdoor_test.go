package e2e_test

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// frontDoor is HAProxy with deployments/haproxy.cfg before two gateways.
type frontDoor struct {
	base string
	said chan string // lines of its log
}

func startFrontDoor(t *testing.T, one, two string) *frontDoor {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy") // which not every PATH has
	}
	if err != nil {
		if os.Getenv("TASKGATE_REQUIRE_SERVICES") != "" {
			t.Fatal("haproxy is not installed: scripts/apt-install haproxy")
		}
		t.Skip("haproxy is not installed")
	}
	addr := freePort(t)
	d := &frontDoor{base: "http://" + addr, said: make(chan string, 1000)}
	cmd := exec.Command(path, "-db", "-f", "../deployments/haproxy.cfg")
	cmd.Env = []string{"BIND=" + addr, "GATEWAY_1=" + one, "GATEWAY_2=" + two}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			d.said <- lines.Text()
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	until(t, "the proxy answers", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return d
}

// wait waits for a line of its log.
func (d *frontDoor) wait(t *testing.T, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case line := <-d.said:
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			t.Fatalf("the proxy never said %q", text)
		}
	}
}

// submissions counts what became of submissions without idempotency keys.
type submissions struct {
	next     atomic.Int64
	mu       sync.Mutex
	accepted map[string]bool // by their number
	lost     int             // without an answer of a gateway
}

// load submits from several sides, each task with a number as its label,
// until stop is closed.
func (s *submissions) load(t *testing.T, tg *target, endpoint string, stop <-chan struct{}) (wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := fmt.Sprint(s.next.Add(1))
				r, err := tg.try("POST", "/v1/tasks", obj{"endpoint": endpoint, "payload": 1, "labels": obj{"n": n}})
				s.mu.Lock()
				switch {
				case err == nil && r.status == http.StatusAccepted:
					s.accepted[n] = true
				case err != nil || r.status == http.StatusServiceUnavailable:
					s.lost++
				default:
					t.Errorf("submission %s: status %d: %s", n, r.status, r.raw)
				}
				s.mu.Unlock()
				if err != nil || r.status != http.StatusAccepted {
					select { // as the answer asks
					case <-time.After(time.Second):
					case <-stop:
					}
				}
			}
		})
	}
	return wg.Wait
}

// without are the submissions without an answer so far.
func (s *submissions) without() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// after waits for more tasks to be accepted.
func (s *submissions) after(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.accepted)
	}
	from := count()
	until(t, "submissions go on", func() bool { return count() >= from+n })
}

// Two gateways behind the proxy of deployments/: long-polls pass it unhindered,
// a gateway may be drained or killed under load, and no submission becomes
// two tasks.
func TestTwoGatewaysBehindOnePort(t *testing.T) {
	t.Parallel()
	needServices(t)
	env := servicesEnv(namespace())
	one, two := freePort(t), freePort(t)
	boot := func(bin string, extra ...string) *process {
		p, err := start(bin, append(slices.Clone(env), extra...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			select {
			case <-p.exited:
			default:
				p.stop()
			}
		})
		return p
	}
	boot("dispatcher")
	first, second := boot("gateway", "TASKGATE_LISTEN="+one), boot("gateway", "TASKGATE_LISTEN="+two)
	door := startFrontDoor(t, one, two)
	tg := &target{t: t, name: "proxy", bases: []string{door.base}, key: adminKey}

	release := make(chan struct{})
	slow := serve(t, func(w http.ResponseWriter, _ *http.Request) { <-release; w.WriteHeader(http.StatusOK) })
	slowly, _ := tg.register(t, slow.URL, nil)
	quick := serve(t, status(http.StatusOK))
	quickly, _ := tg.register(t, quick.URL, nil)

	// A wait lasts as long as it says, on both gateways.
	later := tg.submit(t, quickly, obj{"delay": "1h"}).str("id")
	begun := time.Now()
	if got := tg.want(t, 200, "GET", "/v1/tasks/"+later+"?wait=1500ms", nil).obj.str("state"); got != "scheduled" || time.Since(begun) < 1500*time.Millisecond {
		t.Errorf("a wait of 1.5 s ended as %s after %v", got, time.Since(begun))
	}

	// Many wait, through both gateways, while one of them is drained and the
	// other one killed: each hears of the end.
	id := tg.submit(t, slowly, nil).str("id")
	slow.next(t)
	var polls sync.WaitGroup
	for range 20 {
		polls.Go(func() {
			for { // a gateway that drains ends its waits early, with the present state
				r, err := tg.try("GET", "/v1/tasks/"+id+"?wait=20s", nil)
				if err != nil || r.status != http.StatusOK {
					t.Errorf("a long-poll ended with %v, status %d: %s", err, r.status, r.raw)
					return
				}
				if r.obj.str("state") == "succeeded" {
					return
				}
			}
		})
	}
	s := &submissions{accepted: map[string]bool{}}
	stop := make(chan struct{})
	wait := s.load(t, tg, quickly, stop)
	s.after(t, 50)
	first.stop()
	s.after(t, 50)
	drained := s.without()
	boot("gateway", "TASKGATE_LISTEN="+one)
	door.wait(t, "gateway-1 is UP")
	s.after(t, 50)
	second.kill()
	s.after(t, 50)
	close(stop)
	wait()
	close(release)
	ended := time.Now()
	polls.Wait()
	if took := time.Since(ended); took > 10*time.Second {
		t.Errorf("the long-polls heard of the end after %v", took)
	}
	checkOnce(t, tg, quickly, s)
	// A drain lets what is on its way end: only a connection that is closed in
	// the moment of its use can lose a request.
	if t.Logf("%d without an answer by the drain, %d by the kill", drained, s.lost-drained); drained > 4 {
		t.Errorf("the drain of a gateway lost %d submissions", drained)
	}
}

// checkOnce: every accepted submission is one task, and none is two.
func checkOnce(t *testing.T, tg *target, endpoint string, s *submissions) {
	t.Helper()
	tasks := map[string]int{}
	for cursor := ""; ; {
		r := tg.want(t, 200, "GET", "/v1/tasks?limit=500&endpoint="+endpoint+"&cursor="+cursor, nil)
		list, _ := r.obj["data"].([]any)
		for _, item := range list {
			task, _ := item.(map[string]any)
			if n := obj(task).obj("labels").str("n"); n != "" {
				tasks[n]++
			}
		}
		if cursor = r.obj.str("next_cursor"); cursor == "" {
			break
		}
	}
	for n, count := range tasks {
		if count > 1 {
			t.Errorf("submission %s became %d tasks", n, count)
		}
	}
	for n := range maps.Keys(s.accepted) {
		if tasks[n] == 0 {
			t.Errorf("submission %s was accepted and is no task", n)
		}
	}
	// Only what was on its way when a gateway ended may be without an answer.
	if s.lost > 20 {
		t.Errorf("%d submissions were lost on the way", s.lost)
	}
}
