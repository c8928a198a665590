package chaos

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/servers"
)

var redisFaults = Scenario{
	Name: "redis", Number: 6, Targets: []Target{Services},
	What: "faults of Redis and of the way to it, under load",
	Run:  runRedisFaults,
}

func runRedisFaults(t *testing.T, w *World) {
	w.part(t, "everysec", "loss of power: Redis gone with what it wrote in the last second (appendfsync everysec)", redisTorn)
	if w.Whole { // the small suite has it in the blackout
		w.part(t, "always", "kill -9 of Redis with appendfsync always", redisAlways)
	}
	w.part(t, "forgets", "Redis gone and back without any data", redisForgets)
	w.part(t, "away", "Redis cannot be reached", redisAway)
	w.part(t, "silent", "half-open connections to Redis: every byte dropped, none closed", redisSilent)
	w.part(t, "full", "Redis out of memory (noeviction)", redisFull)
	w.part(t, "failover", "kill -9 of the primary; Sentinels promote its replica", redisFailover)
}

// at starts an installation on a Redis of its own under load.
func (w *World) at(t *testing.T, redisURL string) *loaded {
	t.Helper()
	opt := spread(w)
	opt.Redis = redisURL
	return w.load(t, opt)
}

func redisTorn(t *testing.T, w *World) {
	r := servers.NewRedis(t)
	x := w.at(t, r.URL())
	crashes, torn := Pick(w, 1, 8), int64(0)
	for range crashes {
		w.Wait(t, w.Between(3*time.Second, 5*time.Second)) // the processes have seen it live
		onDisk, err := r.Written()
		try(t, err)
		w.Wait(t, w.Between(300*time.Millisecond, 950*time.Millisecond))
		lost, err := r.Tear(onDisk)
		try(t, err)
		torn += lost
		w.Wait(t, w.Between(0, time.Second))
		try(t, r.Start())
		x.flows(time.Minute)
	}
	again := 0
	if w.Until(t, time.Minute, "what was lost is written again", func() bool { again = x.recalled(); return again > 0 }); torn == 0 {
		t.Error("nothing was lost: this proves nothing")
	}
	x.conclude(2*time.Minute, Mercy{}, times(crashes, "crash"),
		fmt.Sprintf("%d kB of its file lost, %d changes written again", torn>>10, again))
}

func redisAlways(t *testing.T, w *World) {
	r := servers.NewRedis(t, "--appendfsync", "always")
	x := w.at(t, r.URL())
	crashes := Pick(w, 1, 8)
	for range crashes {
		w.Wait(t, w.Between(500*time.Millisecond, 2*time.Second))
		try(t, r.Kill())
		w.Wait(t, w.Between(0, time.Second))
		try(t, r.Start())
		x.flows(time.Minute)
	}
	x.conclude(2*time.Minute, Mercy{}, times(crashes, "kill -9"))
}

// redisForgets: records of what had ended are gone, as the documents say; what
// had not ends, and nothing runs twice unannounced.
func redisForgets(t *testing.T, w *World) {
	r := servers.NewRedis(t)
	x := w.at(t, r.URL())
	for range Pick(w, 1, 3) {
		w.Wait(t, w.Between(time.Second, 3*time.Second))
		try(t, r.Kill(), r.Forget())
		w.Wait(t, w.Between(0, 2*time.Second))
		try(t, r.Start())
		x.flows(time.Minute)
	}
	x.conclude(2*time.Minute, Mercy{Records: true}, "endpoints, projects and keys were seeded again")
}

