package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Rabbit is a private RabbitMQ node, of Debian's package or another that lies
// in PATH.
type Rabbit struct {
	seat
	name       string // of the Erlang node
	dir, log   string
	port, dist int
	cluster    *cluster
}

// cluster is what its nodes share.
type cluster struct {
	home string // with the cookie
	epmd int
	// members are the names of the nodes; one alone forms no cluster.
	members []string
	names   *process // the Erlang name server
}

// debianRabbit is Debian's: its wrapper in PATH changes to another user and to
// that user's folders.
const debianRabbit = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// NewRabbit starts one node.
func NewRabbit(tb testing.TB) *Rabbit {
	tb.Helper()
	return NewRabbits(tb, 1)[0]
}

// NewRabbits starts a cluster of so many nodes, each of them kept small.
func NewRabbits(tb testing.TB, many int) []*Rabbit {
	tb.Helper()
	need(tb, "rabbitmq-server", debianRabbit)
	nodes, err := startRabbits(tb, tb.TempDir(), many)
	if err != nil {
		tb.Fatal(err)
	}
	return nodes
}

func startRabbits(tb testing.TB, dir string, many int) ([]*Rabbit, error) {
	tb.Helper()
	c := &cluster{home: dir}
	var err error
	if c.epmd, err = freePort(); err != nil {
		return nil, err
	}
	var nodes []*Rabbit
	for range many {
		n, err := newRabbit(c)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		c.members = append(c.members, n.name)
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	tb.Cleanup(func() { errorIf(tb, c.names.kill()) })
	for _, n := range nodes {
		tb.Cleanup(func() { errorIf(tb, n.Kill()) })
		if err := n.launch(); err != nil {
			return nil, err
		}
	}
	for _, n := range nodes {
		if err := n.await(); err != nil {
			return nil, err
		}
	}
	if many > 1 {
		err = nodes[0].Running(many)
	}
	return nodes, err
}

func errorIf(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Error(err)
	}
}

// start has a name server of our own: a shared one would have to be left
// behind. And a cookie, which nodes that begin together would each make.
func (c *cluster) start() error {
	if err := os.WriteFile(filepath.Join(c.home, ".erlang.cookie"), []byte("TASKGATETEST"), 0o400); err != nil {
		return err
	}
	bin, err := program("epmd", "/usr/lib/erlang/erts-*/bin/epmd", "/usr/local/lib/erlang/erts-*/bin/epmd")
	if err != nil {
		return err
	}
	c.names, err = launch("epmd-"+strconv.Itoa(c.epmd), filepath.Join(c.home, "epmd.log"), c.env(), bin)
	return err
}

func (c *cluster) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), //nolint:forbidigo // where a user has the programs
		"HOME=" + c.home, "ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT=" + strconv.Itoa(c.epmd), "ERL_CRASH_DUMP_SECONDS=0", "LANG=C.UTF-8",
	}
}

func newRabbit(c *cluster) (*Rabbit, error) {
	r := &Rabbit{cluster: c}
	var err error
	if r.port, err = freePort(); err != nil {
		return nil, err
	}
	if r.dist, err = freePort(); err != nil {
		return nil, err
	}
	r.name = fmt.Sprintf("tgtest-%d@localhost", r.port)
	r.dir = filepath.Join(c.home, strconv.Itoa(r.port))
	r.log = filepath.Join(r.dir, "out")
	return r, os.MkdirAll(r.dir, 0o700)
}

