package task

import (
	"slices"
	"time"
)

// CallbackEndpoint is the name of every project's built-in endpoint, the one
// that callbacks are delivered for. No user can register such a name.
const CallbackEndpoint = "$callbacks"

// CallbackTimeout is the limit of one attempt to deliver a callback.
const CallbackTimeout = 15 * time.Second

// Project is a tenant: every endpoint, key and task belongs to one.
type Project struct {
	Name string `json:"name"`
	// CallbackSecret signs the project's callbacks. It is sealed for the
	// owner (Name, CallbackEndpoint).
	CallbackSecret SealedSecret `json:"callback_secret"`
	// Source says who made the project; FixedSecret that a file has a say
	// about its secret.
	Source      Source `json:"source,omitempty"`
	FixedSecret bool   `json:"fixed_secret,omitempty"`
	// Quotas are its own; what they do not say the installation does.
	Quotas    Quotas    `json:"quotas,omitzero"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Callbacks is the project's built-in endpoint. It has no URL: each callback
// brings its own. What a receiver answers is not kept beyond its attempt.
func (p *Project) Callbacks() *Endpoint {
	return &Endpoint{
		Project: p.Name, Name: CallbackEndpoint, Builtin: true, Method: "POST", Timeout: Duration(CallbackTimeout),
		Result: ResultPolicy{MaxBytes: MaxAnswerKept, Discard: true}, SealedSecret: p.CallbackSecret.Clone(),
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

// SealedSecret is a signing secret, encrypted at rest, and the one before it
// while a rotation lasts: both sign, so that receivers can change at leisure.
type SealedSecret struct {
	Current  []byte `json:"current"`
	Previous []byte `json:"previous,omitempty"`
	// Public and PreviousPublic verify what they sign, in their written form;
	// "" for a secret that both sides share.
	Public         string `json:"public,omitempty"`
	PreviousPublic string `json:"previous_public,omitempty"`
	// PreviousUntil is when the previous one stops to sign.
	PreviousUntil time.Time `json:"previous_until,omitzero"`
}

// IsZero reports whether there is no secret.
func (s SealedSecret) IsZero() bool { return len(s.Current) == 0 }

// Rotated is the secret after a rotation to next: the present one signs too
// until then. One that was still being rotated out is dropped.
func (s SealedSecret) Rotated(next []byte, public string, until time.Time) SealedSecret {
	return SealedSecret{
		Current: next, Public: public,
		Previous: s.Current, PreviousPublic: s.Public, PreviousUntil: until,
	}
}

// PublicAt lists the public keys that verify signatures made at now.
func (s SealedSecret) PublicAt(now time.Time) []string {
	var out []string
	if s.Public != "" {
		out = append(out, s.Public)
	}
	if s.PreviousPublic != "" && now.Before(s.PreviousUntil) {
		out = append(out, s.PreviousPublic)
	}
	return out
}

// At lists what signs at now, the current one first.
func (s SealedSecret) At(now time.Time) [][]byte {
	switch {
	case s.IsZero():
		return nil
	case len(s.Previous) > 0 && now.Before(s.PreviousUntil):
		return [][]byte{s.Current, s.Previous}
	}
	return [][]byte{s.Current}
}

// Clone shares nothing with s.
func (s SealedSecret) Clone() SealedSecret {
	s.Current, s.Previous = slices.Clone(s.Current), slices.Clone(s.Previous)
	return s
}
