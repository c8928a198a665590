package task

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// ID names a task for ever: 26 characters of a lower-case ULID (time-ordered)
// and one hex digit, the shard. It has no "." in it, so it can be a
// webhook-id (Standard Webhooks, "Signature scheme").
type ID string

// Shards is how many hash tags the records are spread over. The last digit of
// an [ID] names its shard, so that everything of one task, its idempotency
// key included, lives in one Redis Cluster slot.
const Shards = 16

const (
	hexDigits  = "0123456789abcdef"
	ulidLen    = 26
	idLen      = ulidLen + 1
	ulidDigits = "0123456789abcdefghjkmnpqrstvwxyz" // Crockford's base 32
)

// MakeID joins a ULID and a shard. ulid must be 26 characters.
func MakeID(ulid string, shard int) ID {
	return ID(strings.ToLower(ulid) + hexDigits[shard&(Shards-1):][:1])
}

// ParseID accepts only what [MakeID] makes. ok is false for anything else:
// such an id names no task.
func ParseID(s string) (id ID, ok bool) {
	if len(s) != idLen {
		return "", false
	}
	for i := range ulidLen {
		if strings.IndexByte(ulidDigits, s[i]) < 0 {
			return "", false
		}
	}
	if strings.IndexByte(hexDigits, s[ulidLen]) < 0 {
		return "", false
	}
	return ID(s), true
}

// Shard is the number of the id's shard, 0 to [Shards]-1; 0 for a malformed id.
func (id ID) Shard() int {
	if id == "" {
		return 0
	}
	return max(0, strings.IndexByte(hexDigits, id[len(id)-1]))
}

// ShardOf maps a key (an idempotency key) to a shard.
func ShardOf(key string) int {
	sum := sha256.Sum256([]byte(key))
	return int(sum[0]) % Shards
}

// EndpointID is the identity of an endpoint's queue: a hash of project and
// name. A queue therefore stays valid when an endpoint is registered again,
// and its name never holds text given by a user. 20 hex digits.
type EndpointID string

const endpointIDBytes = 10

// MakeEndpointID derives the identity of an endpoint.
func MakeEndpointID(project, name string) EndpointID {
	sum := sha256.Sum256([]byte(project + "\x00" + name))
	return EndpointID(hex.EncodeToString(sum[:endpointIDBytes]))
}
