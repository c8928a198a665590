package resultstest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func waitCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"await: reads the row":                          awaitReads,
		"await: a swap with Wake tells every topic":     awaitWakes,
		"await: a swap without Wake tells nobody":       awaitSilent,
		"await: tells again at the next Wake":           awaitAgain,
		"await: no wake-up is lost":                     awaitRace,
		"hint: reaches every subscriber of its topic":   hintAll,
		"hint: nobody listens":                          hintNobody,
		"subscribe: reset at the start, nil at the end": subscribeLife,
		"subscribe: silent after its end":               subscribeSilent,
		"subscribe: ends when the driver is closed":     subscribeClosed,
		"subscribe: many topics at once":                subscribeMany,
	}
}

// ear is one subscription and what it heard.
type ear struct {
	mu     sync.Mutex
	heard  []string
	resets int
	stop   context.CancelFunc
	done   chan struct{}
	err    error // once done
}

// listen subscribes and waits for the first reset.
func (k *kit) listen(d results.Driver, t results.Topic) *ear {
	k.Helper()
	ctx, cancel := context.WithCancel(k.ctx)
	e := &ear{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.err = d.Subscribe(ctx, t, e.hear, e.reset)
	}()
	k.Cleanup(func() {
		cancel()
		<-e.done
	})
	k.eventually("the first reset of "+string(t), func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.resets > 0
	})
	return e
}

func (e *ear) hear(msg string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, msg)
}

func (e *ear) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resets++
}

// ended waits for the end of the subscription.
func (k *kit) ended(e *ear) error {
	k.Helper()
	select {
	case <-e.done:
	case <-k.ctx.Done():
		k.Fatal("Subscribe does not return")
	}
	return e.err
}

func (e *ear) has(msg string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.heard, msg)
}

func (e *ear) count(msg string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, m := range e.heard {
		if m == msg {
			n++
		}
	}
	return n
}

func (k *kit) hears(e *ear, msg string) {
	k.Helper()
	k.eventually("hint "+msg, func() bool { return e.has(msg) })
}

func (k *kit) await(id task.ID, t results.Topic) results.Row {
	k.Helper()
	r, err := k.d.Await(k.ctx, id, t)
	k.ok(err)
	return r
}

func (k *kit) wake(c results.Create, from int64) {
	k.Helper()
	s := k.change(c, from)
	s.Wake = true
	got, err := k.peer.Swap(k.ctx, s)
	k.ok(err)
	k.checkf(got.OK, "present version is %d", got.Row.Version)
}

func awaitReads(k *kit) {
	c := k.create(k.row(k.id()))
	r := k.await(c.ID, "t")
	k.checkf(r.ID == c.ID && r.Version == 1, "row %s version %d", r.ID, r.Version)
	k.same("head", r.Head, c.Head)
	k.same("spec", r.Spec, c.Spec)
	k.checkf(k.await(k.id(), "t").Version == 0, "a row out of nothing")
	k.checkf(k.read(c.ID).Version == 1, "Await changed the row")
}

func awaitWakes(k *kit) {
	c := k.create(k.row(k.id()))
	one, two, other := k.listen(k.d, "one"), k.listen(k.peer, "two"), k.listen(k.d, "other")
	k.await(c.ID, "one")
	k.await(c.ID, "one")
	k.await(c.ID, "two")
	k.wake(c, 1)
	k.hears(one, string(c.ID))
	k.hears(two, string(c.ID))
	k.checkf(!other.has(string(c.ID)), "a topic that does not wait was told")
}

func awaitSilent(k *kit) {
	c := k.create(k.row(k.id()))
	e := k.listen(k.d, "t")
	k.await(c.ID, "t")
	k.swap(k.change(c, 1))
	lost := k.change(c, 1)
	lost.Wake = true
	k.mismatch(lost)
	k.ok(k.d.Hint(k.ctx, "t", "marker"))
	k.hears(e, "marker")
	k.checkf(!e.has(string(c.ID)), "told without Wake")
}

func awaitAgain(k *kit) {
	c := k.create(k.row(k.id()))
	e := k.listen(k.d, "t")
	k.await(c.ID, "t")
	k.wake(c, 1)
	k.hears(e, string(c.ID))
	k.wake(c, 2)
	k.eventually("the second hint", func() bool { return e.count(string(c.ID)) == 2 })
}

// awaitRace: whoever reads the old row must hear of the new one.
func awaitRace(k *kit) {
	const pairs = 200
	e := k.listen(k.d, "t")
	rows := make([]results.Create, pairs)
	for i := range rows {
		rows[i] = k.create(k.row(k.id()))
	}
	var mu sync.Mutex
	var waiting []task.ID
	together(2*pairs, func(i int) {
		c := rows[i/2]
		if i%2 == 0 {
			s := k.change(c, 1)
			s.Wake = true
			if got, err := k.peer.Swap(k.ctx, s); err != nil || !got.OK {
				k.Errorf("swap: %v, %v", got.OK, err)
			}
			return
		}
		r, err := k.d.Await(k.ctx, c.ID, "t")
		if err != nil {
			k.Error(err)
		}
		if r.Version == 1 {
			mu.Lock()
			waiting = append(waiting, c.ID)
			mu.Unlock()
		}
	})
	for _, id := range waiting {
		k.hears(e, string(id))
	}
	k.Logf("%d of %d waited", len(waiting), pairs)
}

func hintAll(k *kit) {
	ears := []*ear{k.listen(k.d, "t"), k.listen(k.d, "t"), k.listen(k.peer, "t")}
	other := k.listen(k.peer, "other")
	k.ok(k.d.Hint(k.ctx, "t", "from one"))
	k.ok(k.peer.Hint(k.ctx, "t", "from two"))
	for _, e := range ears {
		k.hears(e, "from one")
		k.hears(e, "from two")
	}
	k.ok(k.d.Hint(k.ctx, "other", "marker"))
	k.hears(other, "marker")
	k.checkf(!other.has("from one"), "a hint reached another topic")
}

func hintNobody(k *kit) { k.ok(k.d.Hint(k.ctx, "t", "into the void")) }

func subscribeLife(k *kit) {
	e := k.listen(k.d, "t")
	e.stop()
	k.ok(k.ended(e))
	again := k.listen(k.d, "t")
	k.ok(k.peer.Hint(k.ctx, "t", "hello"))
	k.hears(again, "hello")
}

func subscribeSilent(k *kit) {
	gone, here := k.listen(k.d, "t"), k.listen(k.d, "t")
	gone.stop()
	k.ok(k.ended(gone))
	k.ok(k.d.Hint(k.ctx, "t", "late"))
	k.hears(here, "late")
	k.checkf(!gone.has("late"), "called after its end")
}

func subscribeClosed(k *kit) {
	e := k.listen(k.d, "t")
	k.ok(k.d.Close())
	k.unavailable("Subscribe", k.ended(e))
}

func subscribeMany(k *kit) {
	const topics = 30
	var ears []*ear
	name := func(i int) results.Topic { return results.Topic(fmt.Sprint("topic", i)) }
	for i := range topics {
		ears = append(ears, k.listen(k.d, name(i)))
	}
	together(topics, func(i int) {
		if err := k.peer.Hint(k.ctx, name(i), fmt.Sprint("m", i)); err != nil {
			k.Error(err)
		}
	})
	for i, e := range ears {
		k.hears(e, fmt.Sprint("m", i))
	}
}
