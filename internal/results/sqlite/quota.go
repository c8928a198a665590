package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// quotas knows who holds what. The zero value is ready. It lives in memory:
// whoever held something died with it.
type quotas struct {
	mu     sync.Mutex
	byName map[string]map[string]holding // by quota and owner
}

type holding struct {
	want, held int
	till       time.Time
}

// Grant implements [results.Driver].
func (d *Driver) Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) ([]int, error) {
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	q, now := &d.quotas, d.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]int, len(asks))
	for i, a := range asks {
		out[i] = q.grant(owner, a, now, now.Add(ttl))
	}
	return out, nil
}

func (q *quotas) grant(owner string, a task.QuotaAsk, now, till time.Time) int {
	owners := q.byName[a.Name]
	wants, others := []results.Want{{Owner: owner, Want: a.Want}}, 0
	for o, h := range owners {
		switch {
		case !now.Before(h.till):
			delete(owners, o)
		case o != owner:
			wants = append(wants, results.Want{Owner: o, Want: h.want})
			others += h.held
		}
	}
	grant := 0
	for i, share := range results.FairShares(a.Limit, wants) {
		if wants[i].Owner == owner {
			grant = max(0, min(share, a.Limit-others))
		}
	}
	q.hold(a.Name, owner, holding{a.Want, max(grant, a.Held), till})
	return grant
}

func (q *quotas) hold(name, owner string, h holding) {
	if h.want == 0 && h.held == 0 {
		if delete(q.byName[name], owner); len(q.byName[name]) == 0 {
			delete(q.byName, name)
		}
		return
	}
	if q.byName == nil {
		q.byName = make(map[string]map[string]holding)
	}
	if q.byName[name] == nil {
		q.byName[name] = make(map[string]holding)
	}
	q.byName[name][owner] = h
}
