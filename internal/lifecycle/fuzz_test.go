package lifecycle_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/taskgate/taskgate/internal/lifecycle"
	"github.com/taskgate/taskgate/internal/task"
)

// FuzzParked: a parked settlement that is read is written and read again as
// the same, and names a task.
func FuzzParked(f *testing.F) {
	p := task.Parked{
		Message:  task.Message{Envelope: task.Envelope{Spec: task.Spec{ID: "01kad2t5m6f0q9v3zj8y4w7xhc7", Project: "p", Endpoint: "e"}}, Gen: 1, Seq: 1},
		Lease:    "t",
		Decision: task.Decision{State: task.Succeeded},
		Result:   &task.Result{Status: 200, Body: []byte("x")},
	}
	b, err := lifecycle.EncodeParked(&p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"parked":null,"result":""}`))
	f.Add([]byte(`{"version":1,"parked":{"Message":{}},"payload":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := lifecycle.DecodeParked(b)
		if err != nil {
			return
		}
		if _, ok := task.ParseID(string(p.Message.ID)); !ok {
			t.Fatalf("%q names no task", b)
		}
		one, err := lifecycle.EncodeParked(&p)
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		again, err := lifecycle.DecodeParked(one)
		if err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		two, err := lifecycle.EncodeParked(&again)
		if err != nil || !bytes.Equal(one, two) || !json.Valid(two) {
			t.Fatalf("%s\nbecomes\n%s (%v)", one, two, err)
		}
	})
}
