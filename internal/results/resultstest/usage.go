package resultstest

import (
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func usageCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"usage/follows a row's life":    usageLife,
		"usage/of each project":         usageProjects,
		"usage/what loses adds nothing": usageLosers,
		"usage/abandoned":               usageAbandoned,
		"usage/an ended row comes back": usageAgain,
		"usage/of many at once":         usageMany,
	}
}

func (k *kit) usage(of string) task.Usage {
	k.Helper()
	u, err := k.peer.Usage(k.ctx, of)
	k.ok(err)
	return u
}

func (k *kit) uses(what string, want task.Usage) {
	k.Helper()
	got := k.usage(project)
	k.checkf(got == want, "%s: %+v, want %+v", what, got, want)
}

// sized is a live row that takes up n bytes.
func (k *kit) sized(n int64) results.Create {
	c := k.row(k.id())
	c.Bytes = n
	return c
}

func usageLife(k *kit) {
	k.uses("nothing there", task.Usage{})
	c := k.create(k.sized(100))
	other := k.create(k.sized(7))
	k.uses("two rows", task.Usage{WaitingTasks: 2, WaitingBytes: 107})
	s := k.change(c, 1)
	s.Lane, s.KeepTill = 4, k.now.Add(100*24*time.Hour)
	k.swap(s)
	k.uses("another lane, kept for longer", task.Usage{WaitingTasks: 2, WaitingBytes: 107})
	s = k.change(c, 2)
	s.Lane, s.Failed = 0, true
	k.swap(s)
	k.uses("failed, its payload kept", task.Usage{WaitingTasks: 1, WaitingBytes: 7, KeptBytes: 100})
	s = k.change(c, 3)
	k.swap(s)
	k.uses("replayed", task.Usage{WaitingTasks: 2, WaitingBytes: 107})
	s = k.change(c, 4)
	s.Lane, s.Bytes = 0, 0
	k.swap(s)
	k.uses("succeeded", task.Usage{WaitingTasks: 1, WaitingBytes: 7})
	s = k.change(other, 1)
	s.Lane, s.Failed, s.Bytes = 0, true, 0
	k.swap(s)
	k.uses("failed, its payload not kept", task.Usage{})
}

func usageProjects(k *kit) {
	k.create(k.sized(1))
	c := k.sized(2)
	c.Project, c.Endpoint = "q", task.MakeEndpointID("q", "e")
	k.create(c)
	k.uses("the one", task.Usage{WaitingTasks: 1, WaitingBytes: 1})
	got := k.usage("q")
	k.checkf(got == task.Usage{WaitingTasks: 1, WaitingBytes: 2}, "the other: %+v", got)
}

func usageLosers(k *kit) {
	c := k.create(k.sized(5))
	again, err := k.d.Create(k.ctx, c)
	k.ok(err)
	k.checkf(!again.New, "new again")
	s := k.change(c, 7)
	s.Lane, s.Bytes = 0, 0
	k.mismatch(s)
	k.uses("as before", task.Usage{WaitingTasks: 1, WaitingBytes: 5})
}

func usageAbandoned(k *kit) {
	c := k.sized(5)
	c.AcceptBy = k.now.Add(-hour)
	k.create(c)
	k.create(k.sized(1))
	n, err := k.d.Abandon(k.ctx, k.now, 10)
	k.ok(err)
	k.checkf(n == 1, "%d abandoned", n)
	k.uses("the other is left", task.Usage{WaitingTasks: 1, WaitingBytes: 1})
}

// usageAgain: a row that its TTL removed and that its message brings back is
// counted; what the removed one took up is counted no longer than until the
// day's end, so that here only the least is certain.
func usageAgain(k *kit) {
	c := k.sized(3)
	c.KeepTill = k.now.Add(ttl)
	k.create(c)
	k.gone(c.ID)
	s := k.change(c, 0)
	s.Spec = c.Spec
	k.swap(s)
	u := k.usage(project)
	k.checkf(u.WaitingTasks >= 1 && u.WaitingTasks <= 2 && u.WaitingBytes == 3*u.WaitingTasks, "%+v", u)
}

func usageMany(k *kit) {
	const rows = 200
	made := make([]results.Create, rows)
	for i := range made {
		made[i] = k.sized(int64(i))
	}
	together(rows, func(i int) {
		if _, err := k.d.Create(k.ctx, made[i]); err != nil {
			k.Error(err)
			return
		}
		if i%2 == 0 {
			return
		}
		s := k.change(made[i], 1)
		s.Lane, s.Bytes = 0, 0
		if got, err := k.d.Swap(k.ctx, s); err != nil || !got.OK {
			k.Errorf("%+v %v", got, err)
		}
	})
	k.uses("the even ones", task.Usage{WaitingTasks: rows / 2, WaitingBytes: rows / 2 * (rows/2 - 1)})
}
