package proc_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/taskgate/taskgate/bench/internal/proc"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 7 1 1 0 -1 4194560 1000 2000 3 4 150 50 20 5 20 0 12 0 987654 1000000 2500 18446744073709551615"
	for _, c := range []struct {
		line string
		want proc.Stat
	}{
		{"42 (beam.smp)" + rest, proc.Stat{PID: 42, PPID: 7, Comm: "beam.smp", CPU: 2250 * time.Millisecond}},
		{"42 (a) b (c))" + rest + "\n", proc.Stat{PID: 42, PPID: 7, Comm: "a) b (c)", CPU: 2250 * time.Millisecond}},
		{"42 ()" + rest, proc.Stat{PID: 42, PPID: 7, CPU: 2250 * time.Millisecond}},
	} {
		got, err := proc.ParseStat([]byte(c.line))
		if err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v", c.line, got, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (x", "x (y)" + rest, "42 (x) S 7 1", "42 (x) S seven" + rest} {
		if got, err := proc.ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

// fake makes a /proc of these processes.
func fake(t *testing.T, files map[string]string) proc.FS {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return proc.FS(dir)
}

func line(pid, ppid int, comm string, ticks int) string {
	return strconv.Itoa(pid) + " (" + comm + ") S " + strconv.Itoa(ppid) +
		" 1 1 0 -1 0 0 0 0 0 " + strconv.Itoa(ticks) + " 0 0 0 20 0 1 0 5 6 7\n"
}

func TestTrees(t *testing.T) {
	t.Parallel()
	fs := fake(t, map[string]string{
		"1/stat": line(1, 0, "init", 1), "10/stat": line(10, 1, "services", 2),
		"11/stat": line(11, 10, "rabbit (sh)", 4), "12/stat": line(12, 11, "beam.smp", 8),
		"13/stat": line(13, 10, "redis-server", 16), "20/stat": line(20, 1, "other", 32),
		"self/stat": line(20, 1, "other", 32), "version": "Linux",
		"13/status":       "Name:\tredis-server\nVmHWM:\t    9000 kB\nVmRSS:\t    7000 kB\n",
		"11/smaps_rollup": "7f-8f ---p 0 0 0 [rollup]\nRss:  900 kB\nPss:  100 kB\n",
		"12/smaps_rollup": "7f-8f ---p 0 0 0 [rollup]\nRss: 9000 kB\nPss: 8000 kB\n",
	})
	table, err := fs.Table()
	if err != nil || len(table) != 6 {
		t.Fatalf("got %v, %v", table, err)
	}
	redis := func(s proc.Stat) bool { return s.Comm == "redis-server" }
	rabbit := table.Tree(10, redis)
	if got := pids(rabbit); !slices.Equal(got, []int{10, 11, 12}) {
		t.Errorf("the tree is %v", got)
	}
	if got := proc.CPU(rabbit); got != 140*time.Millisecond {
		t.Errorf("its CPU is %v", got)
	}
	if got := fs.Memory(table.Tree(11, nil)); got != 8100<<10 {
		t.Errorf("two processes hold %d", got)
	}
	if got := fs.Memory(table.Tree(13, nil)); got != 7000<<10 {
		t.Errorf("one process holds %d", got)
	}
	if got := table.Tree(99, nil); got != nil {
		t.Errorf("no such process has the tree %v", got)
	}
}

func pids(stats []proc.Stat) []int {
	var out []int
	for _, s := range stats {
		out = append(out, s.PID)
	}
	slices.Sort(out)
	return out
}

// The real /proc knows this process, what it works and what it holds.
func TestSelf(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no /proc here")
	}
	before := self(t)
	for deadline := time.Now().Add(10 * time.Second); proc.CPU(self(t)) == proc.CPU(before); {
		if time.Now().After(deadline) {
			t.Fatal("10 s of work cost no CPU")
		}
	}
	if got := proc.Default.Memory(before); got < 1<<20 {
		t.Errorf("this process holds %d bytes", got)
	}
}

func self(t *testing.T) []proc.Stat {
	t.Helper()
	table, err := proc.Default.Table()
	if err != nil {
		t.Fatal(err)
	}
	tree := table.Tree(os.Getpid(), func(s proc.Stat) bool { return s.PID != os.Getpid() })
	if len(tree) != 1 {
		t.Fatalf("this process is %v", tree)
	}
	return tree
}
