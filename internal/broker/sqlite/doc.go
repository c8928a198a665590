// Package sqlite is the broker driver of the embedded store.
//
// A message is a row; a queue is a range of one index, ordered by when its
// rows fall due, so a delayed message is only a row further on. One process
// owns the file, hence which messages are in a worker's hands is known in
// memory; the file keeps a mark of it (table claims) for what a crash leaves:
//
//   - a row with a mark was in hands when the process ended: it is delivered
//     again as redelivered, and the loss is counted; after too many it goes to
//     quarantine, after a few more to the dead.
//   - marks are written lazily, before the message is handed out. Only the
//     end of the machine can lose them; then every row that was due counts as
//     perhaps delivered.
//
// Publish and Postpone sync. Postpone could be lazy and would then come too
// early after a power cut; it is rare, and "never early" has no exceptions.
// Ack and Release are lazy: losing one is a redelivery. They are written
// after what the worker stored durably, to the same log, so an ack never
// outlives the successor that it stands for.
package sqlite
