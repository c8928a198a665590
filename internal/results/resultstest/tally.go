package resultstest

import (
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/results"
)

func tallyCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"tally: counters add up over owners and minutes": tallyAdds,
		"tally: only the minutes asked for":              tallyMinutes,
		"tally: levels are of owners that live":          tallyLevels,
		"tally: a level takes the place of the last":     tallyReplaces,
		"tally: names know nothing of each other":        tallyNames,
		"tally: at the same time, nothing is lost":       tallyRace,
	}
}

const someMinute = 29_000_000

func (k *kit) tally(d results.Driver, owner string, minute int64, ttl time.Duration, ts ...results.Tally) {
	k.Helper()
	k.ok(d.Tally(k.ctx, owner, minute, ts, ttl))
}

func counted(name string, level int, counts ...int64) results.Tally {
	t := results.Tally{Name: name, Level: level}
	for i := 0; i < len(counts); i += 2 {
		t.Counts = append(t.Counts, results.Count{Counter: int(counts[i]), N: counts[i+1]})
	}
	return t
}

// sums returns what is known of one name: its level, then counter and n of
// each counter.
func (k *kit) sums(name string, first, last int64) []int64 {
	k.Helper()
	got, err := k.peer.Tallied(k.ctx, []string{name}, first, last)
	k.ok(err)
	k.checkf(len(got) == 1, "%d answers", len(got))
	slices.SortFunc(got[0].Counts, func(a, b results.Count) int { return a.Counter - b.Counter })
	out := []int64{int64(got[0].Level)}
	for _, c := range got[0].Counts {
		out = append(out, int64(c.Counter), c.N)
	}
	return out
}

func (k *kit) sum(name string, first, last int64, want ...int64) {
	k.Helper()
	got := k.sums(name, first, last)
	k.checkf(slices.Equal(got, want), "%s, minutes %d to %d: got %v, want %v", name, first, last, got, want)
}

func tallyAdds(k *kit) {
	k.sum("a", someMinute, someMinute+4, 0)
	k.tally(k.d, "x", someMinute, hour, counted("a", 0, 0, 3, 7, 1))
	k.tally(k.peer, "y", someMinute, hour, counted("a", 0, 0, 2, 175, 1))
	k.tally(k.d, "x", someMinute+4, hour, counted("a", 0, 7, 5_000_000_000))
	k.tally(k.d, "x", someMinute+4, hour)
	k.sum("a", someMinute, someMinute+4, 0, 0, 5, 7, 5_000_000_001, 175, 1)
}

func tallyMinutes(k *kit) {
	for m := range int64(8) {
		k.tally(k.d, "x", someMinute+m, hour, counted("a", 0, m, 1))
	}
	k.sum("a", someMinute+2, someMinute+4, 0, 2, 1, 3, 1, 4, 1)
	k.sum("a", someMinute+7, someMinute+11, 0, 7, 1)
	k.sum("a", someMinute+8, someMinute+12, 0)
}

func tallyLevels(k *kit) {
	k.tally(k.d, "x", someMinute, ttl, counted("a", 3))
	k.tally(k.peer, "y", someMinute, hour, counted("a", 4, 0, 1))
	start := time.Now()
	if got := k.sums("a", someMinute, someMinute); got[0] != 7 && time.Since(start) < ttl/2 {
		k.Fatalf("level %d, want 7", got[0])
	}
	k.eventually("x's level is over", func() bool { return k.sums("a", someMinute, someMinute)[0] == 4 })
	k.tally(k.peer, "y", someMinute, hour, counted("a", 0))
	k.sum("a", someMinute, someMinute, 0, 0, 1)
}

func tallyReplaces(k *kit) {
	k.tally(k.d, "x", someMinute, ttl, counted("a", 3))
	k.tally(k.d, "x", someMinute+1, hour, counted("a", 5))
	k.tally(k.d, "other", someMinute, ttl, counted("b", 1))
	k.sum("a", someMinute, someMinute+1, 5)
	k.eventually("the first ttl is over", func() bool { return k.sums("b", someMinute, someMinute)[0] == 0 })
	k.sum("a", someMinute, someMinute+1, 5)
}

func tallyNames(k *kit) {
	k.tally(k.d, "x", someMinute, hour, counted("a", 1, 0, 1), counted("b", 2, 0, 2, 1, 2))
	got, err := k.peer.Tallied(k.ctx, []string{"b", "none", "a"}, someMinute, someMinute)
	k.ok(err)
	k.checkf(len(got) == 3 && got[0].Level == 2 && len(got[0].Counts) == 2 && got[1].Level == 0 && len(got[1].Counts) == 0 &&
		got[2].Level == 1 && len(got[2].Counts) == 1, "got %+v", got)
	got, err = k.d.Tallied(k.ctx, nil, someMinute, someMinute)
	k.ok(err)
	k.checkf(len(got) == 0, "an answer to nothing")
}

func tallyRace(k *kit) {
	const each = 20
	together(racers, func(i int) {
		for range each {
			if err := k.either(i).Tally(k.ctx, "x", someMinute, []results.Tally{counted("a", 1, 0, 1)}, hour); err != nil {
				k.Error(err)
			}
		}
	})
	k.sum("a", someMinute, someMinute, 1, 0, each*racers)
}
