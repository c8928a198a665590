package resultstest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func quotaCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"grant: alone, what it wants up to the limit":    grantAlone,
		"grant: fair shares after everybody asked twice": grantShares,
		"grant: one of two at a limit of one":            grantOfOne,
		"grant: never more than the limit together":      grantNeverOver,
		"grant: what is held counts, whatever is given":  grantHeld,
		"grant: who leaves frees its part at once":       grantLeaves,
		"grant: who is silent keeps its part for ttl":    grantSilent,
		"grant: quotas know nothing of each other":       grantNames,
		"grant: at the same time, never over the limit":  grantRace,
	}
}

const quotaName = "e"

func (k *kit) grant(d results.Driver, owner string, limit, want, held int) int {
	k.Helper()
	return k.grantFor(d, owner, limit, want, held, hour)
}

func (k *kit) grantFor(d results.Driver, owner string, limit, want, held int, ttl time.Duration) int {
	k.Helper()
	got, err := d.Grant(k.ctx, owner, []task.QuotaAsk{{Name: quotaName, Limit: limit, Want: want, Held: held}}, ttl)
	k.ok(err)
	k.checkf(len(got) == 1, "%d answers", len(got))
	k.checkf(got[0] >= 0 && got[0] <= want, "granted %d of %d wanted", got[0], want)
	return got[0]
}

func grantAlone(k *kit) {
	for _, c := range [][3]int{{20, 5, 5}, {20, 20, 20}, {20, 100, 20}, {1, 1, 1}, {3, 100, 3}, {20, 0, 0}} {
		got := k.grant(k.d, "a", c[0], c[1], 0)
		k.checkf(got == c[2], "limit %d, want %d: granted %d", c[0], c[1], got)
	}
}

func grantShares(k *kit) {
	wants := []int{100, 100, 2, 100, 100}
	owners := []string{"a", "b", "c", "d", "e"}
	last := make([]int, len(owners))
	for range 2 { // the first ones gave nothing back yet
		for i, o := range owners {
			last[i] = k.grant(k.either(i), o, 20, wants[i], 0)
		}
	}
	for i, o := range owners { // nor had, until all came by
		last[i] = k.grant(k.either(i), o, 20, wants[i], 0)
	}
	k.checkf(slices.Equal(last, []int{5, 5, 2, 4, 4}), "granted %v", last)
}

// either is the driver or its peer, in turns.
func (k *kit) either(i int) results.Driver {
	if i%2 == 0 {
		return k.d
	}
	return k.peer
}

func grantOfOne(k *kit) {
	k.checkf(k.grant(k.peer, "b", 1, 8, 0) == 1, "the first of two got nothing")
	for range 3 {
		a, b := k.grant(k.d, "a", 1, 8, 0), k.grant(k.peer, "b", 1, 8, 0)
		k.checkf(a+b <= 1, "%d and %d of 1", a, b)
	}
	a, b := k.grant(k.d, "a", 1, 8, 0), k.grant(k.peer, "b", 1, 8, 0)
	k.checkf(a+b == 1, "%d and %d of 1", a, b)
}

func grantNeverOver(k *kit) {
	const limit, owners, rounds = 20, 5, 800
	var may, held [owners]int // what each may use, and what counts for it
	for range rounds {
		i := rand.N(owners)
		granted := k.grant(k.either(i), fmt.Sprint(i), limit, rand.N(30), may[i])
		held[i] = max(granted, may[i])
		if rand.N(4) > 0 { // else the answer is lost
			may[i] = granted
		}
		sum := 0
		for _, n := range held {
			sum += n
		}
		k.checkf(sum <= limit, "%v are held of %d", held, limit)
	}
}

func grantHeld(k *kit) {
	k.checkf(k.grant(k.d, "a", 10, 100, 0) == 10, "not all to the only one")
	k.checkf(k.grant(k.peer, "b", 10, 100, 0) == 0, "more than is left")
	// The limit is lowered under ten that run.
	k.checkf(k.grant(k.d, "a", 4, 100, 10) == 2, "not its share")
	k.checkf(k.grant(k.peer, "b", 4, 100, 0) == 0, "given although ten run")
	k.checkf(k.grant(k.d, "a", 4, 100, 3) == 2, "not its share")
	k.checkf(k.grant(k.peer, "b", 4, 100, 0) == 1, "not what three leave of four")
	k.checkf(k.grant(k.d, "a", 4, 100, 1) == 2, "not its share")
	k.checkf(k.grant(k.peer, "b", 4, 100, 1) == 2, "not its share")
	// It is raised again.
	k.checkf(k.grant(k.d, "a", 8, 100, 1) == 4, "not its share of more")
}

func grantLeaves(k *kit) {
	k.grant(k.d, "a", 10, 100, 0)
	k.checkf(k.grant(k.d, "a", 10, 0, 4) == 0, "granted to one that leaves")
	k.checkf(k.grant(k.peer, "b", 10, 100, 0) == 6, "what it still uses was given away, or kept too much")
	k.checkf(k.grant(k.d, "a", 10, 0, 0) == 0, "granted to one that leaves")
	k.checkf(k.grant(k.peer, "b", 10, 100, 0) == 10, "not all to the only one")
}

func grantSilent(k *kit) {
	k.grantFor(k.d, "a", 10, 100, 0, ttl)
	start := time.Now()
	k.eventually("a has vanished", func() bool { return k.grantFor(k.peer, "b", 10, 100, 0, hour) == 10 })
	k.checkf(time.Since(start) > ttl/2, "it vanished early")
}

func grantNames(k *kit) {
	ask := func(d results.Driver, owner string, limits ...int) []int {
		var asks []task.QuotaAsk
		for i, l := range limits {
			asks = append(asks, task.QuotaAsk{Name: fmt.Sprint("q", i), Limit: l, Want: 100})
		}
		got, err := d.Grant(k.ctx, owner, asks, hour)
		k.ok(err)
		return got
	}
	k.checkf(slices.Equal(ask(k.d, "a", 3, 1, 7), []int{3, 1, 7}), "not each its own")
	k.checkf(slices.Equal(ask(k.peer, "b", 3, 1, 7), []int{0, 0, 0}), "more than is left")
	k.checkf(len(ask(k.d, "a")) == 0, "an answer to nothing")
	for range 2 {
		ask(k.d, "a", 3, 1, 7)
		ask(k.peer, "b", 3, 1, 7)
	}
	k.checkf(slices.Equal(ask(k.d, "a", 3, 1, 7), []int{2, 1, 4}), "not the shares")
}

func grantRace(k *kit) {
	const limit = 7
	grants := make([]int, racers)
	together(racers, func(i int) {
		got, err := k.either(i).Grant(k.ctx, fmt.Sprint(i), []task.QuotaAsk{{Name: quotaName, Limit: limit, Want: 3}}, hour)
		if err != nil {
			k.Error(err)
			return
		}
		grants[i] = got[0]
	})
	sum := 0
	for _, n := range grants {
		sum += n
	}
	k.checkf(sum <= limit, "%v of %d", grants, limit)
}
