// Package sqlitedb is the file under the embedded store: one SQLite database
// in a data folder, one process, one writer with group commit.
//
// # Durability
//
// A write is a closure over the writer's transaction. Up to 256 closures that
// wait at the same time share one transaction, and each caller hears of its
// own only after COMMIT. There are two promises:
//
//   - [Durable]: synced to the disk before [DB.Write] returns nil.
//   - [Lazy]: written to the write-ahead log, not synced. The log is one file
//     in the order of the commits, so the sync of any later durable commit
//     covers every lazy commit before it.
//
// The end of the process, kill -9 included, loses neither. Only the end of
// the machine (power, kernel) can lose lazy commits, and only those after the
// last durable one; what is left is always a prefix of the commits.
// [DB.MayHaveLost] tells after opening whether that can have happened.
//
// # One process
//
// A lock file keeps a second process out; without that, what the drivers hold
// in memory (claims, leases, waiters) would be wrong.
package sqlitedb
