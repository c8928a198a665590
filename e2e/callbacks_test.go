package e2e_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/client"
)

// own is the target as a project of the case's own sees it, and the secret
// that signs the project's callbacks.
func (tg *target) own(t *testing.T) (own *target, secret string) {
	t.Helper()
	name := "p" + namespace()
	p := got(tg.expect(t, http.StatusCreated).PutProjectWithResponse(t.Context(), name, client.ProjectConfig{})).JSON201
	_, own = tg.newKey(t, obj{"project": name, "scopes": []string{"tasks:*", "endpoints:*"}})
	return own, *p.Secret
}

// event is what a receiver of callbacks reads.
func event(t *testing.T, d delivery) (kind string, data obj, at time.Time) {
	t.Helper()
	checkCallback(t, d)
	var e struct {
		Type      string
		Timestamp time.Time
		Data      obj
	}
	if err := json.Unmarshal(d.body, &e); err != nil || d.header.Get("Content-Type") != "application/json" {
		t.Fatalf("callback %q (%s): %v", d.body, d.header.Get("Content-Type"), err)
	}
	return e.Type, e.Data, e.Timestamp
}

// callbacks waits until the callbacks of a task are what the case wants.
func (tg *target) callbacks(t *testing.T, id, what string, ok func([]client.CallbackTask) bool) []client.CallbackTask {
	t.Helper()
	var seen []client.CallbackTask
	until(t, what, func() bool {
		seen = got(tg.expect(t, http.StatusOK).ListTaskCallbacksWithResponse(t.Context(), id)).JSON200.Data
		return ok(seen)
	})
	return seen
}

func one(state client.TaskState) func([]client.CallbackTask) bool {
	return func(all []client.CallbackTask) bool { return len(all) == 1 && all[0].State == state }
}

// A callback tells of a success with the result, signed with the project's
// secret; it is seen and read as a task of its own, and listed nowhere.
func TestCallbackOnSuccess(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, secret := tg.own(t)
		work, hook := serve(t, body(200, "application/json", `{"sum": 1.50}`)), serve(t, status(204))
		ep, _ := tg.register(t, work.URL, nil)
		id := tg.submit(t, ep, obj{
			"labels":   obj{"a": "b"},
			"callback": obj{"url": hook.URL + "/hook?x=1", "headers": obj{"X-Mine": "yes"}},
		}).str("id")
		d := hook.next(t)
		verify(t, secret, d)
		kind, data, at := event(t, d)
		if kind != "task.succeeded" || data.str("id") != id || data.str("state") != "succeeded" || data.obj("labels").str("a") != "b" {
			t.Errorf("told %s", d.body)
		}
		if !strings.Contains(string(d.body), `"body":{"sum":1.50}`) {
			t.Errorf("without the result as it is: %s", d.body)
		}
		done := tg.ends(t, id, "succeeded", "")
		if !at.Equal(done.time(t, "ended_at")) {
			t.Errorf("at %v, ended %v", at, done["ended_at"])
		}
		cb := tg.callbacks(t, id, "the callback has succeeded", one(client.TaskStateSucceeded))[0]
		for name, want := range map[string]string{
			"Webhook-Id": cb.Id, "Taskgate-Attempt": "1", "Taskgate-Suspect": "", "X-Mine": "yes", "Taskgate-Endpoint": "$callbacks",
		} {
			if got := d.header.Get(name); got != want {
				t.Errorf("header %s: %q, want %q", name, got, want)
			}
		}
		if cb.Attempts != 1 || cb.Generation != 1 || *cb.LastStatus != 204 || *cb.Url != hook.URL+"/hook?x=1" || cb.EndedAt == nil {
			t.Errorf("callback: %+v", cb)
		}
		shown := got(tg.expect(t, 200).GetTaskWithResponse(t.Context(), cb.Id, nil)).JSON200
		if shown.CallbackOf == nil || *shown.CallbackOf != id {
			t.Errorf("callback as a task: %+v", shown)
		}
		listed := taskIDs(got(tg.expect(t, 200).ListTasksWithResponse(t.Context(), nil)).JSON200.Data)
		if !slices.Equal(listed, []string{id}) {
			t.Errorf("listed: %v", listed)
		}
		if n := len(hook.deliveries()); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// What fails, is cancelled or expires is told, where it was asked for.
func TestCallbackOnOtherEnds(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, secret := tg.own(t)
		work, hook := serve(t, status(400)), serve(t, status(200))
		ep, _ := tg.register(t, work.URL, nil)
		paused, _ := tg.register(t, work.URL, nil)
		tg.pause(t, paused)
		told := obj{"callback": obj{"url": hook.URL, "on": []string{"failed", "cancelled", "expired"}}}
		with := func(fields obj) obj {
			fields["callback"] = told["callback"]
			return fields
		}
		want := map[string]string{
			tg.submit(t, ep, with(obj{})).str("id"):                                           "task.failed",
			tg.submit(t, paused, with(obj{})).str("id"):                                       "task.cancelled",
			tg.submit(t, paused, with(obj{"expires_in": "200ms"})).str("id"):                  "task.expired",
			tg.submit(t, paused, with(obj{"delay": "1h", "labels": obj{"l": "x"}})).str("id"): "task.cancelled",
		}
		for id, kind := range want {
			if kind == "task.cancelled" {
				tg.cancel(t, id)
			}
		}
		quiet := tg.submit(t, ep, obj{"callback": obj{"url": hook.URL, "on": []string{"succeeded"}}}).str("id")
		for range len(want) {
			d := hook.next(t)
			verify(t, secret, d)
			kind, data, _ := event(t, d)
			id := data.str("id")
			if want[id] != kind || "task."+data.str("state") != kind {
				t.Errorf("told %s", d.body)
			}
			delete(want, id)
		}
		tg.ends(t, quiet, "failed", "permanent_status")
		tg.callbacks(t, quiet, "no callback", func(all []client.CallbackTask) bool { return len(all) == 0 })
		if n := len(hook.deliveries()); n != 4 {
			t.Errorf("told %d times", n)
		}
	})
}

