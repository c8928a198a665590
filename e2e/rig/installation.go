package rig

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// AdminKey is the key of every installation.
const AdminKey = "tg_rig_0123456789abcdef0123456789"

// Grace is what the programs get for their drain, StopLimit what they may
// take in all: closing connections comes on top (see docs/operations.md).
const (
	Grace     = 30 * time.Second
	StopLimit = Grace + 20*time.Second
)

// Options of an [Installation]. With servers it is made of gateways and
// dispatchers; without, of one "taskgate serve" on a folder of its own.
type Options struct {
	Binaries string // folder of the programs, see [Build]
	Dir      string // for data and logs

	AMQP, Redis string // both, or none for the embedded store

	Gateways, Dispatchers int // of an installation on servers; 0 means 1

	Env           []string // more settings, of all
	GatewayEnv    []string
	DispatcherEnv []string
	Data          string // the embedded store's folder; default: one below Dir
}

// Installation is a whole Taskgate whose processes can be hurt.
type Installation struct {
	Options

	Namespace string

	// Gateways have the API. Dispatchers deliver. On the embedded store both
	// are the same single process.
	Gateways, Dispatchers []*Process
}

// Install makes the processes and starts them, dispatchers first.
func Install(ctx context.Context, opt Options) (*Installation, error) {
	in := &Installation{Options: opt, Namespace: "rig" + strings.ToLower(rand.Text()[:12])}
	if err := in.make(); err != nil {
		return nil, err
	}
	if err := in.Start(ctx); err != nil {
		return nil, errors.Join(err, in.Stop())
	}
	return in, nil
}

// Embedded tells whether it is one process on its own store.
func (in *Installation) Embedded() bool { return in.AMQP == "" }

func (in *Installation) make() error {
	if in.Embedded() {
		if in.Data == "" {
			in.Data = filepath.Join(in.Dir, "data")
		}
		p, err := in.process("taskgate", 1, append([]string{"TASKGATE_DATA=" + in.Data}, append(in.GatewayEnv, in.DispatcherEnv...)...), "serve")
		in.Gateways, in.Dispatchers = []*Process{p}, []*Process{p}
		return err
	}
	for i := range max(1, in.Options.Dispatchers) {
		p, err := in.process("dispatcher", i+1, in.DispatcherEnv)
		if err != nil {
			return err
		}
		in.Dispatchers = append(in.Dispatchers, p)
	}
	for i := range max(1, in.Options.Gateways) {
		p, err := in.process("gateway", i+1, in.GatewayEnv)
		if err != nil {
			return err
		}
		in.Gateways = append(in.Gateways, p)
	}
	return nil
}

// process makes one; its addresses stay the same over restarts.
func (in *Installation) process(bin string, number int, env []string, args ...string) (*Process, error) {
	admin, err := Address()
	if err != nil {
		return nil, err
	}
	all := append(in.settings(), "TASKGATE_ADMIN_LISTEN="+admin)
	if bin != "dispatcher" {
		listen, err := Address()
		if err != nil {
			return nil, err
		}
		all = append(all, "TASKGATE_LISTEN="+listen)
	}
	return &Process{Spec: Spec{
		Name: fmt.Sprintf("%s %d", bin, number), Path: filepath.Join(in.Binaries, bin), Args: args,
		Env: append(append(all, in.Env...), env...), Logs: in.Dir,
	}}, nil
}

// settings are those of every process.
func (in *Installation) settings() []string {
	env := []string{
		"TASKGATE_ADMIN_KEY=" + AdminKey, "TASKGATE_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"TASKGATE_EGRESS_ALLOW=127.0.0.0/8", "TASKGATE_EGRESS_PORTS=any", "TASKGATE_SHUTDOWN_GRACE=" + Grace.String(),
	}
	if in.Embedded() {
		return env
	}
	return append(env, "TASKGATE_NAMESPACE="+in.Namespace, "TASKGATE_AMQP_URL="+in.AMQP, "TASKGATE_REDIS_URL="+in.Redis)
}

// Processes are all of them, each once.
func (in *Installation) Processes() []*Process {
	if in.Embedded() {
		return in.Gateways
	}
	return append(append([]*Process(nil), in.Dispatchers...), in.Gateways...)
}

// Bases are the URLs of the API, one of each gateway.
func (in *Installation) Bases() (out []string) {
	for _, p := range in.Gateways {
		out = append(out, p.API())
	}
	return out
}

// Start starts what does not run.
func (in *Installation) Start(ctx context.Context) error {
	for _, p := range in.Processes() {
		if p.Running() {
			continue
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends what runs, gateways first.
func (in *Installation) Stop() error {
	var errs []error
	all := in.Processes()
	for i := range all {
		p := all[len(all)-1-i]
		if !p.Running() {
			continue
		}
		if _, err := p.Stop(StopLimit); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// KeepLogs copies the logs to a folder that outlives the test and returns it.
func (in *Installation) KeepLogs() (string, error) {
	to, err := os.MkdirTemp("", "taskgate-logs-")
	if err != nil {
		return "", err
	}
	logs, err := filepath.Glob(filepath.Join(in.Dir, "*.log"))
	if err != nil {
		return "", err
	}
	for _, file := range logs {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), b, 0o600); err != nil {
			return "", err
		}
	}
	return to, nil
}
