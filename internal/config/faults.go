package config

import (
	"maps"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with one setting.
type Fault struct {
	Name string // of the setting, as its source calls it
	Text string // what is wrong, without any secret
}

// Faults is everything that is wrong with a configuration.
type Faults []Fault //nolint:errname // what it holds is its name

// Error lists the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, 0, len(f))
	for _, fault := range f {
		lines = append(lines, fault.Name+": "+fault.Text)
	}

	return strings.Join(lines, "\n")
}

func (f Faults) has(name string) bool {
	return slices.ContainsFunc(f, func(fault Fault) bool { return fault.Name == name })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
