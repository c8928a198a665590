package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
	"github.com/taskgate/taskgate/e2e/servers"
)

var rabbitFaults = Scenario{
	Name: "rabbitmq", Number: 5, Targets: []Target{Services},
	What: "faults of RabbitMQ and of the way to it, under load",
	Run:  runRabbitFaults,
}

func runRabbitFaults(t *testing.T, w *World) {
	node := servers.NewRabbit(t)
	w.part(t, "kill", "kill -9 of the only RabbitMQ node, and its restart", func(t *testing.T, w *World) { rabbitKill(t, w, node) })
	w.part(t, "blackout", "kill -9 of RabbitMQ, Redis (appendfsync always), gateways and dispatchers at once", func(t *testing.T, w *World) {
		blackout(t, w, node)
	})
	w.part(t, "alarm", "a memory alarm: RabbitMQ reads no more from who publishes", func(t *testing.T, w *World) { rabbitAlarm(t, w, node) })
	w.part(t, "cut", "every connection to RabbitMQ cut, and new ones refused", func(t *testing.T, w *World) {
		rabbitNetwork(t, w, node, Pick(w, 3*time.Second, 20*time.Second), (*servers.Network).Refuse, (*servers.Network).Accept)
	})
	w.part(t, "slow", "connections to RabbitMQ slowed to 1 kB/s", func(t *testing.T, w *World) {
		rabbitNetwork(t, w, node, Pick(w, 3*time.Second, 30*time.Second), (*servers.Network).Slow, (*servers.Network).Heal)
	})
	if !w.Whole {
		return // what comes takes half a minute to be noticed
	}
	w.part(t, "silent", "half-open connections to RabbitMQ: every byte dropped, none closed", func(t *testing.T, w *World) {
		rabbitNetwork(t, w, node, Pick(w, 3*time.Second, 40*time.Second), (*servers.Network).Silence, (*servers.Network).Heal)
	})
}

// blackout: what a host's loss of power is to everything on it, with disks
// that are told to keep every write.
func blackout(t *testing.T, w *World, node *servers.Rabbit) {
	r := servers.NewRedis(t, "--appendfsync", "always")
	opt := spread(w)
	opt.AMQP, opt.Redis = node.URL(), r.URL()
	x := w.load(t, opt)
	blows := Pick(w, 1, 3)
	for range blows {
		w.Wait(t, w.Between(500*time.Millisecond, 2*time.Second))
		all := []func() error{node.Kill, r.Kill}
		for _, p := range x.in.Processes() {
			all = append(all, p.Kill)
		}
		try(t, atOnce(all)...)
		try(t, atOnce([]func() error{node.Start, r.Start})...)
		try(t, x.in.Start(t.Context()))
		x.flows(2 * time.Minute)
	}
	x.conclude(3*time.Minute, Mercy{}, times(blows, "everything"))
}

func atOnce(all []func() error) []error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, do := range all {
		wg.Go(func() { errs[i] = do() })
	}
	wg.Wait()
	return errs
}

func rabbitKill(t *testing.T, w *World, node *servers.Rabbit) {
	opt := spread(w)
	opt.AMQP = node.URL()
	x := w.load(t, opt)
	kills := Pick(w, 1, 4)
	s := seen{t: t, l: x.l}
	for range kills {
		w.Wait(t, w.Between(200*time.Millisecond, 2*time.Second))
		try(t, node.Kill())
		// What a caller sees meanwhile.
		s.ask(http.StatusServiceUnavailable, 15*time.Second, http.MethodPost, "/v1/tasks", task("quick"))
		s.ask(http.StatusOK, 10*time.Second, http.MethodGet, "/v1/tasks?limit=1", nil)
		try(t, node.Start())
		x.flows(2 * time.Minute)
	}
	x.conclude(3*time.Minute, Mercy{}, times(kills, "kill -9"), "slowest answer meanwhile "+Seconds(s.max))
}

func rabbitAlarm(t *testing.T, w *World, node *servers.Rabbit) {
	opt := spread(w)
	opt.AMQP = node.URL()
	x := w.load(t, opt)
	try(t, node.Alarm(true))
	t.Cleanup(func() { try(t, node.Alarm(false)) })
	s := seen{t: t, l: x.l}
	// The broker says so to a connection that publishes: the first may wait
	// for its confirm in vain.
	w.Until(t, time.Minute, "the gateway knows", func() bool {
		a, err := x.l.Client.Do(t.Context(), http.MethodPost, "/v1/tasks", task("quick"))
		return err == nil && a.status == http.StatusServiceUnavailable && a.object().text("code") == "not_accepted"
	})
	s.max = 0
	w.every(t, 100*time.Millisecond, Pick(w, 2*time.Second, 20*time.Second), func() {
		s.ask(http.StatusServiceUnavailable, 10*time.Second, http.MethodPost, "/v1/tasks", task("quick"))
		s.ask(http.StatusOK, 10*time.Second, http.MethodGet, "/v1/tasks?limit=1", nil)
	})
	try(t, node.Alarm(false))
	x.flows(time.Minute)
	x.conclude(2*time.Minute, Mercy{}, "slowest 503 "+Seconds(s.max))
}

