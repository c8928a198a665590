// Package wire is what the bench's programs say to each other: jobs and reports as lines of JSON,
// payloads and the handler's answers.
package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
)

// Kinds of load.
const (
	// Closed: a number of submitters, each submits, reads the result, and begins again.
	Closed = "closed"
	// Open: submissions at a fixed rate, whatever becomes of the earlier ones.
	Open = "open"
	// Fill: submissions only, as many as asked for.
	Fill = "fill"
	// Park: long-polls for tasks that do not end, kept until the input ends.
	Park = "park"
)

// Proceed is the line that has a Park begin its polls, after its Begin.
const Proceed = "proceed"

// Job is the first line that a load program reads. It reports when the job is done, and ends when
// its input does.
type Job struct {
	Kind   string `json:"kind"`
	Target Target `json:"target"`
	// Submitters at once; in an open load the most submissions that may be under way.
	Submitters int           `json:"submitters"`
	Rate       float64       `json:"rate,omitempty"` // of an open load, per second
	Warm       time.Duration `json:"warm"`           // not measured
	For        time.Duration `json:"for"`            // measured; of Fill the most it may take
	N          int           `json:"n,omitempty"`    // tasks of Fill and Park
	Size       int           `json:"size"`           // bytes of a payload
}

// Kinds of targets.
const (
	HTTP  = "http"
	Asynq = "asynq" // the client enqueues into Redis
	River = "river" // the client inserts into PostgreSQL
)

// Target is where the tasks go.
type Target struct {
	Kind string `json:"kind"`

	Base   string            `json:"base,omitempty"`   // http://host:port
	Submit string            `json:"submit,omitempty"` // path
	Header map[string]string `json:"header,omitempty"`
	// Endpoint is Taskgate's: the payload is wrapped. With Endpoints over 1 its name gets -0, -1, …
	Endpoint  string `json:"endpoint,omitempty"`
	Endpoints int    `json:"endpoints,omitempty"`
	// Idempotency sends a key of its own with each submission.
	Idempotency bool `json:"idempotency,omitempty"`
	// Callback reads the result from a callback instead of a long-poll.
	Callback bool `json:"callback,omitempty"`

	Redis    string `json:"redis,omitempty"`
	Postgres string `json:"postgres,omitempty"`
	AMQP     string `json:"amqp,omitempty"`
}

// Marks of an [Event].
const (
	Begin  = "begin"  // the measured time begins
	End    = "end"    // and ends; what is under way is waited for
	Parked = "parked" // all polls are sent
)

// Event is a line that a load program writes.
type Event struct {
	Mark   string  `json:"mark,omitempty"`
	Report *Report `json:"report,omitempty"`
}

// Report is what a load measured.
type Report struct {
	Tasks   int     `json:"tasks"`   // ended within the measured time
	Seconds float64 `json:"seconds"` // of the measured time
	All     int     `json:"all"`     // ended at all, warm-up and tail included
	// Submit and Total are latencies in ms of what began within the measured time: until the
	// submission was answered, and until the result was read. In an open load both count from when
	// the submission was due.
	Submit stats.Summary `json:"submit"`
	Total  stats.Summary `json:"total"`
	// Wake is from the handler's answer to the reading of the result.
	Wake stats.Summary `json:"wake"`
	// Lag is how late, at most, the generator itself was (ms).
	Lag float64 `json:"lag"`
	// Failed tasks, and the first failure.
	Failed int    `json:"failed"`
	Error  string `json:"error,omitempty"`
}

// Line is v as a line of JSON.
func Line(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values of this package
	}
	return append(b, '\n')
}

// filler is not a single letter: nothing on the way should find it too easy.
const filler = "the quick brown fox jumps over the lazy dog 0123456789 "

// pad completes an object that lacks its last string, so that it is size bytes long.
func pad(b []byte, size int) []byte {
	for len(b) < size-2 {
		b = append(b, filler[:min(len(filler), size-2-len(b))]...)
	}
	return append(b, `"}`...)
}

// Payload is task n's: a JSON object of size bytes, or as short as one can be.
func Payload(n int64, size int) []byte {
	b := make([]byte, 0, max(size, 40)) //nolint:mnd // as short as one can be
	b = append(b, `{"n":`...)
	b = strconv.AppendInt(b, n, 10)
	return pad(append(b, `,"pad":"`...), size)
}

// answerSize is how long the handler's answers are.
const answerSize = 100

// Answer is the handler's answer to task n.
func Answer(n int64, now time.Time) []byte {
	b := make([]byte, 0, answerSize)
	b = append(b, `{"n":`...)
	b = strconv.AppendInt(b, n, 10)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, now.UnixNano(), 10)
	return pad(append(b, `,"pad":"`...), answerSize)
}

// Number reads member name, a number, of a payload or an answer; ok is false without one. It only
// reads what this package writes.
func Number(b []byte, name string) (n int64, ok bool) {
	at := bytes.Index(b, []byte(`"`+name+`":`))
	if at < 0 {
		return 0, false
	}
	b = bytes.TrimLeft(b[at+len(name)+3:], " ") // JSON that was stored as such comes back with spaces
	end := 0
	for end < len(b) && b[end] >= '0' && b[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(b[:end]), 10, 64)
	return n, err == nil
}
