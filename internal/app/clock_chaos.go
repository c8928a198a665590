//go:build chaos

package app

import "time"

// clockOffset is by how much this process's clock is wrong, for tests: a
// duration, as "-5m". It is no setting, and programs that are shipped do not
// know it.
const clockOffset = "CHAOS_CLOCK_OFFSET"

// clock is the one that tasks are timed by. A wrong value stops the program:
// a test must not believe in an error that is not there.
func clock(environ func(name string) (string, bool)) func() time.Time {
	text, ok := environ(clockOffset)
	if !ok {
		return time.Now
	}
	offset, err := time.ParseDuration(text)
	if err != nil {
		panic(clockOffset + ": " + err.Error())
	}
	return func() time.Time { return time.Now().Add(offset) }
}
