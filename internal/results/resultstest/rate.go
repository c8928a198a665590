package resultstest

import (
	"sync/atomic"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func rateCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"rate/burst and wait":       rateBurst,
		"rate/shared by all":        rateShared,
		"rate/in the long run":      rateLongRun,
		"rate/names are apart":      rateNames,
		"rate/looking takes none":   rateLook,
		"rate/another rate of name": rateChanged,
	}
}

// slow is a rate of which none comes back within a case.
var slow = task.Rate{PerSecond: task.MinPerSecond, Burst: 10}

func (k *kit) take(by results.Driver, asks ...task.RateAsk) []task.Taken {
	k.Helper()
	got, err := by.Take(k.ctx, asks)
	k.ok(err)
	k.checkf(len(got) == len(asks), "%d answers to %d asks", len(got), len(asks))
	return got
}

func rateBurst(k *kit) {
	first := k.take(k.d, task.RateAsk{Name: "a", Rate: slow, Want: 7})[0]
	k.checkf(first == task.Taken{N: 7, Left: 3}, "first %+v", first)
	second := k.take(k.d, task.RateAsk{Name: "a", Rate: slow, Want: 7})[0]
	k.checkf(second.N == 3 && second.Left == 0 && second.Wait > 90*time.Second && second.Wait <= 100*time.Second, "second %+v", second)
	third := k.take(k.d, task.RateAsk{Name: "a", Rate: slow, Want: 1})[0]
	k.checkf(third.N == 0 && third.Wait > 90*time.Second && third.Wait <= 100*time.Second, "third %+v", third)
}

func rateShared(k *kit) {
	var total atomic.Int64
	together(20, func(i int) {
		by := k.d
		if i%2 == 1 {
			by = k.peer
		}
		got, err := by.Take(k.ctx, []task.RateAsk{{Name: "b", Rate: slow, Want: 2}})
		if err != nil {
			k.Error(err)
			return
		}
		total.Add(int64(got[0].N))
	})
	k.checkf(total.Load() == int64(slow.Burst), "%d were given of %d", total.Load(), slow.Burst)
}

func rateLongRun(k *kit) {
	r := task.Rate{PerSecond: 200, Burst: 5}
	begin, total := time.Now(), 0
	k.eventually("sixty come by", func() bool {
		total += k.take(k.d, task.RateAsk{Name: "c", Rate: r, Want: 60})[0].N
		return total >= 60
	})
	most := r.PerSecond*time.Since(begin).Seconds() + float64(r.Burst) + 1
	k.checkf(float64(total) <= most, "%d in %s", total, time.Since(begin))
}

func rateNames(k *kit) {
	got := k.take(k.d, task.RateAsk{Name: "d", Rate: slow, Want: 10}, task.RateAsk{Name: "e", Rate: slow, Want: 4})
	k.checkf(got[0].N == 10 && got[1] == task.Taken{N: 4, Left: 6}, "%+v", got)
}

func rateLook(k *kit) {
	for range 2 {
		got := k.take(k.d, task.RateAsk{Name: "f", Rate: slow})[0]
		k.checkf(got == task.Taken{Left: 10}, "%+v", got)
	}
}

func rateChanged(k *kit) {
	k.take(k.d, task.RateAsk{Name: "g", Rate: slow, Want: 10})
	more := task.Rate{PerSecond: 2000, Burst: 1}
	got := k.take(k.d, task.RateAsk{Name: "g", Rate: more, Want: 1})[0]
	k.checkf(got.N == 0 && got.Wait > 0 && got.Wait < time.Millisecond, "empty at most, and soon not any more: %+v", got)
}
