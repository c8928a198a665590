// Package report keeps what the scenarios measured and makes the table of it.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
)

// Result is what one scenario measured on one system in one round.
type Result struct {
	Scenario string             `json:"scenario"`
	System   string             `json:"system"`
	Round    int                `json:"round"`
	Values   map[string]float64 `json:"values,omitempty"`
	// Error says why there are no values, or not all.
	Error string `json:"error,omitempty"`
}

// Book is a whole run.
type Book struct {
	Machine Machine       `json:"machine"`
	Command string        `json:"command"`
	Begun   time.Time     `json:"begun"`
	Took    time.Duration `json:"took"`
	Results []Result      `json:"results"`
	// Skipped says what was not run, and why.
	Skipped []string `json:"skipped,omitempty"`
}

// Add adds a result.
func (b *Book) Add(r Result) { b.Results = append(b.Results, r) }

// Save writes the book to a file.
func (b *Book) Save(file string) error {
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // to be read by everyone
}

// Load reads what [Book.Save] wrote.
func Load(file string) (*Book, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b Book
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return &b, nil
}

// Rounds returns the values of a key by round.
func (b *Book) Rounds(scenario, system, key string) map[int]float64 {
	out := map[int]float64{}
	for _, r := range b.Results {
		if r.Scenario != scenario || r.System != system {
			continue
		}
		if v, ok := r.Values[key]; ok {
			out[r.Round] = v
		}
	}
	return out
}

// Spread describes the values of a key over the rounds.
func (b *Book) Spread(scenario, system, key string) stats.Spread {
	rounds := b.Rounds(scenario, system, key)
	values := make([]float64, 0, len(rounds))
	for _, v := range rounds {
		values = append(values, v)
	}
	return stats.SpreadOf(values)
}

// Ratio describes a's values over b's, round by round: the two ran side by side, so what the
// machine did otherwise in a round concerns both.
func (b *Book) Ratio(scenario, key, system, against string) stats.Spread {
	over := b.Rounds(scenario, against, key)
	var ratios []float64
	for round, v := range b.Rounds(scenario, system, key) {
		if base := over[round]; base > 0 {
			ratios = append(ratios, v/base)
		}
	}
	return stats.SpreadOf(ratios)
}

// Keys are the keys of a scenario's values, in the order of a table.
func (b *Book) Keys(scenario string) []string {
	var keys []string
	for _, r := range b.Results {
		if r.Scenario != scenario {
			continue
		}
		for k := range r.Values {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	})
	return keys
}

// Systems are the systems that a scenario was run on, in the order of the first round.
func (b *Book) Systems(scenario string) []string {
	var names []string
	for _, r := range b.Results {
		if r.Scenario == scenario && !slices.Contains(names, r.System) {
			names = append(names, r.System)
		}
	}
	return names
}
