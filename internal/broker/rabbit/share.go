package rabbit

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errShareFull = errors.New("too many publishes to this queue are in flight")

// shares bound how many publishes to each destination await their confirm. A
// queue that does not confirm (its leader is lost, say) may fill its own share
// of the windows, never all of them.
type shares struct {
	most int

	mu    sync.Mutex
	byKey map[string]*share
}

// share is one destination's.
type share struct {
	of     *shares
	key    string
	places chan struct{}
	users  int // in a place or waiting for one; guarded by shares.mu
}

func newShares(most int) *shares { return &shares{most: max(most, 1), byKey: map[string]*share{}} }

// enter takes a place, for which it waits so long at most. The caller leaves.
func (s *shares) enter(ctx context.Context, key string, wait time.Duration) (*share, error) {
	sh := s.join(key)
	select { // the normal case costs no timer
	case sh.places <- struct{}{}:
		return sh, nil
	default:
	}
	full := time.NewTimer(wait)
	defer full.Stop()
	select {
	case sh.places <- struct{}{}:
		return sh, nil
	case <-full.C:
		sh.part()
		return nil, errShareFull
	case <-ctx.Done():
		sh.part()
		return nil, context.Cause(ctx)
	}
}

func (s *shares) join(key string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.byKey[key]
	if sh == nil {
		sh = &share{of: s, key: key, places: make(chan struct{}, s.most)}
		s.byKey[key] = sh
	}
	sh.users++
	return sh
}

// leave gives the place back.
func (sh *share) leave() {
	<-sh.places
	sh.part()
}

// part forgets the share when nobody needs it.
func (sh *share) part() {
	sh.of.mu.Lock()
	defer sh.of.mu.Unlock()
	if sh.users--; sh.users == 0 {
		delete(sh.of.byKey, sh.key)
	}
}
