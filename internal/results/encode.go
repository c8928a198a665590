package results

import (
	"errors"
	"fmt"
	"slices"

	"github.com/taskgate/taskgate/internal/task"
)

var errNoSpec = errors.New("a change without its task's spec")

// lanes are the states of live tasks in the order of their lanes.
var lanes = [MaxLane + 1]task.State{"", task.Scheduled, task.Queued, task.Running, task.Retrying, task.Awaiting}

func laneOf(s task.State) Lane { return Lane(max(0, slices.Index(lanes[:], s))) }

func index(s *task.Spec, r *task.Record) Index {
	ix := Index{
		Project: s.Project, Endpoint: s.EndpointID(), Created: s.CreatedAt,
		Lane: laneOf(r.State), Failed: r.State == task.Failed, Hidden: s.CallbackOf != "",
		Expires: !s.ExpiresAt.IsZero(),
	}
	// A running attempt began in time: only what waits can expire.
	if r.State.Waiting() {
		ix.ExpiresAt = s.ExpiresAt
	}
	if !r.State.Final() {
		ix.Bytes = int64(s.PayloadSize)
	}
	return ix
}

func encodeNew(t task.NewTask) (Create, error) {
	head, err := t.Record.EncodeHead()
	if err != nil {
		return Create{}, fmt.Errorf("encode record: %w", err)
	}
	spec, err := task.EncodeSpec(&t.Spec)
	if err != nil {
		return Create{}, fmt.Errorf("encode spec: %w", err)
	}
	snap := task.Snapshot{Spec: t.Spec, Record: t.Record}
	c := Create{
		Row:     Row{ID: t.Spec.ID, Version: t.Record.Version, Head: head, Spec: spec},
		Index:   index(&t.Spec, &t.Record),
		Payload: t.Payload, AcceptBy: t.AcceptBy, KeepTill: snap.KeepUntil(), Ask: t.Ask,
	}
	if t.IdemKey != "" {
		c.Idem = &IdemKey{Key: t.IdemKey, Fingerprint: t.Fingerprint, Until: t.Spec.IdempotentUntil}
	}
	return c, nil
}

func encodeChange(c task.Change) (Swap, error) {
	if c.Spec == nil {
		return Swap{}, errNoSpec
	}
	head, err := c.Next.EncodeHead()
	if err != nil {
		return Swap{}, fmt.Errorf("encode record: %w", err)
	}
	snap := task.Snapshot{Spec: *c.Spec, Record: c.Next}
	if c.Outbox {
		snap.Outbox = c.Next.Gen
	}
	s := Swap{
		ID: c.Spec.ID, Expect: c.Expect, Version: c.Next.Version, Head: head,
		Index: index(c.Spec, &c.Next), ClearResult: c.ClearResult,
		Payload: c.Payload, DropPayload: c.DropPayload,
		KeepTill: snap.KeepUntil(), Wake: c.Next.State.Final(), Flag: snap.Outbox, FlagAt: c.Next.EndedAt,
	}
	if c.Next.State == task.Failed {
		s.Bytes = int64(len(c.Payload))
	}
	if c.Expect == 0 {
		if s.Spec, err = task.EncodeSpec(c.Spec); err != nil {
			return Swap{}, fmt.Errorf("encode spec: %w", err)
		}
	}
	if c.Result != nil {
		if s.Result, err = task.EncodeResult(c.Result); err != nil {
			return Swap{}, fmt.Errorf("encode result: %w", err)
		}
	}
	for i := range c.Attempts {
		b, err := task.EncodeAttempt(&c.Attempts[i])
		if err != nil {
			return Swap{}, fmt.Errorf("encode attempt: %w", err)
		}
		s.Attempts = append(s.Attempts, NumberedAttempt{Number: c.Attempts[i].Number, Data: b})
	}
	return s, nil
}

// snapshot decodes a row, nil for no row.
func snapshot(r Row) (*task.Snapshot, error) {
	if r.Version == 0 {
		return nil, nil //nolint:nilnil // no row is an answer, and nil says so everywhere
	}
	rec, err := task.DecodeHead(r.Head, r.Version)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", r.ID, err)
	}
	spec, err := task.DecodeSpec(r.Spec)
	if err != nil {
		return nil, fmt.Errorf("spec of task %s: %w", r.ID, err)
	}
	return &task.Snapshot{Spec: spec, Record: rec, Outbox: r.Flag}, nil
}
