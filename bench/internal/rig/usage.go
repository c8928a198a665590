package rig

import (
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/bench/internal/proc"
)

// group is the processes that are one part of a system: a tree without some of its branches.
type group struct {
	name string
	root int
	skip func(proc.Stat) bool
}

func (run *Run) watch(g group) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.groups = append(run.groups, g)
}

func (run *Run) unwatch(root int) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.groups = slices.DeleteFunc(run.groups, func(g group) bool { return g.root == root })
}

// Usage is what a part of a system has used and holds.
type Usage struct {
	CPU    time.Duration // since its begin
	Memory int64         // bytes now
}

// Usage reads every part, memory only when asked for.
func (run *Run) Usage(memory bool) map[string]Usage {
	run.mu.Lock()
	groups := slices.Clone(run.groups)
	run.mu.Unlock()
	table, err := proc.Default.Table()
	if err != nil {
		return nil
	}
	out := map[string]Usage{}
	for _, g := range groups {
		tree := table.Tree(g.root, g.skip)
		u := Usage{CPU: proc.CPU(tree)}
		if memory {
			u.Memory = proc.Default.Memory(tree)
		}
		out[g.name] = u
	}
	return out
}

// sampleEvery is how often peaks are looked for. Reading costs the kernel a walk through page
// tables, which the system under test would pay for.
const sampleEvery = time.Second

// peaks follows the memory of all parts until stop is called, which returns the highest.
func (run *Run) peaks() (stop func() map[string]int64) {
	highest := map[string]int64{}
	end, done := make(chan struct{}), make(chan struct{})
	look := func() {
		for name, u := range run.Usage(true) {
			highest[name] = max(highest[name], u.Memory)
		}
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-end:
				look()
				return
			}
		}
	}()
	return sync.OnceValue(func() map[string]int64 {
		close(end)
		<-done
		return highest
	})
}
