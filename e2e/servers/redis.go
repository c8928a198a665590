package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a private redis-server.
type Redis struct {
	seat
	dir, log string
	port     int
	args     []string
}

// NewRedis starts a server that keeps an append-only file, fsynced every
// second, and evicts nothing; args are put behind and win.
func NewRedis(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	need(tb, "redis-server")
	r, err := newRedis(tb.TempDir(), args)
	if err == nil {
		tb.Cleanup(func() {
			if err := r.Kill(); err != nil {
				tb.Error(err)
			}
		})
		err = r.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func newRedis(dir string, args []string) (*Redis, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return &Redis{dir: dir, log: filepath.Join(dir, "log"), port: port, args: args}, nil
}

// Start starts it on its data and waits until it answers.
func (r *Redis) Start() error {
	data := filepath.Join(r.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	argv := append([]string{
		"redis-server", "--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", data,
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		// Its title would overwrite the environment that marks it as ours.
		"--set-proc-title", "no", "--daemonize", "no",
	}, r.args...)
	return r.launch(argv)
}

func (r *Redis) launch(argv []string) error {
	p, err := launch("redis-"+strconv.Itoa(r.port), r.log, os.Environ(), argv...) //nolint:forbidigo // where a user has the programs
	if err != nil {
		return err
	}
	r.set(p)
	err = eventually(startLimit, "redis", func() error {
		if !p.running() {
			return nil
		}
		return ask(r.port, "PING\r\n", "+PONG")
	})
	if err == nil && !p.running() {
		err = errors.New("it ended")
	}
	if err != nil {
		return fmt.Errorf("start Redis: %w\n%s", err, tail(r.log))
	}
	return nil
}

// Kill is kill -9. Everything that was written, fsynced or not, is in the
// hands of the kernel then: see [Redis.Tear] for a loss of power.
func (r *Redis) Kill() error { return r.kill() }

// Forget removes the data of a server that does not run.
func (r *Redis) Forget() error { return os.RemoveAll(filepath.Join(r.dir, "data")) }

// Tear is a loss of power: the server is gone, and with it the last bytes of
// its append-only file, that part which the system had not put on disk. It
// says how many that were. The file then ends in the middle of a command, as
// it would.
func (r *Redis) Tear(keep int64) (lost int64, err error) {
	if err := r.Kill(); err != nil {
		return 0, err
	}
	file, size, err := r.journal()
	if err != nil {
		return 0, err
	}
	keep = min(keep, size)
	return size - keep, os.Truncate(file, keep)
}

// Written is the size of the append-only file's growing part.
func (r *Redis) Written() (int64, error) {
	_, size, err := r.journal()
	return size, err
}

func (r *Redis) journal() (file string, size int64, err error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "data", "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return "", 0, fmt.Errorf("no append-only file (%w)", err)
	}
	file = files[len(files)-1]
	info, err := os.Stat(file)
	if err != nil {
		return "", 0, err
	}
	return file, info.Size(), nil
}

// Addr is where it listens.
func (r *Redis) Addr() string { return addr(r.port) }

// URL is the one for TASKGATE_REDIS_URL.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Do runs a command, as redis-cli would.
func (r *Redis) Do(args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), Protocol: 2, DisableIdentity: true})
	defer c.Close()
	out, err := c.Do(ctx, args...).Result()
	if err != nil {
		return "", fmt.Errorf("%v: %w", args[0], err)
	}
	return fmt.Sprint(out), nil
}

// Follow makes it a replica and waits until it has everything.
func (r *Redis) Follow(primary *Redis) error {
	if _, err := r.Do("REPLICAOF", "127.0.0.1", primary.port); err != nil {
		return err
	}
	return eventually(stopLimit, "replica", func() error {
		text, err := r.Do("INFO", "replication")
		if err == nil && !strings.Contains(text, "master_link_status:up") {
			err = errors.New("its link is not up")
		}
		return err
	})
}

// Sentinels watch over a primary and its replicas.
type Sentinels struct {
	name  string
	nodes []*Redis
}

// NewSentinels starts three sentinels that promote a replica when the primary
// is away for downAfter.
func NewSentinels(tb testing.TB, primary *Redis, downAfter time.Duration) *Sentinels {
	tb.Helper()
	const quorum, many = 2, 3
	s := &Sentinels{name: "tasks"}
	for range many {
		dir := tb.TempDir()
		r, err := newRedis(dir, nil)
		if err != nil {
			tb.Fatal(err)
		}
		conf := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nset-proc-title no\nsentinel monitor %s 127.0.0.1 %d %d\n"+
			"sentinel down-after-milliseconds %s %d\nsentinel failover-timeout %s %d\n", r.port, dir, s.name, primary.port, quorum,
			s.name, downAfter.Milliseconds(), s.name, (10 * downAfter).Milliseconds())
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := r.Kill(); err != nil {
				tb.Error(err)
			}
		})
		if err := r.launch([]string{"redis-server", conf, "--sentinel"}); err != nil {
			tb.Fatal(err)
		}
		s.nodes = append(s.nodes, r)
	}
	return s
}

// Know waits until every sentinel knows the others and so many replicas.
func (s *Sentinels) Know(replicas int) error {
	return eventually(startLimit, "sentinels", func() error {
		for _, n := range s.nodes {
			text, err := n.Do("INFO", "sentinel")
			if err != nil {
				return err
			}
			if !strings.Contains(text, "status=ok,address=") ||
				!strings.Contains(text, fmt.Sprintf("slaves=%d,sentinels=%d", replicas, len(s.nodes))) {
				return errors.New(strings.TrimSpace(text))
			}
		}
		return nil
	})
}

// URL is the one for TASKGATE_REDIS_URL.
func (s *Sentinels) URL() string {
	query := url.Values{"master_name": {s.name}}
	for _, n := range s.nodes[1:] {
		query.Add("addr", n.Addr())
	}
	return "redis://" + s.nodes[0].Addr() + "/0?" + query.Encode()
}

// Primary is the address that they give to clients.
func (s *Sentinels) Primary() (string, error) {
	out, err := s.nodes[0].Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name)
	if err != nil {
		return "", err
	}
	host, port, _ := strings.Cut(strings.Trim(out, "[]"), " ")
	return host + ":" + port, nil
}
