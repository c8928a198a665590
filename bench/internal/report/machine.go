package report

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
)

// Machine is where a run took place, and with what.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // average when the run began
	// Fsync is the median time (ms) to append 512 bytes to a file and sync it, where the data is.
	Fsync   float64           `json:"fsync_ms"`
	Go      string            `json:"go"`
	Commit  string            `json:"commit"`
	Modules map[string]string `json:"modules"`
	Servers map[string]string `json:"servers"`
}

// Look describes this machine. work is the folder that the data will be in, tools the bench's
// binaries, root the repository.
func Look(root, tools, work string) Machine {
	m := Machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: field("/proc/meminfo", "MemTotal"),
		Kernel: line("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Commit: commit(root), Modules: modules(tools),
	}
	if f := strings.Fields(line("/proc/loadavg")); len(f) > 0 {
		m.Load = f[0]
	}
	m.Fsync, _ = fsync(work)
	return m
}

func line(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return string(first)
}

// field is the first value of "name : value".
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func commit(root string) string {
	run := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output() //nolint:gosec,noctx // short
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	c := run("rev-parse", "--short=12", "HEAD")
	if run("status", "--porcelain", "--untracked-files=no") != "" {
		c += " with changes"
	}
	return c
}

// wanted are the libraries whose versions matter.
var wanted = []string{
	"github.com/labstack/echo/v4", "github.com/rabbitmq/amqp091-go", "github.com/redis/go-redis/v9",
	"github.com/hibiken/asynq", "github.com/riverqueue/river", "github.com/jackc/pgx/v5",
}

func modules(tools string) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"chain", "peer"} {
		info, err := buildinfo.ReadFile(filepath.Join(tools, name))
		if err != nil {
			continue
		}
		for _, d := range info.Deps {
			if slices.Contains(wanted, d.Path) {
				out[d.Path] = d.Version
			}
		}
	}
	return out
}

const syncs = 200

// fsync measures the disk: every system here that promises durability waits for it.
func fsync(dir string) (float64, error) {
	f, err := os.CreateTemp(dir, "fsync.")
	if err != nil {
		return 0, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	block := make([]byte, 512)
	var times []time.Duration
	for range syncs {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begun))
	}
	return stats.Summarize(times).P50, nil
}
