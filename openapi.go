// Package taskgate holds the contract, openapi.yaml, for the code that serves
// and checks it.
package taskgate

import _ "embed" // for the contract

// Contract is openapi.yaml, the one written form of the API.
//
//go:embed openapi.yaml
var Contract []byte
