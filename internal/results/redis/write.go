package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// laneBits: a live list's score is its row's lane and, below it, when it was
// created. 44 bits of milliseconds last until the year 2527, and a score of
// 47 bits is exact.
const (
	laneBits  = 44
	laneWidth = 1 << laneBits
)

// liveScore is 0 for a row that is not live.
func liveScore(ix *results.Index) int64 {
	if ix.Lane == 0 {
		return 0
	}
	return int64(ix.Lane)<<laneBits + millis(ix.Created)
}

// expiry is 0 for a row that does not expire now, -1 for one that never does.
func expiry(ix *results.Index) int64 {
	if !ix.Expires && ix.ExpiresAt.IsZero() {
		return -1
	}
	return millis(ix.ExpiresAt)
}

// placed are the arguments that say where a row is listed.
func placed(ix *results.Index) []any {
	return []any{
		ix.Project, string(ix.Endpoint), millis(ix.Created), liveScore(ix), flag(ix.Failed), expiry(ix), flag(ix.Hidden),
	}
}

// Create implements results.Driver.
func (d *Driver) Create(ctx context.Context, c results.Create) (results.Created, error) {
	rowKey := d.keys.row(c.ID)
	idem, idemKey := results.IdemKey{}, rowKey
	if c.Idem != nil {
		idem = *c.Idem
		idemKey = d.keys.of(c.ID) + "i:" + idem.Key
	}
	args := []any{string(c.ID), idem.Fingerprint, millis(idem.Until), d.keys.of(c.ID), idem.Key}
	args = append(args, placed(&c.Index)...)
	keepTill := millis(c.KeepTill)
	if c.Ask {
		keepTill = 0
	}
	args = append(args, millis(c.AcceptBy), keepTill, "v", c.Version, "h", c.Head, "s", c.Spec)
	if c.Payload != nil {
		args = append(args, "p", c.Payload)
	}
	if c.Result != nil {
		args = append(args, "r", c.Result)
	}
	args = append(args, "u", charge(&c.Index, c.KeepTill))
	reply, err := d.run(ctx, "create", createScript, []string{rowKey, idemKey}, args...)
	if err != nil {
		return results.Created{}, err
	}
	if reply == done {
		return results.Created{New: true}, nil
	}
	return taken(reply)
}

// taken reads {id, v, h, s, f, same, AcceptBy}.
func taken(reply any) (results.Created, error) {
	const same, acceptBy, n = rowFields + 1, rowFields + 2, rowFields + 3
	f, _ := reply.([]any)
	if len(f) != n {
		return results.Created{}, fail("create", errReply)
	}
	id, _ := f[0].(string)
	r, err := row(task.ID(id), f[1:same])
	if err != nil {
		return results.Created{}, err
	}
	isSame, _ := f[same].(int64)
	score, _ := f[acceptBy].(string)
	ms, err := strconv.ParseInt(score, 10, 64)
	if err != nil {
		return results.Created{}, fail("create", errReply)
	}
	return results.Created{Row: r, SameRequest: isSame == 1, AcceptBy: task.FromMillis(ms)}, nil
}

// Accepted implements results.Driver.
func (d *Driver) Accepted(ctx context.Context, id task.ID) error {
	_, err := d.run(ctx, "note acceptance", acceptedScript, []string{d.keys.row(id), d.keys.pend(id)}, string(id))
	return err
}

// Renew implements results.Driver.
func (d *Driver) Renew(ctx context.Context, id task.ID, old, next time.Time) (bool, error) {
	reply, err := d.run(ctx, "renew acceptance", renewScript, []string{d.keys.row(id), d.keys.pend(id)},
		string(id), millis(old), millis(next))
	return reply == int64(1), err
}

// Abandon implements results.Driver.
func (d *Driver) Abandon(ctx context.Context, now time.Time, limit int) (int, error) {
	total := 0
	for _, tag := range d.keys.shards {
		for total < limit {
			reply, err := d.run(ctx, "abandon", abandonScript, []string{tag + "pend"}, millis(now), limit-total, tag)
			if err != nil {
				return total, err
			}
			pair, _ := reply.([]any)
			if len(pair) != 2 {
				return total, fail("abandon", errReply)
			}
			n, _ := pair[0].(int64)
			total += int(n)
			if pair[1] == int64(0) {
				break
			}
		}
	}
	return total, nil
}

// Swap implements results.Driver.
func (d *Driver) Swap(ctx context.Context, s results.Swap) (results.Swapped, error) {
	args := []any{string(s.ID), s.Expect, d.keys.of(s.ID), d.keys.channels()}
	args = append(args, placed(&s.Index)...)
	remove, set := parts(&s)
	args = append(args, millis(s.KeepTill), flag(s.Wake), flagScore(&s), len(remove))
	args = append(args, remove...)
	args = append(args, set...)
	reply, err := d.run(ctx, "swap", swapScript, []string{d.keys.row(s.ID), d.keys.waits(s.ID)}, args...)
	if err != nil || reply == done {
		return results.Swapped{OK: err == nil}, err
	}
	present, err := rowOf(s.ID, reply)
	return results.Swapped{Row: present}, err
}

// flagScore is -1 for a swap that flags nothing.
func flagScore(s *results.Swap) int64 {
	if s.Flag == 0 {
		return -1
	}
	return millis(s.FlagAt)
}

// Unflag implements results.Driver.
func (d *Driver) Unflag(ctx context.Context, u results.Unflag) error {
	_, err := d.run(ctx, "unflag", unflagScript, []string{d.keys.row(u.ID), d.keys.flags(u.ID.Shard())},
		string(u.ID), u.Flag, u.Version, millis(u.KeepTill))
	return err
}

// parts are the fields that a swap removes and sets.
func parts(s *results.Swap) (remove, set []any) {
	set = []any{"v", s.Version, "h", s.Head}
	if s.Expect == 0 {
		set = append(set, "s", s.Spec)
	}
	switch {
	case s.Result != nil:
		set = append(set, "r", s.Result)
	case s.ClearResult:
		remove = append(remove, "r")
	}
	switch {
	case s.Payload != nil:
		set = append(set, "p", s.Payload)
	case s.DropPayload:
		remove = append(remove, "p")
	}
	if s.Flag != 0 {
		set = append(set, "f", s.Flag)
	}
	for _, a := range s.Attempts {
		set = append(set, "a"+strconv.Itoa(a.Number), a.Data)
		if old := a.Number - maxAttempts; old > 0 {
			remove = append(remove, "a"+strconv.Itoa(old))
		}
	}
	set = append(set, "u", charge(&s.Index, s.KeepTill))
	return remove, set
}
