// Package telemetry makes a process seen: metrics for Prometheus, traces for
// OpenTelemetry, and log lines that name the request and trace they belong to.
//
// It is a leaf. Other rooms declare small observers of their own and do not
// know what listens; package app connects the two.
package telemetry

//go:generate go test -count=1 -run=^TestDocumentation$ . -update
