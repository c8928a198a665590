// Package bulk changes many tasks by a filter: it cancels them or retries
// them, at a rate, as a job that outlives the process that works it.
//
// A job is a document in the store. It holds the request, how far the job got,
// and its hand: the tasks it is about to change, each with the generation it
// was found in. The hand is written before the first of them is touched, so a
// process that takes over a dead one's job knows which tasks may have been
// changed already, and changes no task twice: a retry moved it to another
// generation, a cancellation ended it.
//
// Beside the job lies a pointer until it has ended, so that workers find what
// is to be done without reading every job there ever was. Each job has one
// worker at a time, by a lease; a worker that stalls longer than its lease is
// fenced by the document's version and by the conditions of its changes.
//
// Every change goes through lifecycle like a single cancel or retry.
package bulk
