package task

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"time"
)

// Callback is how a submitter wants to hear of the task's end. One of URL and
// Endpoint is set.
type Callback struct {
	// URL is a target of its own; the project's built-in endpoint delivers.
	URL string `json:"u,omitempty"`
	// Endpoint is the name of a registered endpoint that delivers.
	Endpoint string `json:"e,omitempty"`
	// On lists the final states to tell of; empty means all of them.
	On      []State  `json:"o,omitempty"`
	Headers []Header `json:"h,omitempty"`
}

// Due reports whether an end in state s is to be told. c may be nil.
func (c *Callback) Due(s State) bool {
	return c != nil && s.Final() && (len(c.On) == 0 || slices.Contains(c.On, s))
}

// Finals lists the final states.
func Finals() []State { return []State{Succeeded, Failed, Cancelled, Expired} }

// MaxCallbackBody is how long a callback's body may be: what of it is over is
// left out, so that no callback is larger than a payload may be by default.
const MaxCallbackBody = 1 << 20

// CallbackID names the callback task of a generation of a task: always the
// same, so that a callback published twice is known as a twin by its record.
// It lies in the task's shard and sorts near it.
func CallbackID(of ID, gen int) ID {
	const timeLen = 10 // of a ULID; the rest of it is random
	sum := sha256.Sum256([]byte("callback\x00" + string(of) + "\x00" + strconv.Itoa(gen)))
	id := make([]byte, 0, ulidLen)
	id = append(id, of[:min(timeLen, len(of))]...)
	for _, b := range sum[:ulidLen-timeLen] {
		id = append(id, ulidDigits[int(b)%len(ulidDigits)])
	}
	return MakeID(string(id), of.Shard())
}

// CallbackSpec is the task that tells of the end of s, created at now. Only
// a task with a callback has one.
func (s *Snapshot) CallbackSpec(bodySize int, now time.Time) Spec {
	c := s.Callback
	spec := Spec{
		ID: CallbackID(s.ID, s.Gen), Project: s.Project, Endpoint: c.Endpoint, CreatedAt: now,
		ResultTTL: s.ResultTTL, ContentType: "application/json", Headers: c.Headers, TraceParent: s.TraceParent,
		PayloadSize: bodySize, CallbackOf: s.ID, URL: c.URL,
	}
	if c.Endpoint == "" {
		spec.Endpoint = CallbackEndpoint
	}
	return spec
}
