package redis

import (
	"testing"

	"github.com/taskgate/taskgate/internal/results"
)

// FuzzReplies: what Redis answers may be of any type and text. It is what our
// scripts return, or an error; and no row is without a version.
func FuzzReplies(f *testing.F) {
	f.Add("7", "{}", "{}", "1", int64(0))
	f.Add("", "", "", "", int64(-1))
	f.Add("9223372036854775808", "x", "y", "1.5", int64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d string, n int64) {
		values := []any{a, b, c, d, n, nil, []any{a}}
		for shift := range values {
			fields := append(append([]any{}, values[shift:]...), values[:shift]...)
			for size := range len(fields) + 1 {
				replies(t, fields[:size])
			}
		}
	})
}

func replies(t *testing.T, fields []any) {
	t.Helper()
	if r, err := rowOf("id", fields); err == nil && r.Version != 0 && (r.Head == nil || r.Spec == nil) {
		t.Fatalf("%v is %+v", fields, r)
	}
	if d, err := document("k", "g", "n", fields); err == nil && len(fields) != 2 {
		t.Fatalf("%v is %+v", fields, d)
	}
	if list, err := entries(1, fields); err == nil && len(list) > len(fields)/2 {
		t.Fatalf("%v is %+v", fields, list)
	}
	if c, err := taken(fields); err == nil && len(fields) != rowFields+3 {
		t.Fatalf("%v is %+v", fields, c)
	}
	var sum results.Lanes
	if err := addLanes(&sum, fields); err == nil && len(fields) != 2*int(results.MaxLane) {
		t.Fatalf("%v is %+v", fields, sum)
	}
	if _, err := rowOf("id", "no list"); err == nil {
		t.Fatal("a text is a row")
	}
}
