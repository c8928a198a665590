package results

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// circuitKind is the kind of the documents that say which endpoints are not
// called. What has none is closed.
const circuitKind = "circuit"

const (
	circuitsAtOnce = 500
	// circuitKept is how long a circuit is kept that nobody moves on, after
	// its next moment.
	circuitKept = 24 * time.Hour
)

// Circuits returns those that are not closed.
func (s *Store) Circuits(ctx context.Context) (map[task.EndpointID]task.StoredCircuit, error) {
	out := make(map[task.EndpointID]task.StoredCircuit)
	for before := ""; ; {
		docs, more, err := s.ListDocuments(ctx, circuitKind, "", before, circuitsAtOnce)
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			before = doc.Name
			if c, err := decodeCircuit(doc); err == nil { // the next writer mends another
				out[task.EndpointID(doc.Name)] = c
			}
		}
		if !more {
			return out, nil
		}
	}
}

// SwapCircuit writes a circuit if the stored one has the version; otherwise ok
// is false, and present is what is stored. A closed one is removed.
func (s *Store) SwapCircuit(
	ctx context.Context, id task.EndpointID, c task.Circuit, version int64,
) (present task.StoredCircuit, ok bool, err error) {
	doc := task.Document{Kind: circuitKind, Name: string(id), Version: version}
	if !c.Closed() {
		if doc.Data, err = json.Marshal(&c); err != nil {
			return present, false, fmt.Errorf("encode circuit: %w", err)
		}
		doc.KeepTill = latest(c.At, c.Next, c.Until).Add(circuitKept)
	}
	found, ok, err := s.SwapDocument(ctx, doc)
	switch {
	case err != nil:
		return present, false, err
	case !ok:
		present, err = decodeCircuit(found)
		return present, false, err
	case c.Closed():
		return present, true, nil
	}
	return task.StoredCircuit{Circuit: c, Version: version + 1}, true, nil
}

func decodeCircuit(doc task.Document) (c task.StoredCircuit, err error) {
	c.Version = doc.Version
	if doc.Version == 0 {
		return c, nil
	}
	if err := json.Unmarshal(doc.Data, &c.Circuit); err != nil {
		return c, fmt.Errorf("decode circuit: %w", err)
	}
	return c, nil
}

func latest(ts ...time.Time) (out time.Time) {
	for _, t := range ts {
		if t.After(out) {
			out = t
		}
	}
	return out
}
