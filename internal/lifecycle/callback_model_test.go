package lifecycle_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/task"
)

// The callbacks' part of the model: every end of a generation is noted, and at
// the end of all each has its callback, if it was asked for, and no other.

// end is a generation's end as the store has it.
type end struct {
	id    task.ID
	gen   int
	state task.State
	due   bool
	epoch int
}

// wish draws what a submitter wants to hear.
func (m *model) wish() *task.Callback {
	on := [][]task.State{
		nil, nil, {task.Succeeded}, {task.Failed, task.Expired}, {task.Cancelled}, {task.Succeeded, task.Cancelled},
	}
	i := rapid.IntRange(-2, len(on)-1).Draw(m.t, "callback")
	if i < 0 {
		return nil
	}
	c := &task.Callback{URL: "https://example.com/", On: on[i]}
	if i == 1 {
		c.URL, c.Endpoint = "", "mail"
	}
	return c
}

// any picks a task that was accepted, or one of its callbacks.
func (m *model) any(label string) task.ID {
	id := pick(m, m.ids, label)
	if gen := rapid.IntRange(-8, 2).Draw(m.t, "its callback"); gen > 0 {
		return task.CallbackID(id, gen)
	}
	return id
}

func (w *world) noteEnd(old *task.Snapshot, c *task.Change) {
	next := c.Next
	if !next.State.Final() || old.State.Final() && old.Gen == next.Gen {
		return
	}
	w.ends = append(w.ends, end{c.Spec.ID, next.Gen, next.State, c.Spec.Callback.Due(next.State), w.epoch})
	if c.Spec.CallbackOf != "" && c.Spec.Callback != nil {
		w.faultf("%s: a callback of a callback", c.Spec.ID)
	}
}

// heard looks at what a handler is told: the end of the generation as it was.
func (w *world) heard(m *task.Message) {
	if m.CallbackOf == "" {
		return
	}
	var body struct {
		Type string
		Data struct{ ID task.ID }
	}
	if err := json.Unmarshal(m.Payload, &body); err != nil || body.Data.ID != m.CallbackOf {
		w.faultf("%s tells %q of %s", m.ID, m.Payload, m.CallbackOf)
	}
	if !slices.ContainsFunc(w.ends, func(e end) bool {
		return e.due && e.id == m.CallbackOf && task.CallbackID(e.id, e.gen) == m.ID && "task."+string(e.state) == body.Type
	}) {
		w.faultf("%s tells %s of %s, which nobody asked for", m.ID, body.Type, m.CallbackOf)
	}
}

func (w *world) boxed() bool {
	for _, r := range w.rows {
		if r.snap.Outbox != 0 {
			return true
		}
	}
	return false
}

func (w *world) checkCallbacks(t *rapid.T) {
	for _, e := range w.ends {
		id := task.CallbackID(e.id, e.gen)
		r := w.rows[id]
		switch {
		case !e.due && w.epoch == 0 && (r != nil || len(w.ledger[id]) > 0):
			t.Errorf("%s: the callback of generation %d exists, but %s was not asked for", e.id, e.gen, e.state)
		case !e.due, e.epoch < w.epoch: // the store lost all data since
		case r == nil:
			t.Errorf("%s: the callback of generation %d (%s) is lost", e.id, e.gen, e.state)
		case !r.snap.State.Final():
			t.Errorf("%s: the callback of generation %d is stuck as %s", e.id, e.gen, r.snap.State)
		case len(w.ledger[id]) == 0 && r.snap.State != task.Cancelled && !w.touched[id]:
			t.Errorf("%s: the callback of generation %d %s unheard", e.id, e.gen, r.snap.State)
		}
	}
}

func (s storeOf) GetResult(_ context.Context, id task.ID) (snap *task.Snapshot, res *task.Result, err error) {
	err = s.call(func(w *world) {
		if r := w.rows[id]; r != nil {
			c := r.snap
			snap, res = &c, r.result
		}
	})
	return snap, res, err
}

func (s storeOf) Outbox(_ context.Context, before time.Time, limit int) (ids []task.ID, err error) {
	err = s.call(func(w *world) {
		for id, r := range w.rows {
			if r.snap.Outbox != 0 && r.boxedAt.Before(before) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		ids = ids[:min(len(ids), limit)]
	})
	return ids, err
}

func (s storeOf) LeaveOutbox(_ context.Context, t *task.Snapshot, _ time.Time) error {
	return s.call(func(w *world) {
		if r := w.rows[t.ID]; r != nil && r.snap.Outbox == t.Outbox {
			r.snap.Outbox = 0
		}
	})
}
