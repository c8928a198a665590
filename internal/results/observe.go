package results

import (
	"context"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Observer is told of every call of a driver that ended. It must not block.
type Observer interface {
	// Called: operation is a method of [Driver] in snake case, and err carries
	// the code that [Store] gives it.
	Called(operation string, took time.Duration, err error)
}

// Tracer follows one call: the context it returns is the call's, and the
// function is told of its end.
type Tracer func(ctx context.Context, operation string) (context.Context, func(err error))

// Observe has every call of a driver told of, and followed when trace is not
// nil. Subscriptions are not calls in this sense: they last.
func Observe(d Driver, o Observer, trace Tracer) Driver {
	return &observed{Driver: d, told: o, trace: trace}
}

type observed struct {
	Driver
	told  Observer
	trace Tracer
}

// call is one call under way.
type call struct {
	told      Observer
	operation string
	begin     time.Time
	span      func(error) // nil: not followed
}

func (d *observed) begin(ctx context.Context, operation string) (context.Context, call) {
	c := call{told: d.told, operation: operation, begin: time.Now()}
	if d.trace != nil {
		ctx, c.span = d.trace(ctx, operation)
	}
	return ctx, c
}

func (c *call) end(err *error) {
	why := fail(*err)
	c.told.Called(c.operation, time.Since(c.begin), why)
	if c.span != nil {
		c.span(why)
	}
}

func (d *observed) Create(ctx context.Context, row Create) (_ Created, err error) {
	ctx, c := d.begin(ctx, "create")
	defer c.end(&err)
	return d.Driver.Create(ctx, row)
}

func (d *observed) Accepted(ctx context.Context, id task.ID) (err error) {
	ctx, c := d.begin(ctx, "accepted")
	defer c.end(&err)
	return d.Driver.Accepted(ctx, id)
}

func (d *observed) Renew(ctx context.Context, id task.ID, old, next time.Time) (_ bool, err error) {
	ctx, c := d.begin(ctx, "renew")
	defer c.end(&err)
	return d.Driver.Renew(ctx, id, old, next)
}

func (d *observed) Abandon(ctx context.Context, now time.Time, limit int) (_ int, err error) {
	ctx, c := d.begin(ctx, "abandon")
	defer c.end(&err)
	return d.Driver.Abandon(ctx, now, limit)
}

func (d *observed) Swap(ctx context.Context, s Swap) (_ Swapped, err error) {
	ctx, c := d.begin(ctx, "swap")
	defer c.end(&err)
	return d.Driver.Swap(ctx, s)
}

func (d *observed) Read(ctx context.Context, id task.ID, withResult bool) (_ Row, err error) {
	ctx, c := d.begin(ctx, "read")
	defer c.end(&err)
	return d.Driver.Read(ctx, id, withResult)
}

func (d *observed) ReadMany(ctx context.Context, ids []task.ID) (_ []Row, err error) {
	ctx, c := d.begin(ctx, "read_many")
	defer c.end(&err)
	return d.Driver.ReadMany(ctx, ids)
}

func (d *observed) Payload(ctx context.Context, id task.ID) (_ []byte, _ bool, err error) {
	ctx, c := d.begin(ctx, "payload")
	defer c.end(&err)
	return d.Driver.Payload(ctx, id)
}

func (d *observed) Attempts(ctx context.Context, id task.ID) (_ [][]byte, err error) {
	ctx, c := d.begin(ctx, "attempts")
	defer c.end(&err)
	return d.Driver.Attempts(ctx, id)
}

func (d *observed) Await(ctx context.Context, id task.ID, t Topic) (_ Row, err error) {
	ctx, c := d.begin(ctx, "await")
	defer c.end(&err)
	return d.Driver.Await(ctx, id, t)
}

func (d *observed) Scan(ctx context.Context, s Scan) (_ []Row, _ Cursor, _ bool, err error) {
	ctx, c := d.begin(ctx, "scan")
	defer c.end(&err)
	return d.Driver.Scan(ctx, s)
}

func (d *observed) CountLanes(ctx context.Context, project string, ep task.EndpointID) (_ Lanes, err error) {
	ctx, c := d.begin(ctx, "count_lanes")
	defer c.end(&err)
	return d.Driver.CountLanes(ctx, project, ep)
}

func (d *observed) Expiring(ctx context.Context, now time.Time, limit int) (_ []task.ID, err error) {
	ctx, c := d.begin(ctx, "expiring")
	defer c.end(&err)
	return d.Driver.Expiring(ctx, now, limit)
}

func (d *observed) Forget(ctx context.Context, project string, now time.Time) (err error) {
	ctx, c := d.begin(ctx, "forget")
	defer c.end(&err)
	return d.Driver.Forget(ctx, project, now)
}

func (d *observed) Beat(ctx context.Context, owner string, ttl time.Duration) (err error) {
	ctx, c := d.begin(ctx, "beat")
	defer c.end(&err)
	return d.Driver.Beat(ctx, owner, ttl)
}

func (d *observed) Alive(ctx context.Context, owner string) (_ bool, err error) {
	ctx, c := d.begin(ctx, "alive")
	defer c.end(&err)
	return d.Driver.Alive(ctx, owner)
}

func (d *observed) Lead(ctx context.Context, name, owner string, ttl time.Duration) (_ bool, err error) {
	ctx, c := d.begin(ctx, "lead")
	defer c.end(&err)
	return d.Driver.Lead(ctx, name, owner, ttl)
}

func (d *observed) Hint(ctx context.Context, t Topic, msg string) (err error) {
	ctx, c := d.begin(ctx, "hint")
	defer c.end(&err)
	return d.Driver.Hint(ctx, t, msg)
}

func (d *observed) Ready(ctx context.Context) (err error) {
	ctx, c := d.begin(ctx, "ready")
	defer c.end(&err)
	return d.Driver.Ready(ctx)
}

func (d *observed) Flagged(ctx context.Context, before time.Time, limit int) (_ []task.ID, err error) {
	ctx, c := d.begin(ctx, "flagged")
	defer c.end(&err)
	return d.Driver.Flagged(ctx, before, limit)
}

func (d *observed) Unflag(ctx context.Context, u Unflag) (err error) {
	ctx, c := d.begin(ctx, "unflag")
	defer c.end(&err)
	return d.Driver.Unflag(ctx, u)
}

func (d *observed) SwapDocument(ctx context.Context, doc task.Document) (_ task.Document, _ bool, err error) {
	ctx, c := d.begin(ctx, "swap_document")
	defer c.end(&err)
	return d.Driver.SwapDocument(ctx, doc)
}

func (d *observed) ReadDocument(ctx context.Context, kind, group, name string) (_ task.Document, err error) {
	ctx, c := d.begin(ctx, "read_document")
	defer c.end(&err)
	return d.Driver.ReadDocument(ctx, kind, group, name)
}

func (d *observed) ListDocuments(
	ctx context.Context, kind, group, before string, limit int,
) (_ []task.Document, _ bool, err error) {
	ctx, c := d.begin(ctx, "list_documents")
	defer c.end(&err)
	return d.Driver.ListDocuments(ctx, kind, group, before, limit)
}

func (d *observed) Grant(ctx context.Context, owner string, asks []task.QuotaAsk, ttl time.Duration) (_ []int, err error) {
	ctx, c := d.begin(ctx, "grant")
	defer c.end(&err)
	return d.Driver.Grant(ctx, owner, asks, ttl)
}

func (d *observed) Take(ctx context.Context, asks []task.RateAsk) (_ []task.Taken, err error) {
	ctx, c := d.begin(ctx, "take")
	defer c.end(&err)
	return d.Driver.Take(ctx, asks)
}

func (d *observed) Usage(ctx context.Context, project string) (_ task.Usage, err error) {
	ctx, c := d.begin(ctx, "usage")
	defer c.end(&err)
	return d.Driver.Usage(ctx, project)
}

func (d *observed) Tally(ctx context.Context, owner string, minute int64, ts []Tally, ttl time.Duration) (err error) {
	ctx, c := d.begin(ctx, "tally")
	defer c.end(&err)
	return d.Driver.Tally(ctx, owner, minute, ts, ttl)
}

func (d *observed) Tallied(ctx context.Context, names []string, first, last int64) (_ []Tallied, err error) {
	ctx, c := d.begin(ctx, "tallied")
	defer c.end(&err)
	return d.Driver.Tallied(ctx, names, first, last)
}
