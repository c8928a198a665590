package task

// Trial is one call of an endpoint's handler, made now to see what comes of
// it. It is no task's: nothing is stored or counted.
type Trial struct {
	ID       ID       `json:"id"` // what the handler sees as webhook-id
	Project  string   `json:"p"`
	Endpoint string   `json:"e"`
	Payload  []byte   `json:"b,omitempty"`
	Type     string   `json:"t,omitempty"` // the payload's media type
	Headers  []Header `json:"h,omitempty"`
}

// TrialResult is what came of a trial.
type TrialResult struct {
	// Unknown: there is no such endpoint; nothing was called.
	Unknown bool     `json:"u,omitempty"`
	Kind    Kind     `json:"k,omitempty"`
	Reason  Reason   `json:"r,omitempty"`
	Status  int      `json:"s,omitempty"` // of the answer, 0 without one
	Took    Duration `json:"d,omitempty"`
	Answer  []byte   `json:"b,omitempty"` // its first bytes, at most MaxAnswerKept
	// What the first attempt of a task would have made of it: its state, why,
	// and how long it would wait at most for the next attempt.
	State      State    `json:"ts,omitempty"`
	TaskReason Reason   `json:"tr,omitempty"`
	NextIn     Duration `json:"tn,omitempty"`
	Disables   bool     `json:"x,omitempty"` // a task's attempt would have disabled the endpoint
}
