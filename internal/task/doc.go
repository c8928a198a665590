// Package task is the domain of Taskgate: what a task is, which states it
// passes, and who wins when two writers disagree.
//
// Everything here is pure: no clock, no randomness, no I/O, standard library
// only. Callers pass the time in. The decisions that make the product
// trustworthy are three functions over plain values:
//
//   - [Meet]: a message meets a record; may an attempt begin?
//   - [Decide]: an attempt ended; what becomes of the task?
//   - the transitions on [Record] (Started, Settled, Cancelled, …): the only
//     way a record changes.
//
// Stores and brokers keep and carry these values; they never interpret them.
package task
