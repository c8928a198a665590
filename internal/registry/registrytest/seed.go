package registrytest

import (
	"fmt"

	"github.com/taskgate/taskgate/internal/registry"
)

func seedCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"seed: an empty store":                       seedEmpty,
		"seed: the same epoch, a lower version":      seedLower,
		"seed: not over the same or a later version": seedNot,
		"seed: not over another epoch":               seedForeign,
		"seed: the newest of many wins":              seedRace,
		"seed: life goes on after it":                seedThenPut,
	}
}

// state is a registry of n items at a version.
func state(n int, version int64) registry.State {
	s := registry.State{Epoch: epoch, Version: version}
	for i := range n {
		it := item(fmt.Sprint("seeded ", i), fmt.Sprint("value ", i))
		it.Revision = int64(i) + 1
		if it.Deleted = i%3 == 2; it.Deleted {
			it.Value = nil
		}
		s.Items = append(s.Items, it)
	}
	return s
}

func (k *kit) seed(s registry.State, want bool) {
	k.Helper()
	did, err := k.d.Seed(k.ctx, s)
	k.ok(err)
	k.checkf(did == want, "seeded: %v, want %v", did, want)
}

func seedEmpty(k *kit) {
	k.seed(state(5, 9), true)
	k.equal(k.load(), state(5, 9))
}

func seedLower(k *kit) {
	k.put(item("lost", "x"), 0)
	k.seed(state(4, 7), true)
	k.equal(k.load(), state(4, 7))
	k.seed(state(2, 8), true)
	k.equal(k.load(), state(2, 8))
}

func seedNot(k *kit) {
	k.seed(state(4, 7), true)
	k.seed(state(2, 7), false)
	k.seed(state(2, 6), false)
	k.equal(k.load(), state(4, 7))
}

func seedForeign(k *kit) {
	_, ok, err := k.d.Put(k.ctx, item("a", "1"), 0, "another epoch")
	k.ok(err)
	k.checkf(ok, "refused")
	before := k.load()
	k.seed(state(4, 7), false)
	k.equal(k.load(), before)
}

func seedRace(k *kit) {
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		if _, err := d.Seed(k.ctx, state(i%7+1, int64(i)+1)); err != nil {
			k.Error(err)
		}
	})
	k.equal(k.load(), state((racers-1)%7+1, racers))
}

func seedThenPut(k *kit) {
	s := state(2, 20)
	k.seed(s, true)
	it := item("seeded 0", "changed")
	k.refused(it, 0)
	it.Revision = k.put(it, 1)
	k.checkf(it.Revision == 21, "version %d", it.Revision)
	s.Version, s.Items[0] = 21, it
	k.equal(k.load(), s)
}
