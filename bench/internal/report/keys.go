package report

import (
	"slices"
	"strings"
)

// Scenarios.
const (
	Standard  = "standard"  // closed loop, 64 submitters
	Open200   = "open-200"  // 200 tasks a second
	Open1000  = "open-1000" // 1,000 tasks a second
	NoKey     = "no-key"    // standard, without an Idempotency-Key
	Size1k    = "1kB"
	Size64k   = "64kB"
	Many      = "100-endpoints"
	Callbacks = "callbacks"
	Slow      = "slow-neighbour"
	Backlog10 = "backlog-10k"
	Backlog   = "backlog-100k"
	Million   = "million"
	Parked    = "parked"
	Idle      = "idle"
)

// Keys of values. Those that end with a dot are followed by the part of the system.
const (
	Rate      = "tasks/s"
	SubmitP50 = "submit p50 ms"
	SubmitP99 = "submit p99 ms"
	TotalP50  = "result p50 ms"
	TotalP99  = "result p99 ms"
	Lag       = "generator lag ms"
	CPU       = "cpu s/1000."   // CPU seconds for 1,000 tasks
	CPUSystem = "cpu s/1000"    // the same of all parts but client and handler
	Peak      = "peak MiB."     // memory
	Rest      = "rest MiB."     // memory before the first task
	IdleCPU   = "idle cpu %."   // of one core
	Drain     = "drain tasks/s" // of a backlog
	Fill      = "fill tasks/s"
	Filled    = "filled tasks"
	Restart   = "restart s"
	RateEmpty = "tasks/s, empty"
	RateFull  = "tasks/s, waiting"
	RateRatio = "ratio waiting/empty"

	WaitingRedis  = "bytes waiting in Redis"
	WaitingRabbit = "bytes waiting in RabbitMQ (disk)"
	WaitingMemory = "bytes waiting in RabbitMQ (memory)"
	WaitingStore  = "bytes waiting in SQLite"
	DoneRedis     = "bytes finished in Redis"
	DoneStore     = "bytes finished in SQLite"

	ParkedKiB = "KiB per long-poll"
	ParkedN   = "long-polls"
	WakeP50   = "wake p50 ms"
	WakeP99   = "wake p99 ms"

	AloneP50  = "alone p50 ms"
	AloneP99  = "alone p99 ms"
	BesideP50 = "beside p50 ms"
	BesideP99 = "beside p99 ms"
)

// order of the rows of a table: what is asked for first comes first.
var order = []string{
	Rate, RateEmpty, RateFull, RateRatio, Fill, Filled, Drain, ParkedN, ParkedKiB, WakeP50, WakeP99, AloneP50, AloneP99, BesideP50, BesideP99,
	TotalP50, TotalP99, SubmitP50, SubmitP99, Lag, Restart, CPUSystem, CPU, IdleCPU, Rest, Peak,
}

// rank is a key's place; those that are not named come last.
func rank(key string) int {
	if at := slices.Index(order, key); at >= 0 {
		return at
	}
	for i, prefix := range order {
		if strings.HasSuffix(prefix, ".") && strings.HasPrefix(key, prefix) {
			return i
		}
	}
	return len(order)
}
