// Package config turns defaults, a file, the environment and flags into one plain value, and
// reports every fault of it at once. It opens nothing, knows no environment of its own (see
// [Source]) and never puts a secret into a message.
package config

//go:generate go test -count=1 -run=^TestDocumentation$ . -update
