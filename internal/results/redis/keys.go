package redis

import (
	"strconv"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// keys makes the names of one namespace.
type keys struct {
	ns     string
	shards [task.Shards]string // "<ns>:{s}:"
}

func newKeys(ns string) keys {
	k := keys{ns: ns}
	for i := range k.shards {
		k.shards[i] = ns + ":{" + strconv.FormatInt(int64(i), task.Shards) + "}:"
	}
	return k
}

func (k *keys) of(id task.ID) string    { return k.shards[id.Shard()] }
func (k *keys) row(id task.ID) string   { return k.of(id) + "t:" + string(id) }
func (k *keys) waits(id task.ID) string { return k.of(id) + "w:" + string(id) }
func (k *keys) flags(shard int) string  { return k.shards[shard] + "f" }
func (k *keys) pend(id task.ID) string  { return k.of(id) + "pend" }

// list names a shard's part of a list.
func (k *keys) list(shard int, l results.List, project string, ep task.EndpointID) string {
	switch l {
	case results.ListFailed:
		return k.shards[shard] + "fx:" + project
	case results.ListLive:
		return k.shards[shard] + "lx:" + string(ep)
	case results.ListAll:
	}
	return k.shards[shard] + "ix:" + project
}

// The figures of one name share a slot, apart from all others.
func (k *keys) figures(name string) string { return k.ns + ":{f:" + name + "}:" }
func (k *keys) levels(name string) string  { return k.figures(name) + "l" }
func (k *keys) counters(name string, minute int64) string {
	return k.figures(name) + strconv.FormatInt(minute, 10)
}

func (k *keys) quota(name string) string { return k.ns + ":q:" + name }
func (k *keys) rate(name string) string  { return k.ns + ":r:" + name }

func (k *keys) channel(t results.Topic) string { return k.channels() + string(t) }
func (k *keys) channels() string               { return k.ns + ":h:" }

func millis(t time.Time) int64 { return task.ToMillis(t) }

// flag is how scripts take a boolean.
func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
