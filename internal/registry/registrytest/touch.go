package registrytest

import (
	"fmt"
	"maps"
	"time"

	"github.com/taskgate/taskgate/internal/registry"
)

func touchCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"touch: the later time stays":           touchLater,
		"touch: a zero time forgets":            touchForget,
		"touch: no change of the registry":      touchIsNoChange,
		"touch: the latest of many at once":     touchRace,
		"touch: neither put nor seed forget it": touchStays,
	}
}

type times = map[string]time.Time

func (k *kit) touch(uses times) {
	k.Helper()
	k.ok(k.d.Touch(k.ctx, uses))
}

func (k *kit) touched(want times) {
	k.Helper()
	got, err := k.peer.Touched(k.ctx)
	k.ok(err)
	k.checkf(maps.EqualFunc(got, want, time.Time.Equal), "got %v, want %v", got, want)
}

func at(ms int64) time.Time { return time.UnixMilli(1_800_000_000_000 + ms) }

func touchLater(k *kit) {
	k.touched(times{})
	k.touch(times{"a": at(5), "b": at(5)})
	k.touch(times{"a": at(4), "b": at(6), "c": at(1)})
	k.touch(times{})
	k.touched(times{"a": at(5), "b": at(6), "c": at(1)})
}

func touchForget(k *kit) {
	k.touch(times{"a": at(5), "b": at(5)})
	k.touch(times{"a": {}, "never": {}})
	k.touched(times{"b": at(5)})
	k.touch(times{"a": at(1)})
	k.touched(times{"a": at(1), "b": at(5)})
}

func touchIsNoChange(k *kit) {
	k.touch(times{"a": at(5)})
	k.equal(k.load(), registry.State{})
	v := k.put(item("a", "1"), 0)
	w := k.watch(k.peer)
	before := w.calls.Load()
	k.touch(times{"a": at(6)})
	// The next change is told, and is the only one.
	k.called(w, func() { k.checkf(k.put(item("b", "1"), 0) == v+1, "a touch took a version") })
	k.checkf(w.calls.Load() == before+1, "%d calls for one change", w.calls.Load()-before)
}

func touchRace(k *kit) {
	together(racers, func(i int) {
		d := k.d
		if i%2 == 1 {
			d = k.peer
		}
		if err := d.Touch(k.ctx, times{"a": at(int64(i)), fmt.Sprint(i): at(0)}); err != nil {
			k.Error(err)
		}
	})
	want := times{"a": at(racers - 1)}
	for i := range racers {
		want[fmt.Sprint(i)] = at(0)
	}
	k.touched(want)
}

func touchStays(k *kit) {
	k.touch(times{"a": at(5)})
	k.put(item("x", "1"), 0)
	k.seed(state(3, 9), true)
	k.touched(times{"a": at(5)})
}
