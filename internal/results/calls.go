package results

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Calls lets a process ask one of those that serve, whoever takes the call
// first, and hear its answer. Calls travel as hints: nothing is stored, and a
// call is served at most once.
type Calls struct {
	store *Store
	topic Topic // of answers for this process

	mu      sync.Mutex
	waiting map[string]chan answered
}

const (
	topicCalls Topic = "calls"
	// A call that nobody takes is said again, since hints may be lost, and
	// then given up.
	callAgain = time.Second
	callTries = 5
	// callLife is longer than any call: so long it is known who took it.
	callLife = 2 * time.Minute
	hintTime = 5 * time.Second
)

// called is a call on its way.
type called struct {
	ID    string        `json:"i"`
	Topic Topic         `json:"t"` // where the answer is awaited
	For   time.Duration `json:"f"` // how long
	Body  []byte        `json:"b"`
}

// answered is an answer, or before it the word that there will be one.
type answered struct {
	ID   string `json:"i"`
	Done bool   `json:"d,omitempty"`
	Body []byte `json:"b,omitempty"`
}

// NewCalls makes the calls of a process, which must have a name of its own.
func NewCalls(s *Store, process string) *Calls {
	return &Calls{store: s, topic: Topic("answers-" + process), waiting: make(map[string]chan answered)}
}

// Run hears answers until ctx ends.
func (c *Calls) Run(ctx context.Context) error {
	return fail(c.store.d.Subscribe(ctx, c.topic, c.hear, func() {}))
}

func (c *Calls) hear(msg string) {
	var a answered
	if json.Unmarshal([]byte(msg), &a) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.waiting[a.ID] <- a: // nil for one that nobody waits for
	default:
	}
}

// Call asks, and waits for the answer until ctx, which must have a deadline,
// ends. Its errors are task.CodeUnavailable; they say whether the call may
// have been served.
func (c *Calls) Call(ctx context.Context, body []byte) ([]byte, error) {
	call := called{ID: rand.Text(), Topic: c.topic, Body: body}
	answers := make(chan answered, 8)
	c.mu.Lock()
	c.waiting[call.ID] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, call.ID)
	}()
	if err := c.taken(ctx, call, answers); err != nil {
		return nil, err
	}
	for {
		select {
		case a := <-answers:
			if a.Done {
				return a.Body, nil
			}
		case <-ctx.Done():
			return nil, task.Wrap(task.CodeUnavailable, context.Cause(ctx), "the answer of the call did not come; it may have been made")
		}
	}
}

// taken says the call until somebody has taken it.
func (c *Calls) taken(ctx context.Context, call called, answers chan answered) error {
	deadline, _ := ctx.Deadline()
	for range callTries {
		call.For = time.Until(deadline)
		if err := c.store.send(ctx, topicCalls, call); err != nil {
			return fail(err)
		}
		again := time.NewTimer(callAgain)
		select {
		case a := <-answers:
			again.Stop()
			answers <- a // it may be the answer itself
			return nil
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return task.Wrap(task.CodeUnavailable, context.Cause(ctx), "nobody took the call yet; it may have been made")
		}
	}
	return task.Errorf(task.CodeUnavailable, "no dispatcher took the call; is one running?")
}

func (s *Store) send(ctx context.Context, t Topic, v any) error {
	msg, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode hint: %w", err)
	}
	return s.d.Hint(ctx, t, string(msg))
}

// ServeCalls takes calls until ctx ends, at most atOnce at the same time:
// what is too much is left to others. Each call's context ends when nobody
// waits for its answer any more, or with ctx. owner must be unique among
// processes.
func (s *Store) ServeCalls(
	ctx context.Context, owner string, atOnce int, serve func(ctx context.Context, body []byte) []byte,
) error {
	sv := server{s: s, owner: owner, serve: serve, slots: make(chan struct{}, atOnce), known: make(map[string]*served)}
	defer sv.wg.Wait()
	return fail(s.d.Subscribe(ctx, topicCalls, func(msg string) { sv.hear(ctx, msg) }, func() {}))
}

// server serves calls.
type server struct {
	s     *Store
	owner string
	serve func(ctx context.Context, body []byte) []byte
	slots chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	known map[string]*served
}

// served is a call that this process has heard of.
type served struct {
	heard time.Time
	mine  bool
	last  answered
}

// hear must not block.
func (sv *server) hear(ctx context.Context, msg string) {
	var call called
	if json.Unmarshal([]byte(msg), &call) != nil || call.For <= 0 {
		return
	}
	select {
	case sv.slots <- struct{}{}:
	default:
		return // busy; the caller says it again
	}
	sv.wg.Go(func() {
		defer func() { <-sv.slots }()
		sv.take(ctx, call)
	})
}

func (sv *server) take(ctx context.Context, call called) {
	sv.mu.Lock()
	k := sv.known[call.ID]
	if k == nil {
		sv.forget()
		k = &served{heard: time.Now(), last: answered{ID: call.ID}}
		sv.known[call.ID] = k
		sv.mu.Unlock()
		sv.first(ctx, call, k)
		return
	}
	mine, last := k.mine, k.last
	sv.mu.Unlock()
	if mine {
		sv.answer(ctx, call, last) // it was not heard
	}
}

// first serves a call unless another process does.
func (sv *server) first(ctx context.Context, call called, k *served) {
	mine, err := sv.s.d.Lead(ctx, "call:"+call.ID, sv.owner, callLife)
	sv.mu.Lock()
	k.mine = mine
	if err != nil {
		delete(sv.known, call.ID) // said again it may be taken
	}
	sv.mu.Unlock()
	if err != nil || !mine {
		return
	}
	sv.answer(ctx, call, answered{ID: call.ID})
	bounded, cancel := context.WithTimeout(ctx, call.For)
	defer cancel()
	done := answered{ID: call.ID, Done: true, Body: sv.serve(bounded, call.Body)}
	sv.mu.Lock()
	k.last = done
	sv.mu.Unlock()
	sv.answer(ctx, call, done)
}

// answer is best effort: who does not hear it asks again, or gives up.
func (sv *server) answer(ctx context.Context, call called, a answered) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hintTime)
	defer cancel()
	_ = sv.s.send(ctx, call.Topic, a)
}

// forget drops what nobody asks for any more. The caller holds the lock.
func (sv *server) forget() {
	for id, k := range sv.known {
		if time.Since(k.heard) > callLife {
			delete(sv.known, id)
		}
	}
}
