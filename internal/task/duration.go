package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a [time.Duration] that reads and writes the API's form: Go's
// units and days, e.g. "90s", "1h30m", "7d", "1d12h".
type Duration time.Duration

const (
	day = 24 * time.Hour
	// longest is what can be written in days and read back.
	longest = (1<<16)*day - 1
)

var errDuration = errors.New(`must be a duration such as "500ms", "90s", "1h30m" or "7d"`)

// ParseDuration reads a duration that is not negative.
func ParseDuration(s string) (time.Duration, error) {
	var days time.Duration
	rest := s
	if n, tail, ok := strings.Cut(s, "d"); ok {
		d, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return 0, errDuration
		}
		days, rest = time.Duration(d)*day, tail
	}
	if rest == "" && days > 0 || s == "0d" {
		return days, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, errDuration
	}
	if d += days; d < 0 || d > longest {
		return 0, errDuration
	}
	return d, nil
}

// String writes the shortest form that [ParseDuration] reads back.
func (d Duration) String() string {
	v := time.Duration(d)
	if v <= 0 {
		return "0s"
	}
	var b strings.Builder
	if n := int64(v / day); n > 0 {
		fmt.Fprintf(&b, "%dd", n)
		v %= day
	}
	if v > 0 {
		s := v.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		b.WriteString(s)
	}
	return b.String()
}

// Std converts to the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalJSON writes the API's form.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the API's form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errDuration
	}
	v, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}
