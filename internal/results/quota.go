package results

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Quotas shares limits among owners, the processes of an installation. What
// is given is a lease: it ends unless it is asked for again.
type Quotas interface {
	// Grant renews the owner's part of each quota for ttl and returns it, in
	// the order of asks. Until its next ask, or the end of ttl, an owner holds
	// the larger of what it is given and of what it says it holds (an answer
	// may be late, or lost). It is given no more than the limit leaves beside
	// what the others hold: together they never use more than the limit.
	//
	// Within that, an owner gets its fair share of the limit as it is asked
	// with: as [FairShares] says of all owners that live, ordered by name.
	// An owner that neither wants nor holds anything is forgotten.
	Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error)
}

// Want is what one owner would run if there were no others.
type Want struct {
	Owner string
	Want  int
}

// FairShares parts limit: nobody gets more than it wants, and nobody gets
// less than another one, by more than one, unless it wants less. What an
// uneven division leaves goes to the owners that come first. wants is sorted
// by the call, smaller wants first and then by owner; the shares are in that
// order.
func FairShares(limit int, wants []Want) []int {
	slices.SortFunc(wants, func(a, b Want) int {
		if a.Want != b.Want {
			return a.Want - b.Want
		}
		return strings.Compare(a.Owner, b.Owner)
	})
	shares := make([]int, len(wants))
	for i, w := range wants {
		left := len(wants) - i
		shares[i] = min(w.Want, (limit+left-1)/left)
		limit -= shares[i]
	}
	return shares
}

// Grant renews the owner's part of each quota for ttl and returns it, in the
// order of asks.
func (s *Store) Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error) {
	grants, err := s.d.Grant(ctx, owner, asks, ttl)
	return grants, fail(err)
}
