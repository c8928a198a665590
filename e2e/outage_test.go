package e2e_test

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// pair is one gateway and one dispatcher; the dispatcher sees broker and store
// through proxies.
type pair struct {
	*target
	amqp, redis *proxy
}

func pairThroughProxies(t *testing.T) *pair {
	t.Helper()
	needServices(t)
	env := servicesEnv(namespace())
	p := &pair{}
	var amqpURL, redisURL string
	p.amqp, amqpURL = through(t, os.Getenv("TASKGATE_TEST_AMQP_URL"))
	p.redis, redisURL = through(t, os.Getenv("TASKGATE_TEST_REDIS_URL"))
	gw, err := start("gateway", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.stop)
	d, err := start("dispatcher", append(env, "TASKGATE_AMQP_URL="+amqpURL, "TASKGATE_REDIS_URL="+redisURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	p.target = &target{name: "pair", bases: []string{gw.base}, key: adminKey, t: t}
	return p
}

// answerWhen answers only when the test lets it.
func answerWhen(let <-chan struct{}) answer {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-let:
			body(200, "text/plain", "kept")(w, r)
		case <-r.Context().Done():
		}
	}
}

// The store goes away under a running attempt: its outcome is parked in the
// broker and appears when the store is back. The handler is called once.
func TestResultIsParkedWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	p := pairThroughProxies(t)
	let := make(chan struct{})
	h := serve(t, answerWhen(let))
	ep, _ := p.register(t, h.URL, obj{"timeout": "30s"})
	id := p.submit(t, ep, nil).str("id")
	h.next(t)
	p.redis.cut()
	close(let)
	until(t, "the handler has answered", h.idle)
	// Its outcome can only be in the broker then: nothing else is told to
	// the dispatcher. It is away for longer than the settle's own tries.
	if got := p.want(t, 200, "GET", "/v1/tasks/"+id+"?wait=8s", nil).obj.str("state"); got != "running" {
		t.Errorf("settled without a store: %s", got)
	}
	p.redis.heal()
	p.ends(t, id, "succeeded", "")
	if res := p.want(t, 200, "GET", "/v1/tasks/"+id+"/result", nil); string(res.raw) != "kept" {
		t.Errorf("result: %s", res.raw)
	}
	if n := len(h.deliveries()); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// The broker goes away under a running attempt: its message comes again and
// meets the record of what was done. The handler is called once.
func TestBrokerGoesAwayUnderAnAttempt(t *testing.T) {
	t.Parallel()
	p := pairThroughProxies(t)
	let := make(chan struct{})
	h := serve(t, answerWhen(let))
	ep, _ := p.register(t, h.URL, obj{"timeout": "30s"})
	id := p.submit(t, ep, nil).str("id")
	h.next(t)
	p.amqp.cut()
	close(let)
	p.ends(t, id, "succeeded", "")
	p.amqp.heal()
	// What comes after it shows that the dispatcher is back.
	p.ends(t, p.submit(t, ep, nil).str("id"), "succeeded", "")
	if n := len(h.deliveries()); n != 2 {
		t.Errorf("%d deliveries of two tasks", n)
	}
}

// The store forgets everything: what was accepted is delivered all the same,
// and the endpoints are there still.
func TestStoreForgetsEverything(t *testing.T) {
	t.Parallel()
	needServices(t)
	ns := namespace()
	env := servicesEnv(ns)
	gw, err := start("gateway", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gw.stop)
	d, err := start("dispatcher", env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	tg := &target{name: "pair", bases: []string{gw.base}, key: adminKey, t: t}
	h := serve(t, status(200))
	ep, _ := tg.register(t, h.URL, nil)
	var ids []string
	for range 10 {
		ids = append(ids, tg.submit(t, ep, obj{"delay": "3s"}).str("id"))
	}
	forget(t, ns)
	for range ids {
		h.next(t)
	}
	for _, id := range ids {
		until(t, id+" is known again", func() bool { return tg.do(t, "GET", "/v1/tasks/"+id, nil).status == 200 })
		tg.ends(t, id, "succeeded", "")
	}
	until(t, "the endpoint is in the store again", func() bool {
		return tg.do(t, "GET", "/v1/endpoints/"+ep, nil).status == 200
	})
	tg.ends(t, tg.submit(t, ep, nil).str("id"), "succeeded", "")
	if n := len(h.deliveries()); n != len(ids)+1 {
		t.Errorf("%d deliveries of %d tasks", n, len(ids)+1)
	}
}

// forget deletes every key of a namespace, as a restart without data would.
func forget(t *testing.T, ns string) {
	t.Helper()
	opt, err := redis.ParseURL(os.Getenv("TASKGATE_TEST_REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	n := 0
	for it := c.Scan(ctx, 0, ns+":*", 1000).Iterator(); it.Next(ctx); n++ {
		if err := c.Del(ctx, it.Val()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Fatal("there was nothing to forget")
	}
}
