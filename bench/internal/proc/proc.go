// Package proc reads what processes cost from Linux's /proc.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc/PID/stat: USER_HZ, 100 on every architecture of Linux.
const tick = 10 * time.Millisecond

// Stat is what /proc/PID/stat says of a process.
type Stat struct {
	PID, PPID int
	Comm      string
	// CPU is user and system time of all its threads, and of the children that it has waited
	// for: processes that come and go inside a tree are not lost.
	CPU time.Duration
}

var errStat = errors.New("not a line of /proc/PID/stat")

// Fields of /proc/PID/stat after the command's name, from 0 (proc(5) counts them from 3).
const (
	fieldPPID   = 4 - 3
	fieldUtime  = 14 - 3
	fieldCstime = 17 - 3
)

// ParseStat reads a line of /proc/PID/stat. The command's name may hold spaces and parentheses.
func ParseStat(line []byte) (Stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return Stat{}, errStat
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil {
		return Stat{}, errStat
	}
	fields := bytes.Fields(line[end+1:])
	if len(fields) <= fieldCstime {
		return Stat{}, errStat
	}
	s := Stat{PID: pid, Comm: string(line[open+1 : end])}
	if s.PPID, err = strconv.Atoi(string(fields[fieldPPID])); err != nil {
		return Stat{}, errStat
	}
	for _, f := range fields[fieldUtime : fieldCstime+1] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return Stat{}, errStat
		}
		s.CPU += time.Duration(n) * tick
	}
	return s, nil
}

// parseKiB reads "Name:   123 kB" from /proc/PID/status or smaps_rollup; ok is false when the
// name is missing (as VmRSS is for a kernel thread).
func parseKiB(text []byte, name string) (kib int64, ok bool) {
	for line := range bytes.Lines(text) {
		rest, found := bytes.CutPrefix(line, []byte(name+":"))
		if !found {
			continue
		}
		fields := bytes.Fields(rest)
		if len(fields) == 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(string(fields[0]), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// FS is a mounted /proc.
type FS string

// Default is where Linux mounts it.
const Default FS = "/proc"

func (fs FS) file(pid int, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(fs), strconv.Itoa(pid), name))
}

// Table is every process, by id.
type Table map[int]Stat

// Table reads all processes. Those that end meanwhile are left out.
func (fs FS) Table() (Table, error) {
	entries, err := os.ReadDir(string(fs))
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	t := Table{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := fs.file(pid, "stat")
		if err != nil {
			continue
		}
		if s, err := ParseStat(line); err == nil {
			t[pid] = s
		}
	}
	return t, nil
}

// Tree is root and everything below it, without the trees of those that skip names.
func (t Table) Tree(root int, skip func(Stat) bool) []Stat {
	below := map[int][]int{}
	for pid, s := range t {
		below[s.PPID] = append(below[s.PPID], pid)
	}
	var out []Stat
	var walk func(pid int)
	walk = func(pid int) {
		s, ok := t[pid]
		if !ok || skip != nil && skip(s) {
			return
		}
		out = append(out, s)
		for _, child := range below[pid] {
			walk(child)
		}
	}
	walk(root)
	return out
}

// CPU is what these processes have used together.
func CPU(stats []Stat) time.Duration {
	var sum time.Duration
	for _, s := range stats {
		sum += s.CPU
	}
	return sum
}

// Memory is what these processes hold together, in bytes: the resident set of a single one, and
// for several the sum of their proportional sets, in which shared pages count once.
func (fs FS) Memory(stats []Stat) int64 {
	file, name := "smaps_rollup", "Pss"
	if len(stats) == 1 {
		file, name = "status", "VmRSS"
	}
	var sum int64
	for _, s := range stats {
		text, err := fs.file(s.PID, file)
		if err != nil {
			continue
		}
		if kib, ok := parseKiB(text, name); ok {
			sum += kib << 10
		}
	}
	return sum
}
