// Package redis keeps the registry in Redis 7.0 or later, in one slot:
//
//	<ns>:{reg}:meta     hash: e epoch, v version
//	<ns>:{reg}:items    hash: <kind> NUL <project> NUL <name> → "<revision> <deleted 0|1> <value>"
//	<ns>:{reg}:uses     hash: key's id → last use, Unix milliseconds
//	<ns>:{reg}:changed  pub/sub channel: the version after each change
package redis
