package bulk

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskgate/taskgate/internal/task"
)

// FuzzDecode: a job's document that can be read is written and read again as
// the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"x","project":"p","action":"cancel","state":"running","rate":5}`))
	f.Add([]byte(`{"filter":{"states":["queued"],"created_after":"2026-01-01T00:00:00+01:00"}}`))
	f.Add([]byte(`null`))
	now := time.Unix(1_700_000_000, 0).UTC()
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(task.Document{Name: "j", Version: 3, Data: data})
		if err != nil {
			return
		}
		doc, err := s.document(now)
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		if again, err := decode(doc); err != nil || !cmp.Equal(s.Job, again.Job, cmpopts.EquateEmpty()) {
			t.Fatalf("%q is written as %q: %v", data, doc.Data, err)
		}
	})
}