// A receiver that fails at first is tried again; one that never takes it
// leaves a dead letter that can be replayed, and its task as it is. All of it
// by a registered endpoint, with its policy and its secret.
func TestCallbackIsRetriedAndReplayed(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		work := serve(t, body(200, "text/plain", "done"))
		hook := serve(t, status(500), status(503), status(200), status(400), status(204))
		ep, _ := tg.register(t, work.URL, nil)
		hooks, secret := tg.register(t, hook.URL, obj{"headers": obj{"X-From": "endpoint"}})
		wish := obj{"callback": obj{"endpoint": hooks, "on": []string{"succeeded"}}}
		id := tg.submit(t, ep, wish).str("id")
		cb := tg.callbacks(t, id, "the callback has succeeded", one(client.TaskStateSucceeded))[0]
		if cb.Attempts != 3 || *cb.Endpoint != hooks || cb.Url != nil {
			t.Errorf("callback: %+v", cb)
		}
		for n := range 3 {
			d := hook.next(t)
			verify(t, secret, d)
			if d.header.Get("Webhook-Id") != cb.Id || d.header.Get("Taskgate-Attempt") != string(rune('1'+n)) || d.header.Get("X-From") != "endpoint" {
				t.Errorf("delivery %d: %v", n+1, d.header)
			}
		}
		if n := len(tg.attempts(t, cb.Id)); n != 3 {
			t.Errorf("%d attempts are shown", n)
		}

		id = tg.submit(t, ep, wish).str("id")
		cb = tg.callbacks(t, id, "the callback has failed", one(client.TaskStateFailed))[0]
		if *cb.Reason != client.ReasonPermanentStatus || *cb.LastStatus != 400 {
			t.Errorf("callback: %+v", cb)
		}
		tg.ends(t, id, "succeeded", "")
		if ids := tg.deadLetters(t, hooks); len(ids) != 0 {
			t.Errorf("listed as a dead letter: %v", ids)
		}
		tg.retry(t, cb.Id)
		tg.callbacks(t, id, "the replayed callback has succeeded", one(client.TaskStateSucceeded))
	})
}

// Every generation that ends has its callback.
func TestCallbackOfAReplay(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, secret := tg.own(t)
		work, hook := serve(t, status(400), body(200, "application/json", `2`)), serve(t, status(200))
		ep, _ := tg.register(t, work.URL, nil)
		id := tg.submit(t, ep, obj{"callback": obj{"url": hook.URL}}).str("id")
		first := hook.next(t)
		tg.ends(t, id, "failed", "permanent_status")
		tg.retry(t, id)
		second := hook.next(t)
		verify(t, secret, second)
		a, _, _ := event(t, first)
		b, _, _ := event(t, second)
		if a != "task.failed" || b != "task.succeeded" || first.header.Get("Webhook-Id") == second.header.Get("Webhook-Id") {
			t.Errorf("told %s and %s as %s and %s", a, b, first.header.Get("Webhook-Id"), second.header.Get("Webhook-Id"))
		}
		tg.callbacks(t, id, "two callbacks", func(all []client.CallbackTask) bool {
			return len(all) == 2 && all[0].Generation == 1 && all[1].Generation == 2 && all[1].State == client.TaskStateSucceeded
		})
	})
}