// redisAway shows the table of what works without a store.
func redisAway(t *testing.T, w *World) {
	r := servers.NewRedis(t)
	net := servers.NewNetwork(t, r.URL())
	x := w.at(t, net.URL())
	first := x.l.Accepted()[0]
	before := x.l.Receiver.Committed()
	try(t, net.Refuse())
	outage := Pick(w, 10*time.Second, 120*time.Second)
	began := time.Now()
	s := seen{t: t, l: x.l}
	unkeyed := 0
	w.every(t, time.Second, outage, func() {
		a := s.ask(http.StatusAccepted, 20*time.Second, http.MethodPost, "/v1/tasks", task("quick"))
		if a.status == http.StatusAccepted {
			x.l.Promise(Accepted{ID: a.object().text("id"), Endpoint: "quick", At: time.Now(), Tries: 1})
			unkeyed++
		}
		s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodPost, "/v1/tasks", task("quick"),
			"Idempotency-Key", "away-"+strconv.Itoa(unkeyed))
		s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodGet, "/v1/tasks/"+first.ID, nil)
		s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodGet, "/v1/tasks", nil)
		s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodPost, "/v1/tasks/"+first.ID+"/cancel", nil)
	})
	done := x.l.Receiver.Committed() - before
	if done < unkeyed/2 {
		t.Errorf("%d tasks were accepted without a store, and %d delivered", unkeyed, done)
	}
	facts := []string{
		"away for " + Seconds(time.Since(began)), fmt.Sprintf("%d tasks accepted and %d delivered meanwhile", unkeyed, done),
		"slowest answer " + Seconds(s.max),
	}
	try(t, net.Accept())
	x.flows(time.Minute)
	x.conclude(3*time.Minute, Mercy{}, facts...)
}

func redisSilent(t *testing.T, w *World) {
	net := servers.NewNetwork(t, servers.NewRedis(t).URL())
	x := w.at(t, net.URL())
	last := Pick(w, 3*time.Second, 40*time.Second)
	try(t, net.Silence())
	s := seen{t: t, l: x.l}
	s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodGet, "/v1/tasks", nil)
	w.Wait(t, last)
	try(t, net.Heal())
	x.flows(time.Minute)
	x.conclude(2*time.Minute, Mercy{}, "for "+Seconds(last), "answered after "+Seconds(s.max))
}

func redisFull(t *testing.T, w *World) {
	r := servers.NewRedis(t)
	x := w.at(t, r.URL())
	_, err := r.Do("CONFIG", "SET", "maxmemory", "1mb")
	try(t, err)
	s := seen{t: t, l: x.l}
	keyed := 0
	w.every(t, 200*time.Millisecond, Pick(w, 3*time.Second, 20*time.Second), func() {
		keyed++
		s.ask(http.StatusServiceUnavailable, 20*time.Second, http.MethodPost, "/v1/tasks", task("quick"),
			"Idempotency-Key", "full-"+strconv.Itoa(keyed))
		s.ask(http.StatusOK, 20*time.Second, http.MethodGet, "/v1/tasks?limit=1", nil)
	})
	info, err := r.Do("INFO", "memory")
	try(t, err)
	if !strings.Contains(info, "maxmemory:1048576") {
		t.Error("it was not full")
	}
	_, err = r.Do("CONFIG", "SET", "maxmemory", "0")
	try(t, err)
	x.flows(time.Minute)
	x.conclude(2*time.Minute, Mercy{}, "slowest answer "+Seconds(s.max))
}

func redisFailover(t *testing.T, w *World) {
	first, second := servers.NewRedis(t), servers.NewRedis(t)
	try(t, second.Follow(first))
	watch := servers.NewSentinels(t, first, Pick(w, 1*time.Second, 2*time.Second))
	try(t, watch.Know(1))
	x := w.at(t, watch.URL())
	var facts []string
	primary, other := first, second
	for range Pick(w, 1, 2) {
		w.Wait(t, w.Between(3*time.Second, 5*time.Second)) // the processes have seen it live
		began := time.Now()
		try(t, primary.Kill())
		w.Until(t, 2*time.Minute, "the replica is promoted", func() bool {
			at, err := watch.Primary()
			return err == nil && at == other.Addr()
		})
		x.flows(2 * time.Minute)
		facts = append(facts, "work flowed after "+Seconds(time.Since(began)))
		// The old one comes back as a replica of the new one.
		try(t, primary.Start())
		w.Until(t, 2*time.Minute, "the old primary follows", func() bool {
			text, err := primary.Do("INFO", "replication")
			return err == nil && strings.Contains(text, "role:slave") && strings.Contains(text, "master_link_status:up")
		})
		primary, other = other, primary
	}
	x.conclude(2*time.Minute, Mercy{}, facts...)
}
