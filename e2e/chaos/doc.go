// Package chaos breaks a whole Taskgate under load and counts what became of
// the work. Two independent parts watch: a [Ledger] of submitters that writes
// down every 202, and a [Receiver] of deliveries that writes down every call.
// After a [Scenario] every accepted task must have ended, its callback must
// have come, and no call may have looked like a first one when it was not.
//
// The product is seen from outside only: its programs as processes (package
// rig), its API over HTTP.
//
// `make chaos` runs every scenario whole and writes the report into
// docs/reliability.md. `go test` runs the same ones smaller.
package chaos
