package results

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// FuzzSplitCursor: a cursor is one that this version writes, or none.
func FuzzSplitCursor(f *testing.F) {
	q := task.Query{Project: "p"}
	f.Add(makeCursor(q, Cursor{Created: time.UnixMilli(1_700_000_000_000), ID: "01kad2t5m6f0q9v3zj8y4w7xhc7"}))
	for _, s := range []string{"", "Mi4x", strings.Repeat("A", 129), "====", "Mi4xNzAwMDAwMDAwMDAwLjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMS54\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, mark, ok := splitCursor(s)
		if !ok {
			return
		}
		if _, valid := task.ParseID(string(at.ID)); !valid || at.Created.IsZero() || len(s) > maxCursor {
			t.Fatalf("%q is a place %+v", s, at)
		}
		q.Cursor = s
		if got, err := parseCursor(q); (err == nil) != (mark == filterMark(q)) || err == nil && got != at {
			t.Fatalf("%q: %+v, %v", s, got, err)
		}
		again, _, ok := splitCursor(makeCursor(q, at))
		if !ok || again != at {
			t.Fatalf("%q is %+v, then %+v", s, at, again)
		}
	})
}

// FuzzCalls: whoever can publish in Redis can say anything to a process that
// waits for an answer or gives one. It is a call, an answer, or nothing.
func FuzzCalls(f *testing.F) {
	for _, s := range []string{`{"i":"x","t":"a","f":1000000000,"b":"AA=="}`, `{"i":"x","d":true}`, "", "null", `{"f":-1}`, `{"i":1}`, "[]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, msg string) {
		waiter := make(chan answered, 1)
		c := &Calls{waiting: map[string]chan answered{"x": waiter}}
		c.hear(msg)
		c.hear(msg) // twice must not block
		select {
		case a := <-waiter:
			if a.ID != "x" {
				t.Fatalf("%q was taken for the answer", msg)
			}
		default:
		}
		full := &server{slots: make(chan struct{})}
		full.hear(context.Background(), msg) // busy: must not block either
	})
}