// rabbitNetwork hurts the way to the node for as long, and heals it.
func rabbitNetwork(
	t *testing.T, w *World, node *servers.Rabbit, last time.Duration, hurt, heal func(*servers.Network) error,
) {
	net := servers.NewNetwork(t, node.URL())
	opt := spread(w)
	opt.AMQP = net.URL()
	x := w.load(t, opt)
	try(t, hurt(net))
	w.Wait(t, last)
	try(t, heal(net))
	// A connection that is silent is given up after two heartbeats of 10 s.
	x.flows(2 * time.Minute)
	x.conclude(3*time.Minute, Mercy{}, "for "+Seconds(last))
}

var rabbitCluster = Scenario{
	Name: "rabbitmq-cluster", Number: 5, Targets: []Target{Services},
	WholeOnly: true, // three nodes take longer to start than the small suite may
	What:      "three RabbitMQ nodes, each killed in turn, the leader of the busiest queue first",
	Run:       runRabbitCluster,
}

func runRabbitCluster(t *testing.T, w *World) {
	nodes := servers.NewRabbits(t, 3)
	urls := make([]string, 0, len(nodes))
	for _, n := range nodes {
		urls = append(urls, n.URL())
	}
	opt := spread(w)
	opt.AMQP = strings.Join(urls, ",")
	// RabbitMQ 3.10 as a cluster is refused otherwise, for the stall that is
	// looked at here.
	opt.Env = oldCluster(t)
	x := w.load(t, opt)
	left := slices.Clone(nodes)
	var facts []string
	var late time.Duration
	for len(left) > 0 {
		victim := worst(t, x, nodes, left)
		left = slices.DeleteFunc(left, func(n *servers.Rabbit) bool { return n == victim })
		try(t, victim.Kill())
		began := time.Now()
		x.flows(2 * time.Minute)
		facts = append(facts, "work flowed after "+Seconds(time.Since(began)))
		w.every(t, time.Second, 15*time.Second, func() { late = max(late, x.late()) })
		try(t, victim.Start(), victim.Running(len(nodes)))
		x.flows(2 * time.Minute)
	}
	// What RabbitMQ before 3.12.5 holds back comes when the node is there
	// again, after up to three minutes.
	w.every(t, time.Second, 5*time.Second, func() { late = max(late, x.late()) })
	x.conclude(5*time.Minute, Mercy{}, append(facts, "canaries late by up to "+Seconds(late))...)
}

var canaryLate = regexp.MustCompile(`(?m)^taskgate_canary_late_seconds\{[^}]*\} (\S+)`)

// late is how late the latest canary is, as the processes' metrics say.
func (x *loaded) late() (most time.Duration) {
	for _, p := range x.in.Processes() {
		ctx, cancel := context.WithTimeout(x.t.Context(), 5*time.Second)
		metrics, err := x.fetch(ctx, p.Admin()+"/metrics")
		cancel()
		if err != nil {
			continue // it is asked again
		}
		for _, m := range canaryLate.FindAllSubmatch(metrics, -1) {
			if s, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
				most = max(most, time.Duration(s*float64(time.Second)))
			}
		}
	}
	return most
}

func (x *loaded) fetch(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := x.l.Client.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// oldCluster is the setting that allows a cluster of an old RabbitMQ, if the
// programs ask for one: their documents say so.
func oldCluster(t *testing.T) []string {
	t.Helper()
	const name = "TASKGATE_ALLOW_OLD_CLUSTER"
	root, err := rig.Root()
	try(t, err)
	settings, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md"))
	try(t, err)
	if !strings.Contains(string(settings), name) {
		return nil
	}
	return []string{name + "=true"}
}

// worst is the node to be killed next: first the leader of the busiest
// endpoint's queue, then one that leads the router's queue.
func worst(t *testing.T, x *loaded, nodes, left []*servers.Rabbit) *servers.Rabbit {
	t.Helper()
	suffix := ".v1.due"
	if len(left) == len(nodes) {
		suffix = busiest(t, x.in.Namespace, nodes[0])
	}
	leader, err := servers.Leader(nodes, x.in.Namespace+suffix)
	try(t, err)
	if slices.Contains(left, leader) {
		return leader
	}
	return left[x.w.Rand.IntN(len(left))]
}

func busiest(t *testing.T, namespace string, node *servers.Rabbit) (suffix string) {
	t.Helper()
	waiting, err := node.Waiting()
	try(t, err)
	most := -1
	for name, n := range waiting {
		if rest, ok := strings.CutPrefix(name, namespace); ok && strings.HasPrefix(rest, ".v1.ep.") && n > most {
			suffix, most = rest, n
		}
	}
	if most < 0 {
		t.Fatal(fmt.Errorf("no endpoint has a queue: %v", waiting))
	}
	return suffix
}
