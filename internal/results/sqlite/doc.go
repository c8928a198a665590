// Package sqlite is the results driver of the embedded store.
//
// # What is synced
//
// A task that succeeds at its first attempt costs two syncs, and tasks that
// run at the same time share them: the publish that accepts it and the swap
// that ends it. Everything here is lazy but that swap, and the argument is
// the order of the one log that broker and results share (see sqlitedb):
//
//   - Create is lazy: the durable publish that follows it covers it.
//   - Accepted is lazy although it must hold once it returned: what must hold
//     is that Abandon never removes a row whose note was lost. Only the end of
//     the machine loses notes; the next [Open] then marks every row without a
//     note, and Abandon leaves those alone for ever. At worst a row stays whose
//     submitter heard nothing; a repeat with its key still publishes it again,
//     since the row still counts as not noted.
//   - A swap without Wake is lazy: losing the begin of an attempt leaves the
//     message, which comes again as redelivered; losing a settled retry
//     leaves its successor message, which was published durably before and
//     wins over the older record.
//   - A swap with Wake is durable: whoever was told an end must find it again.
//   - Unflag is lazy: its loss leaves the flag, and what it stands for is
//     found done.
//   - Renew is lazy: its loss makes an AcceptBy older, of a row that Abandon
//     then leaves alone.
//
// Leases, hints and waiters live in memory: there is one process, and every
// earlier one is dead.
package sqlite
