// Package cli is the command line client of Taskgate's public API: submit,
// get, wait, cancel, retry, list, tail, endpoints, keys and health. It is made
// on the generated client and knows nothing of the server's code.
//
// Output is for people, or with --json one document a line for programs, as
// the server sent it. Errors go to standard error, and how a command ended is
// told by its exit code: see [Exit].
package cli
