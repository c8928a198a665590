package results_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/taskgate/taskgate/internal/results"
)

func TestFairShares(t *testing.T) {
	for _, c := range []struct {
		limit       int
		wants, want []int // in the order of shares
	}{
		{20, []int{100, 100, 100, 100, 100}, []int{4, 4, 4, 4, 4}},
		{20, []int{100, 100, 100}, []int{7, 7, 6}},
		{1, []int{8, 8}, []int{1, 0}},
		{10, []int{1, 2, 100}, []int{1, 2, 7}},
		{10, []int{0, 3, 3}, []int{0, 3, 3}},
		{10, []int{}, []int{}},
	} {
		var wants []results.Want
		for i, n := range c.wants {
			wants = append(wants, results.Want{Owner: fmt.Sprint(i), Want: n})
		}
		if got := results.FairShares(c.limit, wants); !slices.Equal(got, c.want) {
			t.Errorf("%d among %v: %v, want %v", c.limit, c.wants, got, c.want)
		}
	}
}

func TestFairSharesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		var wants []results.Want
		asked := 0
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, 50), 0, 12).Draw(t, "wants") {
			wants = append(wants, results.Want{Owner: fmt.Sprint(i), Want: n})
			asked += n
		}
		shares := results.FairShares(limit, wants)
		sum := 0
		for i, s := range shares {
			sum += s
			if s < 0 || s > wants[i].Want {
				t.Fatalf("%d of %d", s, wants[i].Want)
			}
			for j, other := range shares {
				if other > s+1 && s < wants[i].Want {
					t.Fatalf("owner %d gets %d of %d wanted, owner %d gets %d", i, s, wants[i].Want, j, other)
				}
			}
		}
		if sum != min(limit, asked) {
			t.Fatalf("%d given of %d, %d asked", sum, limit, asked)
		}
	})
}