func TestCallbackOfARawSubmission(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, secret := tg.own(t)
		work, hook := serve(t, body(200, "text/plain", "thanks")), serve(t, status(200))
		ep, _ := tg.register(t, work.URL, nil)
		tg.want(t, 202, "POST", "/v1/endpoints/"+ep+"/tasks", "hello", "Content-Type", "text/plain",
			"Taskgate-Callback-Url", hook.URL, "Taskgate-Callback-On", "succeeded, failed", "Taskgate-Callback-Header-X-A", "1")
		d := hook.next(t)
		verify(t, secret, d)
		if kind, data, _ := event(t, d); kind != "task.succeeded" || data.obj("result").num("size") != len("thanks") || d.header.Get("X-A") != "1" {
			t.Errorf("told %s", d.body)
		}
	})
}

// A URL that the guard would refuse at every delivery is refused at once.
func TestCallbackToTheInside(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		work := serve(t, status(200))
		ep, _ := tg.register(t, work.URL, nil)
		for _, url := range []string{"http://169.254.169.254/x", "http://" + blockedHost + "/", "ftp://a.example/"} {
			r := tg.want(t, 422, "POST", "/v1/tasks", obj{"endpoint": ep, "callback": obj{"url": url}})
			if !strings.Contains(string(r.raw), `"/callback/url"`) {
				t.Errorf("%s: %s", url, r.raw)
			}
		}
	})
}

// A receiver that hangs, with more callbacks than its project may run at once,
// does not keep another one from hearing.
func TestHangingReceiverDelaysNoOther(t *testing.T) {
	t.Parallel()
	targets(t, func(t *testing.T, tg *target) {
		tg, _ = tg.own(t)
		work, bad, good := serve(t, status(200)), serve(t, hang), serve(t, status(200))
		ep, _ := tg.register(t, work.URL, nil)
		ids := tg.submitMany(client.TaskSubmission{Endpoint: ep, Callback: &client.Callback{Url: &bad.URL}}, 100)
		for _, id := range ids {
			tg.ends(t, id, "succeeded", "")
		}
		bad.next(t)
		id := tg.submit(t, ep, obj{"callback": obj{"url": good.URL}}).str("id")
		done := tg.ends(t, id, "succeeded", "")
		d := good.next(t)
		if late := d.at.Sub(done.time(t, "ended_at")); late > 5*time.Second { // a hanging attempt takes 15 s
			t.Errorf("told %v after the end", late)
		}
		if n := len(bad.deliveries()); n >= len(ids) {
			t.Errorf("%d of %d callbacks were sent to a receiver that hangs", n, len(ids))
		}
	})
}

// Processes die at random moments while tasks with callbacks are worked, again
// and again: everything accepted is told, and what is told twice says so.
func TestKillUnderCallbacks(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		tg := serveAlone(t)
		killUnderCallbacks(t, tg.target, func(*testing.T) {
			tg.kill()
			tg.again(t)
		})
	})
	t.Run("services", func(t *testing.T) {
		t.Parallel()
		tg := startTwo(t)
		killUnderCallbacks(t, tg.target, func(t *testing.T) {
			t.Helper()
			tg.dispatcher.kill()
			tg.dispatch(t)
		})
	})
}

const (
	callbackKills = 4
	callbackTasks = 40 // between two kills
)

func killUnderCallbacks(t *testing.T, tg *target, kill func(t *testing.T)) {
	t.Helper()
	work, hook := serve(t, slowly), serve(t, slowly)
	ep, _ := tg.register(t, work.URL, nil)
	accepted := make(map[string]bool)
	for range callbackKills {
		batch := make(chan []string, 1)
		go func() {
			batch <- tg.submitMany(client.TaskSubmission{Endpoint: ep, Callback: &client.Callback{Url: &hook.URL}}, callbackTasks)
		}()
		<-time.After(rand.N(200 * time.Millisecond))
		kill(t)
		for _, id := range <-batch {
			accepted[id] = true
		}
	}
	if len(accepted) == 0 {
		t.Fatal("nothing was accepted")
	}
	told := make(map[string]bool)
	missing := func() int {
		for _, d := range hook.deliveries() {
			_, data, _ := event(t, d)
			told[data.str("id")] = true
		}
		n := 0
		for id := range accepted {
			if !told[id] {
				n++
			}
		}
		return n
	}
	deadline := time.After(60 * time.Second) // a dead process's leases last their time
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for missing() > 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d of %d ends were not told", missing(), len(accepted))
		}
	}
	checkAnnounced(t, work)
	checkAnnounced(t, hook)
}
