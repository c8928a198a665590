package broker

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// FuzzDecodeWire: what anybody may put into a queue is refused, or is a message
// that is written and read again as the same.
func FuzzDecodeWire(f *testing.F) {
	m := task.Message{Envelope: task.Envelope{
		Spec:    task.Spec{ID: "01kad2t5m6f0q9v3zj8y4w7xhc7", Project: "p", Endpoint: "e", CreatedAt: time.Unix(1, 0).UTC()},
		Payload: []byte("{}"),
	}, Gen: 1, Seq: 1}
	w, err := encodeWire(&m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(w.Meta, w.Body)
	f.Add("", w.Body)
	f.Add(w.Meta, []byte{1, 0})
	f.Fuzz(func(t *testing.T, meta string, body []byte) {
		m, err := decodeWire(Wire{Meta: meta, Body: body})
		if err != nil {
			return
		}
		if m.Gen < 1 || m.Seq < 1 {
			t.Fatalf("%q: impossible fence %+v", meta, m)
		}
		w, err := encodeWire(&m)
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		again, err := decodeWire(w)
		if err != nil {
			t.Fatalf("%q %q is written as %+v: %v", meta, body, w, err)
		}
		one, _ := json.Marshal(m)
		two, _ := json.Marshal(again)
		if !bytes.Equal(one, two) || len(w.Meta) >= 256 {
			t.Fatalf("%s\nis written and read as\n%s", one, two)
		}
	})
}
