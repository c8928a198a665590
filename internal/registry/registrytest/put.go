package registrytest

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/taskgate/taskgate/internal/registry"
)

func putCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"empty store":                            emptyStore,
		"put: the first one brings the epoch":    putFirst,
		"put: expectations":                      putExpectations,
		"put: tombstones":                        putTombstone,
		"put: any bytes, any names":              putBytes,
		"put: one winner of many":                putRace,
		"put: each change has its own version":   putVersions,
		"put: a refused first put seeds nothing": putRefusedFirst,
	}
}

func emptyStore(k *kit) {
	k.equal(k.load(), registry.State{})
}

func putFirst(k *kit) {
	k.checkf(k.put(item("a", "1"), 0) == 1, "the first version is not 1")
	_, ok, err := k.peer.Put(k.ctx, item("b", "2"), 0, "another epoch")
	k.ok(err)
	k.checkf(ok, "refused")
	a, b := item("a", "1"), item("b", "2")
	a.Revision, b.Revision = 1, 2
	k.equal(k.load(), registry.State{Epoch: epoch, Version: 2, Items: []registry.Item{a, b}})
}

func putExpectations(k *kit) {
	first := k.put(item("a", "1"), 0)
	k.refused(item("a", "2"), 0)
	k.refused(item("a", "2"), first+1)
	second := k.put(item("a", "2"), first)
	k.checkf(second == first+1, "version %d after %d", second, first)
	k.refused(item("a", "3"), first)
	third := k.put(item("a", "3"), -1)
	fourth := k.put(item("new", "x"), -1)
	k.refused(item("absent", "x"), 7)
	k.put(item("a", "4"), third)
	s := k.load()
	k.checkf(s.Version == fourth+1 && len(s.Items) == 2, "version %d, %d items", s.Version, len(s.Items))
}

func putTombstone(k *kit) {
	first := k.put(item("a", "1"), 0)
	dead := item("a", "dropped")
	dead.Deleted = true
	k.refused(dead, first+1)
	dead.Revision = k.put(dead, first)
	dead.Value = nil
	k.has(k.load(), dead)
	k.refused(item("a", "2"), first)
	back := item("a", "2")
	back.Revision = k.put(back, 0)
	k.equal(k.load(), registry.State{Epoch: epoch, Version: 3, Items: []registry.Item{back}})
}

func putBytes(k *kit) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var want []registry.Item
	for i, key := range []registry.Key{
		{Kind: "endpoint", Project: "a", Name: "b"},
		{Kind: "endpoint", Project: "a b", Name: ""},
		{Kind: "endpoint", Project: "", Name: "a b"},
		{Kind: "key", Project: "a", Name: "b"},
		{Kind: "endpoint", Project: "a/b", Name: "c"},
		{Kind: "endpoint", Project: "a", Name: "b/c"},
		{Kind: "endpoint", Project: "ä:{x}*", Name: "%s'\"\n"},
	} {
		it := registry.Item{Key: key, Value: bytes.Repeat(all, i*i)}
		it.Revision = k.put(it, 0)
		want = append(want, it)
	}
	k.equal(k.load(), registry.State{Epoch: epoch, Version: int64(len(want)), Items: want})
}

func putRace(k *kit) {
	first := k.put(item("a", "1"), 0)
	for _, expect := range []int64{first, 0} {
		it := item(fmt.Sprint("raced from ", expect), "x")
		if expect == first {
			it.Name = "a"
		}
		var won atomic.Int64
		together(racers, func(i int) {
			d := k.d
			if i%2 == 1 {
				d = k.peer
			}
			if _, ok, err := d.Put(k.ctx, it, expect, epoch); err != nil {
				k.Error(err)
			} else if ok {
				won.Add(1)
			}
		})
		k.checkf(won.Load() == 1, "%d winners from %d", won.Load(), expect)
	}
	k.checkf(k.load().Version == first+2, "version %d", k.load().Version)
}

func putVersions(k *kit) {
	var mu sync.Mutex
	seen := make(map[int64]bool)
	together(racers, func(i int) {
		v, ok, err := k.d.Put(k.ctx, item(fmt.Sprint("i", i), "x"), 0, fmt.Sprint("epoch ", i))
		mu.Lock()
		defer mu.Unlock()
		if err != nil || !ok || seen[v] {
			k.Errorf("put %d: version %d, %v, %v", i, v, ok, err)
		}
		seen[v] = true
	})
	s := k.load()
	k.checkf(s.Version == racers && len(s.Items) == racers, "version %d, %d items", s.Version, len(s.Items))
	for _, it := range s.Items {
		k.checkf(seen[it.Revision], "revision %d of nobody", it.Revision)
	}
}

func putRefusedFirst(k *kit) {
	k.refused(item("a", "1"), 3)
	k.equal(k.load(), registry.State{})
}
