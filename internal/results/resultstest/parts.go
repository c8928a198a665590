package resultstest

import (
	"bytes"
	"fmt"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

func partCases() map[string]func(*kit) {
	return map[string]func(*kit){
		"result: set, kept, replaced, cleared":         resultLife,
		"result: a large one, byte for byte":           resultLarge,
		"payload: kept, replaced, dropped":             payloadLife,
		"attempts: upserted by number, in order":       attemptsOrder,
		"attempts: the latest thousand":                attemptsMany,
		"read: unknown id":                             readUnknown,
		"read many: in order, gaps and twins included": readMany,
	}
}

func (k *kit) attempts(id task.ID) [][]byte {
	k.Helper()
	a, err := k.d.Attempts(k.ctx, id)
	k.ok(err)
	return a
}

func resultLife(k *kit) {
	c := k.create(k.row(k.id()))
	set := k.change(c, 1)
	set.Result = []byte("one")
	k.swap(set)
	k.same("result", k.read(c.ID).Result, set.Result)
	k.swap(k.change(c, 2))
	k.same("result kept", k.read(c.ID).Result, set.Result)
	r, err := k.d.Read(k.ctx, c.ID, false)
	k.ok(err)
	k.checkf(r.Version == 3 && r.Result == nil, "a result nobody asked for")
	replace := k.change(c, 3)
	replace.Result = []byte("two")
	k.swap(replace)
	k.same("result replaced", k.read(c.ID).Result, replace.Result)
	drop := k.change(c, 4)
	drop.ClearResult = true
	k.swap(drop)
	k.checkf(k.read(c.ID).Result == nil, "result not cleared")
}

func resultLarge(k *kit) {
	const size = 1 << 20
	big := make([]byte, size)
	for i := range big {
		big[i] = byte(i * 31)
	}
	c := k.create(k.row(k.id()))
	s := k.change(c, 1)
	s.Result = big
	k.swap(s)
	k.checkf(bytes.Equal(k.read(c.ID).Result, big), "1 MiB changed")
}

func payloadLife(k *kit) {
	c := k.row(k.id())
	c.Payload = []byte("one")
	k.create(c)
	payload := func() ([]byte, bool) {
		p, ok, err := k.d.Payload(k.ctx, c.ID)
		k.ok(err)
		return p, ok
	}
	k.swap(k.change(c, 1))
	p, ok := payload()
	k.checkf(ok && string(p) == "one", "payload not kept: %q", p)
	replace := k.change(c, 2)
	replace.Payload = []byte("two")
	k.swap(replace)
	p, ok = payload()
	k.checkf(ok && string(p) == "two", "payload not replaced: %q", p)
	drop := k.change(c, 3)
	drop.DropPayload = true
	k.swap(drop)
	_, ok = payload()
	k.checkf(!ok, "payload not dropped")
	empty := k.change(c, 4)
	empty.Payload = []byte{}
	k.swap(empty)
	p, ok = payload()
	k.checkf(ok && len(p) == 0, "an empty payload is a payload")
}

func attemptsOrder(k *kit) {
	c := k.create(k.row(k.id()))
	version := int64(1)
	write := func(number int, data string) {
		s := k.change(c, version)
		s.Attempts = []results.NumberedAttempt{{Number: number, Data: []byte(data)}}
		k.swap(s)
		version++
	}
	for _, n := range []int{1, 2, 10, 9, 3} {
		write(n, fmt.Sprint("attempt ", n))
	}
	write(2, "second thoughts")
	got := k.attempts(c.ID)
	want := []string{"attempt 1", "second thoughts", "attempt 3", "attempt 9", "attempt 10"}
	k.checkf(len(got) == len(want), "%d attempts, want %d", len(got), len(want))
	for i, w := range want {
		k.same(fmt.Sprint("attempt ", i), got[i], []byte(w))
	}
	k.checkf(len(k.attempts(k.id())) == 0, "attempts of an unknown id")
}

func attemptsMany(k *kit) {
	const written, kept, batch = 1010, 1000, 101
	c := k.create(k.row(k.id()))
	for i := range written / batch {
		s := k.change(c, int64(i)+1)
		for j := range batch {
			n := i*batch + j + 1
			s.Attempts = append(s.Attempts, results.NumberedAttempt{Number: n, Data: fmt.Append(nil, n)})
		}
		k.swap(s)
	}
	got := k.attempts(c.ID)
	k.checkf(len(got) == kept, "%d attempts", len(got))
	k.same("first", got[0], fmt.Append(nil, written-kept+1))
	k.same("last", got[kept-1], fmt.Append(nil, written))
}

func readUnknown(k *kit) {
	r, err := k.d.Read(k.ctx, k.id(), true)
	k.ok(err)
	k.checkf(r.Version == 0 && r.Head == nil && r.Result == nil, "unknown id is %+v", r)
}

func readMany(k *kit) {
	const n = 700
	ids := make([]task.ID, 0, n+1)
	for i := range n {
		id := k.id()
		if i%3 != 0 {
			k.create(k.row(id))
		}
		ids = append(ids, id)
	}
	ids = append(ids, ids[1])
	rows, err := k.peer.ReadMany(k.ctx, ids)
	k.ok(err)
	k.checkf(len(rows) == len(ids), "%d rows for %d ids", len(rows), len(ids))
	for i, r := range rows {
		if i%3 == 0 && i < n {
			k.checkf(r.Version == 0, "row %d out of nothing", i)
			continue
		}
		k.checkf(r.ID == ids[i] && r.Version == 1, "row %d is %s version %d", i, r.ID, r.Version)
		k.same("head", r.Head, []byte("head of "+ids[i]))
		k.same("spec", r.Spec, []byte("spec of "+ids[i]))
	}
	rows, err = k.d.ReadMany(k.ctx, nil)
	k.ok(err)
	k.checkf(len(rows) == 0, "rows for no ids")
}
