package client

import (
	"encoding/json"
	"mime"
)

// Reply is what every call that ends in WithResponse returns.
type Reply interface {
	StatusCode() int
	ContentType() string
	GetBody() []byte
}

// ProblemOf returns the problem that a reply tells, whatever its status, and
// nil when it tells none.
func ProblemOf(r Reply) *Problem {
	if media, _, err := mime.ParseMediaType(r.ContentType()); err != nil || media != "application/problem+json" {
		return nil
	}
	var p Problem
	if json.Unmarshal(r.GetBody(), &p) != nil || p.Code == "" {
		return nil
	}
	return &p
}
