package results

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// A cursor is the place of the last row looked at: "2", its millisecond, its
// id, and the mark of the filter. A place means something in every list, but
// whoever changes the filter between two pages has made a mistake that would
// show as tasks that are missing; so the cursor holds them to it.
const (
	cursorVersion = "2"
	cursorParts   = 4
	cursorMark    = 8 // bytes
	maxCursor     = 128
)

func makeCursor(q task.Query, at Cursor) string {
	plain := strings.Join([]string{
		cursorVersion, strconv.FormatInt(task.ToMillis(at.Created), 10), string(at.ID), filterMark(q),
	}, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(plain))
}

// parseCursor reads the query's cursor.
func parseCursor(q task.Query) (Cursor, error) {
	at, mark, ok := splitCursor(q.Cursor)
	switch {
	case !ok:
		return Cursor{}, badCursor("is not one that this list gave")
	case mark != filterMark(q):
		return Cursor{}, badCursor("is of a list with another filter")
	}
	return at, nil
}

func badCursor(detail string) error {
	return &task.Error{
		Code: task.CodeInvalid, Detail: "the cursor " + detail,
		Faults: []task.Fault{{Pointer: "cursor", Detail: detail}},
	}
}

func splitCursor(s string) (at Cursor, mark string, ok bool) {
	if len(s) > maxCursor {
		return Cursor{}, "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return Cursor{}, "", false
	}
	parts := strings.Split(string(b), ".")
	if len(parts) != cursorParts || parts[0] != cursorVersion {
		return Cursor{}, "", false
	}
	ms, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || ms <= 0 {
		return Cursor{}, "", false
	}
	id, ok := task.ParseID(parts[2])
	return Cursor{Created: task.FromMillis(ms), ID: id}, parts[3], ok
}

// filterMark is the same for equal filters, however they are written. The
// length of a page is no part of the filter.
func filterMark(q task.Query) string {
	h := sha256.New()
	states := slices.Clone(q.States)
	slices.Sort(states)
	// fmt writes maps in the order of their keys.
	fmt.Fprintf(h, "%q %q %q %q %d %d", q.Project, q.Endpoint, slices.Compact(states), q.Labels,
		task.ToMillis(q.CreatedAfter), task.ToMillis(q.CreatedBefore))
	if q.Within.Bound() {
		fmt.Fprintf(h, " %q", q.Within)
	}
	return hex.EncodeToString(h.Sum(nil)[:cursorMark])
}
