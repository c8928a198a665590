package broker

import (
	"errors"
	"strconv"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// metaVersion is the first field of [Wire.Meta]; another one is not ours.
const metaVersion = "1"

// metaFields: version, gen, seq, used, starts, record version, marks, eta and
// born (Unix milliseconds).
const metaFields = 9

// The marks of a message.
const (
	markSuspect = 1 << iota
	markRebuilt
	markEnd
)

var errMeta = errors.New("not a message's meta of this version")

// encodeMeta writes what a message carries beside its envelope. At most nine
// 64-bit numbers: always under 256 bytes.
func encodeMeta(m *task.Message) string {
	marks := int64(0)
	if m.Suspect {
		marks |= markSuspect
	}
	if m.Rebuilt {
		marks |= markRebuilt
	}
	b := make([]byte, 0, 64)
	b = append(b, metaVersion...)
	for _, n := range [metaFields - 1]int64{
		int64(m.Gen), int64(m.Seq), int64(m.Used), int64(m.Starts), m.Version, marks,
		task.ToMillis(m.ETA), task.ToMillis(m.Born),
	} {
		b = append(b, ' ')
		b = strconv.AppendInt(b, n, 10)
	}
	return string(b)
}

// decodeMeta reads what [encodeMeta] wrote into m and leaves its envelope
// alone. Fences below 1 are refused: they would lose against any record.
func decodeMeta(s string, m *task.Message) error {
	fields := strings.Split(s, " ")
	if len(fields) != metaFields || fields[0] != metaVersion {
		return errMeta
	}
	var n [metaFields - 1]int64
	for i := range n {
		v, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return errMeta
		}
		n[i] = v
	}
	gen, seq, used, starts, marks := n[0], n[1], n[2], n[3], n[5]
	if !count(gen, 1) || !count(seq, 1) || !count(used, 0) || !count(starts, 0) || marks < 0 || marks >= markEnd {
		return errMeta
	}
	m.Gen, m.Seq, m.Used, m.Starts = int(gen), int(seq), int(used), int(starts)
	m.Version = n[4]
	m.Suspect, m.Rebuilt = marks&markSuspect != 0, marks&markRebuilt != 0
	m.ETA, m.Born = task.FromMillis(n[6]), task.FromMillis(n[7])
	return nil
}

// count reports whether n is a counter from least on that fits every int.
func count(n, least int64) bool { return n >= least && n <= 1<<31-1 }
