package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/taskgate/taskgate/internal/results"
	"github.com/taskgate/taskgate/internal/task"
)

// entry is one member of a list.
type entry struct {
	id    task.ID
	score int64
	shard int
}

// entries reads {id, score, …}.
func entries(shard int, reply any) ([]entry, error) {
	list, _ := reply.([]any)
	out := make([]entry, 0, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		id, _ := list[i].(string)
		text, _ := list[i+1].(string)
		score, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fail("read list", errReply)
		}
		out = append(out, entry{id: task.ID(id), score: score, shard: shard})
	}
	return out, nil
}

// everywhere runs a script on every shard in one round trip and joins the
// entries that it returns.
func (d *Driver) everywhere(
	ctx context.Context, what string, s *redis.Script, key func(shard int) string, args func(shard int) []any,
) ([]entry, error) {
	cmds := make([]*redis.Cmd, task.Shards)
	err := d.pipe(ctx, what, []*redis.Script{s}, func(p redis.Pipeliner) {
		for i := range cmds {
			cmds[i] = s.EvalSha(ctx, p, []string{key(i)}, args(i)...)
		}
	})
	if err != nil {
		return nil, err
	}
	var all []entry
	for i, c := range cmds {
		part, err := entries(i, c.Val())
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// newest is the order of all lists.
func newest(a, b entry) int {
	if a.score != b.score {
		return int(b.score - a.score)
	}
	return strings.Compare(string(b.id), string(a.id))
}

// Scan implements results.Driver: the shards' places are merged, then the
// rows of the winners are read.
func (d *Driver) Scan(ctx context.Context, s results.Scan) ([]results.Row, results.Cursor, bool, error) {
	before := "+inf"
	if !s.Before.IsZero() {
		before = strconv.FormatInt(millis(s.Before), 10)
	}
	key := func(shard int) string { return d.keys.list(shard, s.List, s.Project, s.Endpoint) }
	lanes := results.Lane(0)
	if s.List == results.ListLive {
		lanes = results.MaxLane
	}
	all, err := d.everywhere(ctx, "scan", scanScript, key, func(int) []any {
		return []any{before, string(s.BeforeID), s.Limit + 1, int(lanes), laneWidth}
	})
	if err != nil || len(all) == 0 {
		return nil, results.Cursor{}, false, err
	}
	slices.SortFunc(all, newest)
	more := len(all) > s.Limit
	page := all[:min(len(all), s.Limit)]
	rows, err := d.rows(ctx, page, key)
	if err != nil {
		return nil, results.Cursor{}, false, err
	}
	last := page[len(page)-1]
	return rows, results.Cursor{Created: task.FromMillis(last.score), ID: last.id}, more, nil
}

// rows reads the rows of a page; entries without a row are removed.
func (d *Driver) rows(ctx context.Context, page []entry, key func(shard int) string) ([]results.Row, error) {
	ids := make([]task.ID, len(page))
	for i, e := range page {
		ids[i] = e.id
	}
	all, err := d.ReadMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows := make([]results.Row, 0, len(all))
	var gone []entry
	for i, r := range all {
		if r.Version == 0 {
			gone = append(gone, page[i])
			continue
		}
		rows = append(rows, r)
	}
	if len(gone) == 0 {
		return rows, nil
	}
	return rows, d.pipe(ctx, "clean list", []*redis.Script{dropScript}, func(p redis.Pipeliner) {
		for _, e := range gone {
			dropScript.EvalSha(ctx, p, []string{key(e.shard), d.keys.row(e.id)}, string(e.id))
		}
	})
}

// CountLanes implements results.Driver.
func (d *Driver) CountLanes(ctx context.Context, _ string, ep task.EndpointID) (results.Lanes, error) {
	var sum results.Lanes
	cmds := make([]*redis.Cmd, task.Shards)
	err := d.pipe(ctx, "count", []*redis.Script{lanesScript}, func(p redis.Pipeliner) {
		for i := range cmds {
			key := d.keys.list(i, results.ListLive, "", ep)
			cmds[i] = lanesScript.EvalSha(ctx, p, []string{key}, int(results.MaxLane), laneWidth)
		}
	})
	if err != nil {
		return sum, err
	}
	for _, c := range cmds {
		if err := addLanes(&sum, c.Val()); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// addLanes adds what lanes.lua says of one shard: {rows, lowest score, …}.
func addLanes(sum *results.Lanes, reply any) error {
	list, _ := reply.([]any)
	if len(list) != 2*int(results.MaxLane) {
		return fail("count", errReply)
	}
	for lane := results.Lane(1); lane <= results.MaxLane; lane++ {
		at := &sum[lane]
		n, _ := list[2*lane-2].(int64)
		text, _ := list[2*lane-1].(string)
		score, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fail("count", errReply)
		}
		if oldest := task.FromMillis(score & (laneWidth - 1)); n > 0 && (at.Rows == 0 || oldest.Before(at.Oldest)) {
			at.Oldest = oldest
		}
		at.Rows += int(n)
	}
	return nil
}

// Expiring implements results.Driver.
func (d *Driver) Expiring(ctx context.Context, now time.Time, limit int) ([]task.ID, error) {
	return d.passed(ctx, "expiring", func(shard int) string { return d.keys.shards[shard] + "x" }, now, limit)
}

// Flagged implements results.Driver.
func (d *Driver) Flagged(ctx context.Context, before time.Time, limit int) ([]task.ID, error) {
	return d.passed(ctx, "flagged", d.keys.flags, before.Add(-time.Millisecond), limit)
}

// passed returns the ids of a list of times up to and including until, the
// earliest first.
func (d *Driver) passed(
	ctx context.Context, what string, key func(shard int) string, until time.Time, limit int,
) ([]task.ID, error) {
	all, err := d.everywhere(ctx, what, passedScript, key,
		func(shard int) []any { return []any{millis(until), limit, d.keys.shards[shard]} })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b entry) int { return newest(b, a) })
	all = all[:min(len(all), limit)]
	ids := make([]task.ID, len(all))
	for i, e := range all {
		ids[i] = e.id
	}
	return ids, nil
}

// walk is a list that Forget walks, and how far it got.
type walk struct {
	tag, key, cursor string
	endpoint, set    string // of a live list
}

const (
	walksPerStep   = 64
	entriesPerWalk = 200
)

// Forget implements results.Driver: every step walks on through some of the
// project's lists, from the first to the last and round again.
func (d *Driver) Forget(ctx context.Context, project string, _ time.Time) error {
	step, err := d.takeWalks(ctx, project)
	if err != nil || len(step) == 0 {
		return err
	}
	cmds := make([]*redis.Cmd, len(step))
	err = d.pipe(ctx, "forget", []*redis.Script{forgetScript}, func(p redis.Pipeliner) {
		for i, w := range step {
			cmds[i] = forgetScript.EvalSha(ctx, p, []string{w.key}, w.tag, w.cursor, entriesPerWalk, w.endpoint, w.set)
		}
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range cmds {
		if next := fmt.Sprint(c.Val()); next != "0" {
			step[i].cursor = next
			d.walks[project] = append(d.walks[project], step[i])
		}
	}
	return nil
}

func (d *Driver) takeWalks(ctx context.Context, project string) ([]walk, error) {
	d.mu.Lock()
	left := d.walks[project]
	d.mu.Unlock()
	if len(left) == 0 {
		var err error
		if left, err = d.allWalks(ctx, project); err != nil {
			return nil, err
		}
	}
	n := min(len(left), walksPerStep)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.walks[project] = slices.Clone(left[n:])
	return left[:n], nil
}

func (d *Driver) allWalks(ctx context.Context, project string) ([]walk, error) {
	cmds := make([]*redis.StringSliceCmd, task.Shards)
	err := d.pipe(ctx, "forget", nil, func(p redis.Pipeliner) {
		for i, tag := range d.keys.shards {
			cmds[i] = p.SMembers(ctx, tag+"ep:"+project)
		}
	})
	if err != nil {
		return nil, err
	}
	var all []walk
	for i, tag := range d.keys.shards {
		for _, name := range []string{"ix:", "fx:"} {
			all = append(all, walk{tag: tag, key: tag + name + project, cursor: "0"})
		}
		for _, ep := range cmds[i].Val() {
			all = append(all, walk{
				tag: tag, key: tag + "lx:" + ep, cursor: "0", endpoint: ep, set: tag + "ep:" + project,
			})
		}
	}
	return all, nil
}
