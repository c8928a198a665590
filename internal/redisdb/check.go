package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// oldest is the oldest major version that works.
const oldest = 7

// ErrUnfit says that a server cannot be used as it is set up. What it wraps
// says what to change.
var ErrUnfit = errors.New("redis cannot be used as it is")

// Check reaches the server and judges it. Faults that make it unusable are
// errors that wrap [ErrUnfit], settings that endanger what is stored are
// warnings for a log. What the server's access rules forbid to ask is a
// warning.
func (db *DB) Check(ctx context.Context) (warnings []string, err error) {
	var all strings.Builder
	// Not INFO with several sections: that came with 7.0, which is to be found out.
	for _, section := range []string{"server", "persistence", "memory", "replication", "cluster"} {
		text, err := db.client.Info(ctx, section).Result()
		if redis.HasErrorPrefix(err, "NOPERM") {
			return []string{"Redis does not let us ask for its settings (INFO): version, append-only file and eviction are not checked"}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask Redis for its %s settings: %w", section, err)
		}
		all.WriteString(text)
	}
	warnings, err = judge(all.String())
	if err != nil {
		return warnings, err
	}
	// Hosted servers often forbid CONFIG; there it is their own affair.
	if sync, err := db.client.ConfigGet(ctx, "appendfsync").Result(); err == nil && sync["appendfsync"] == "no" {
		warnings = append(warnings, "Redis leaves it to the system when its append-only file reaches the disk (appendfsync no): "+
			"a crash of the machine may lose half a minute of states and results; set it to everysec or always")
	}
	return warnings, nil
}

// facts are what INFO said.
type facts map[string]string

func judge(info string) (warnings []string, err error) {
	f := facts(infoFields(info))
	if err := f.unfit(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if f["aof_enabled"] != "1" {
		warnings = append(warnings, "Redis keeps no append-only file (appendonly no): states and results since its "+
			"last snapshot are lost when it stops; tasks are not, the broker has them")
	}
	if status := f["aof_last_write_status"]; status != "" && status != "ok" {
		warnings = append(warnings, "Redis cannot write its append-only file (aof_last_write_status "+status+"): look at its disk")
	}
	if f.evicts() {
		warnings = append(warnings, "Redis would evict records if it had a limit of memory (maxmemory-policy "+
			f["maxmemory_policy"]+"): set it to noeviction")
	}
	return warnings, nil
}

func (f facts) evicts() bool {
	policy := f["maxmemory_policy"]
	return policy != "" && policy != "noeviction"
}

func (f facts) unfit() error {
	version := f["redis_version"]
	majorText, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(majorText)
	switch limit := f["maxmemory"]; {
	case err != nil || major < oldest:
		return fmt.Errorf("version %q is too old: %d.0 or later is needed", version, oldest)
	case f["cluster_enabled"] == "1":
		return errors.New("it runs in cluster mode, which is not supported: give one server, or sentinels")
	case f["role"] == "slave":
		return errors.New("it is a replica, which takes no writes: give the address of its primary")
	case f.evicts() && limit != "" && limit != "0":
		return fmt.Errorf("with maxmemory-policy %s it silently evicts records when it is full: "+
			"set maxmemory-policy to noeviction; it then refuses writes, and tasks are refused with 503", f["maxmemory_policy"])
	}
	return nil
}
