// Package admission decides whether a request is taken, before it costs
// anything: by how often its caller may ask ([Rates]), and by how much one
// process can work at the same time ([Gate] for what touches broker and store,
// [Budget] for what is held: bodies, long-polls). It knows neither HTTP nor a
// store.
//
// Everything here is bounded, and nobody waits for longer than a moment: what
// is above capacity is refused at once, so that what is taken keeps its
// latency.
package admission
