// Package registry keeps what operators configure: projects, endpoints and keys.
// [Registry] holds all of it in memory, so that reading never does I/O, over
// a narrow [Driver] that makes changes durable and tells of them.
package registry
