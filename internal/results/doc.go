// Package results is the store of tasks: what state each one is in, its
// result, its attempts, and who waits for it. [Store] is the concrete, typed
// side over a narrow [Driver]; [Hub] is the long-poll. Neither knows when a
// state may change: package task does.
package results