// configure writes what a node reads at its start.
func (r *Rabbit) configure() error {
	conf := fmt.Sprintf("listeners.tcp.1 = %s\ndisk_free_limit.absolute = 16MB\nraft.wal_max_size_bytes = 33554432\n"+
		"log.console = false\nlog.file.level = warning\n", addr(r.port))
	if len(r.cluster.members) > 1 {
		conf += "cluster_formation.peer_discovery_backend = classic_config\n"
		var more strings.Builder
		for i, m := range r.cluster.members {
			fmt.Fprintf(&more, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, m)
		}
		conf += more.String()
	}
	for name, text := range map[string]string{
		"rabbitmq.conf": conf, "enabled_plugins": "[].", "rabbitmq-env.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rabbit) env() []string {
	in := func(name string) string { return filepath.Join(r.dir, name) }
	return append(r.cluster.env(),
		"RABBITMQ_NODENAME="+r.name, "RABBITMQ_DIST_PORT="+strconv.Itoa(r.dist),
		"RABBITMQ_CONF_ENV_FILE="+in("rabbitmq-env.conf"), "RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+in("none.config"), "RABBITMQ_ENABLED_PLUGINS_FILE="+in("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+in("mnesia"), "RABBITMQ_LOG_BASE="+in("log"), "RABBITMQ_PID_FILE="+in("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CTL_ERL_ARGS=+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
	)
}

// Start starts it on its data and waits until it takes connections.
func (r *Rabbit) Start() error {
	if err := r.launch(); err != nil {
		return err
	}
	return r.await()
}

func (r *Rabbit) launch() error {
	if err := r.configure(); err != nil {
		return err
	}
	bin, err := program("rabbitmq-server", debianRabbit)
	if err != nil {
		return err
	}
	p, err := launch(r.name, r.log, r.env(), bin)
	if err != nil {
		return err
	}
	r.set(p)
	return nil
}

// await waits for a whole answer to the protocol's header: its boot is over.
func (r *Rabbit) await() error {
	p := r.get()
	err := eventually(startLimit, "rabbitmq", func() error {
		if !p.running() {
			return nil
		}
		return ask(r.port, "AMQP\x00\x00\x09\x01", "\x01")
	})
	if err == nil && !p.running() {
		err = errors.New("it ended")
	}
	if err != nil {
		return fmt.Errorf("start RabbitMQ: %w\n%s", err, tail(r.log))
	}
	return nil
}

// Rooted is how long a queue must have been there before a kill -9 of its only
// node leaves it whole. RabbitMQ (3.10.8, seen) writes the table of its queues
// down after half a second without a change; before, a queue whose node dies
// begins again without its messages, and without a leader.
const Rooted = 2 * time.Second

// Kill is kill -9 of the node.
func (r *Rabbit) Kill() error { return r.kill() }

// Addr is where it listens.
func (r *Rabbit) Addr() string { return addr(r.port) }

// URL is the one for TASKGATE_AMQP_URL.
func (r *Rabbit) URL() string { return "amqp://guest:guest@" + r.Addr() + "/" }

// Name is the Erlang node's.
func (r *Rabbit) Name() string { return r.name }

// Ctl runs rabbitmqctl for this node.
func (r *Rabbit) Ctl(args ...string) (string, error) { return r.tool("rabbitmqctl", args...) }

// Queues runs rabbitmq-queues for this node.
func (r *Rabbit) Queues(args ...string) (string, error) { return r.tool("rabbitmq-queues", args...) }

func (r *Rabbit) tool(name string, args ...string) (string, error) {
	bin, err := program(name, "/usr/lib/rabbitmq/bin/"+name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-q"}, args...)...)
	cmd.Env = r.env()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said.String())
	}
	return out.String(), nil
}

// Running waits until so many nodes of the cluster run.
func (r *Rabbit) Running(many int) error {
	want := strconv.Itoa(many)
	return eventually(startLimit, "cluster", func() error {
		out, err := r.Ctl("eval", "length(rabbit_nodes:all_running()).")
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("%s nodes run", strings.TrimSpace(out))
		}
		return err
	})
}

// Leaders tells of every queue which node leads it.
func (r *Rabbit) Leaders() (map[string]string, error) {
	out, err := r.Ctl("list_queues", "--no-table-headers", "name", "leader")
	if err != nil {
		return nil, err
	}
	leaders := make(map[string]string)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			leaders[f[0]] = f[1]
		}
	}
	return leaders, nil
}

// Waiting tells of every queue how many messages it has, also those that are
// with workers or on their way out.
func (r *Rabbit) Waiting() (map[string]int, error) {
	out, err := r.Ctl("list_queues", "--no-table-headers", "name", "messages")
	if err != nil {
		return nil, err
	}
	waiting := make(map[string]int)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.Atoi(f[1]); err == nil {
			waiting[f[0]] = n
		}
	}
	return waiting, nil
}

// Alarm sets or lifts the memory alarm: the node stops reading from who
// publishes.
func (r *Rabbit) Alarm(on bool) error {
	mark := "0.6"
	if on {
		mark = "0.00001"
	}
	if _, err := r.Ctl("set_vm_memory_high_watermark", mark); err != nil {
		return err
	}
	return eventually(stopLimit, "alarm", func() error {
		out, err := r.Ctl("eval", "length(rabbit_alarm:get_alarms()).")
		if err == nil && (strings.TrimSpace(out) != "0") != on {
			err = fmt.Errorf("%s alarms", strings.TrimSpace(out))
		}
		return err
	})
}

// settle is how long a new leader may take to be elected.
const settle = 60 * time.Second

// Leader waits for a queue's leader and says which of nodes it is.
func Leader(nodes []*Rabbit, queue string) (*Rabbit, error) {
	var found *Rabbit
	err := eventually(settle, "leader of "+queue, func() error {
		for _, n := range nodes {
			if n.get() == nil {
				continue
			}
			leaders, err := n.Leaders()
			if err != nil {
				return err
			}
			for _, m := range nodes {
				if m.name == leaders[queue] {
					found = m
					return nil
				}
			}
			return fmt.Errorf("%q leads", leaders[queue])
		}
		return errors.New("no node runs")
	})
	return found, err
}
