package rig

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/bench/internal/proc"
	"github.com/taskgate/taskgate/bench/internal/spawn"
)

// Names of the groups of servers.
const (
	RabbitMQ   = "RabbitMQ"
	Redis      = "Redis"
	PostgreSQL = "PostgreSQL"
)

const redisComm = "redis-server"

// services starts private servers by the tests' own script. unused in place of a URL has it leave
// that server out.
func (run *Run) services(ctx context.Context, rabbit bool) error {
	env := append(slices.Clone(run.rig.Environ), "TMPDIR="+run.dir, "TASKGATE_SERVICES_FROM=installed apt")
	if !rabbit {
		env = append(env, "TASKGATE_TEST_AMQP_URL=unused")
	}
	p, urls, err := run.start(ctx, spawn.Spec{
		Name: "scripts/services", Path: filepath.Join(run.rig.Root, "scripts", "services"),
		Args: []string{"run", "--", run.rig.tool("bench"), "hold"}, Env: env,
	}, after("hold "))
	if err != nil {
		return err
	}
	amqp, redis, ok := strings.Cut(urls, " ")
	if !ok {
		return fmt.Errorf("scripts/services says %q", urls)
	}
	run.Redis = redis
	if rabbit {
		run.AMQP = amqp
	}
	run.watchServices(p.PID(), rabbit)
	return nil
}

// Hold is the command that scripts/services runs: it says where the servers are, and keeps them
// for as long as its input is open. So they go when the bench does, however it ends.
func Hold(amqp, redis string, in io.Reader, out io.Writer) {
	_, _ = fmt.Fprintln(out, "hold", amqp, redis)
	_, _ = in.Read(make([]byte, 1))
}

// watchServices makes groups of the script's children; the script itself and what it holds are no
// part of any system.
func (run *Run) watchServices(script int, rabbit bool) {
	table, err := proc.Default.Table()
	if err != nil {
		return
	}
	for _, s := range table {
		if s.PPID != script {
			continue
		}
		switch {
		case s.Comm == redisComm:
			run.watch(group{name: Redis, root: s.PID})
		case s.Comm == "bench":
		case rabbit && s.Comm != "epmd": // the name server only answers at the start
			run.watch(group{name: RabbitMQ, root: s.PID})
		}
	}
	run.onStop(func() {
		run.mu.Lock()
		defer run.mu.Unlock()
		run.groups = slices.DeleteFunc(run.groups, func(g group) bool { return g.name == Redis || g.name == RabbitMQ })
	})
}

// RedisBytes is what Redis holds.
func (run *Run) RedisBytes(ctx context.Context) (int64, error) {
	opt, err := redis.ParseURL(run.Redis)
	if err != nil {
		return 0, err
	}
	c := redis.NewClient(opt)
	defer func() { _ = c.Close() }()
	text, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("no used_memory in %q", text)
}

// Command is what Redis has done of one kind of command.
type Command struct{ Calls, Micros float64 }

// RedisCommands reads what Redis has done since its start. What a script calls counts by itself,
// and within the script's time.
func (run *Run) RedisCommands(ctx context.Context) map[string]Command {
	out := map[string]Command{}
	opt, err := redis.ParseURL(run.Redis)
	if err != nil {
		return out
	}
	c := redis.NewClient(opt)
	defer func() { _ = c.Close() }()
	for line := range strings.Lines(c.Info(ctx, "commandstats").Val()) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		calls, rest, _ := strings.Cut(rest, ",usec=")
		micros, _, _ := strings.Cut(rest, ",")
		var k Command
		k.Calls, _ = strconv.ParseFloat(calls, 64)
		k.Micros, _ = strconv.ParseFloat(micros, 64)
		out[name] = k
	}
	return out
}

// RabbitDisk is what RabbitMQ keeps on the disk, in bytes.
func (run *Run) RabbitDisk() int64 {
	dirs, _ := filepath.Glob(filepath.Join(run.dir, "taskgate-services.*", "rabbitmq.*", "mnesia"))
	var sum int64
	for _, dir := range dirs {
		sum += size(dir)
	}
	return sum
}

// size is the sum of the files below dir.
func size(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // files come and go
		}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// postgresSettings: durable as the others are. The documentation's advice for memory is a quarter
// of the machine's, far more than this load touches; the log may grow so that no checkpoint comes
// within a run.
var postgresSettings = map[string]string{
	"listen_addresses": "127.0.0.1", "shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "120",
	"synchronous_commit": "on", "fsync": "on",
}

// postgres starts a private cluster.
func (run *Run) postgres(ctx context.Context) error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	who, err := postgresUser()
	if err != nil {
		return err
	}
	dir := filepath.Join(run.dir, "postgres")
	if err := prepareDir(dir, run.rig.Work, run.dir, who); err != nil {
		return err
	}
	//nolint:gosec // installed binaries
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", dir, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	args := []string{"-D", dir, "-p", strconv.Itoa(port), "-k", dir}
	for name, value := range postgresSettings {
		args = append(args, "-c", name+"="+value)
	}
	_, _, err = run.part(ctx, spawn.Spec{
		Name: PostgreSQL, Env: run.rig.Environ, Path: filepath.Join(bin, "postgres"), Args: args, Dir: dir, User: who, Ask: syscall.SIGINT, // a fast shutdown
	}, func(line string) (string, bool) { return "", strings.Contains(line, "ready to accept connections") })
	run.Postgres = fmt.Sprintf("postgres://bench@127.0.0.1:%d/postgres?sslmode=disable", port)
	return err
}

func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return "", fmt.Errorf("%w: PostgreSQL (Debian: postgresql)", ErrMissing)
	}
	return filepath.Dir(slices.Max(found)), nil
}

// postgresUser is who runs PostgreSQL, which refuses to be root; nil: ourselves.
func postgresUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // syscall: nil means ourselves
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: the user postgres: %w", ErrMissing, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// prepareDir makes a folder that its owner can reach.
func prepareDir(dir, work, runDir string, who *syscall.Credential) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if who == nil {
		return nil
	}
	for _, d := range []string{work, runDir} {
		if err := os.Chmod(d, 0o711); err != nil { //nolint:gosec // to be passed through
			return err
		}
	}
	return os.Chown(dir, int(who.Uid), int(who.Gid))
}
