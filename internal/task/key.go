package task

import "time"

// Scope is a right that a key may have; package auth has the list.
type Scope string

// APIKey is a key of the API as it is kept: without its secret.
type APIKey struct {
	// ID names the key for ever, in every project; it is no secret and the
	// begin of what its owner sends.
	ID      string  `json:"id"`
	Project string  `json:"project"`
	Name    string  `json:"name"`
	Scopes  []Scope `json:"scopes"`
	// Digest is the SHA-256 of what its owner sends. Its secret part is
	// random, so nothing slower is needed.
	Digest    []byte    `json:"digest"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"` // the id of the key that made it
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Rate is how often it may call; zero: no limit of its own.
	Rate Rate `json:"rate,omitzero"`
	// Endpoints and Addresses are what the key is bound to.
	Endpoints EndpointSet `json:"endpoints,omitempty"`
	Addresses AddressSet  `json:"addresses,omitempty"`
}

// ExpiredAt reports whether the key opens nothing any more at now.
func (k *APIKey) ExpiredAt(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}
