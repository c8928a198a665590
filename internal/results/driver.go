package results

import (
	"context"
	"errors"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// ErrUnavailable wraps every failure to reach the store or to get an answer
// from it in time: the change may or may not have happened.
var ErrUnavailable = errors.New("store unavailable")

// Row is one stored task in a driver's hands: opaque bytes beside the few
// values that stores compare and index.
type Row struct {
	ID      task.ID
	Version int64  // 0: no row
	Head    []byte // task.Record
	Spec    []byte // task.Spec
	Result  []byte // task.Result; nil when none
	Flag    int    // see Swap
}

// Index says where a row is listed. It is given whole with every write.
type Index struct {
	Project  string
	Endpoint task.EndpointID
	// Created orders all lists.
	Created time.Time
	// Lane is not 0 for a live row (one that is not final): it is listed under
	// its endpoint and counted by lane.
	Lane Lane
	// Failed rows are listed as dead letters of their project.
	Failed bool
	// Hidden rows are in no list of their project.
	Hidden bool
	// ExpiresAt puts a live row into the index of Expiring; zero: not now.
	ExpiresAt time.Time
	// Expires says that ExpiresAt is set at some time of the row's life.
	Expires bool
	// Bytes is what the row takes up of what its project may use: see Usage.
	Bytes int64
}

// Lane parts the live rows of an endpoint for counting, from 1 to [MaxLane].
// Drivers do not know what a lane means. 0: not live.
type Lane int

// MaxLane is the highest lane.
const MaxLane Lane = 5

// LaneCount is how many rows a lane has and when the oldest of them was
// created, zero for an empty lane.
type LaneCount struct {
	Rows   int
	Oldest time.Time
}

// Lanes counts every lane of an endpoint; that of lane n stands at n, and
// nothing at 0.
type Lanes [MaxLane + 1]LaneCount

// IdemKey is an idempotency key to claim together with a row.
type IdemKey struct {
	// Key is a digest of project and key, of fixed length.
	Key string
	// Fingerprint is a digest of the request.
	Fingerprint string
	Until       time.Time
}

// Create is a request to store a new row.
type Create struct {
	Row
	Index
	Payload []byte // kept beside the row; nil: not kept
	Idem    *IdemKey
	// AcceptBy is when the acceptance must have been noted (Accepted);
	// after it the row may be abandoned by Abandon. Zero: it counts as noted.
	AcceptBy time.Time
	KeepTill time.Time
	// Ask stores nothing and claims nothing: the answer says whose key Idem is,
	// New that it is nobody's.
	Ask bool
}

// Created is the answer to a Create. Exactly one of the two cases holds.
type Created struct {
	// New: the row is stored (and the key claimed). Also true when the key
	// pointed to a row that is gone: then it now points to the new one.
	New bool
	// Otherwise the key is taken: Row is the task it belongs to,
	// SameRequest tells whether the fingerprint matches, AcceptBy is not
	// zero while that task's acceptance has not been noted.
	Row         Row
	SameRequest bool
	AcceptBy    time.Time
}

// Swap is a compare-and-swap on a row's version.
type Swap struct {
	ID task.ID
	// Expect is the version the row must have; 0: there must be no row.
	Expect int64
	// Version and Head replace the row's. Spec is written only when Expect
	// is 0.
	Version int64
	Head    []byte
	Spec    []byte
	Index
	// Result replaces the result when not nil; ClearResult removes it.
	Result      []byte
	ClearResult bool
	// Payload is kept beside the row when not nil; DropPayload removes it.
	Payload     []byte
	DropPayload bool
	// Attempts are upserted by number.
	Attempts []NumberedAttempt
	KeepTill time.Time
	// Flag is kept beside the row when not 0, until Unflag names it; FlagAt
	// is its place in Flagged. With 0 the row's flag stays as it is.
	Flag   int
	FlagAt time.Time
	// Wake tells waiters of this row (Await) that it changed for good.
	Wake bool
}

// Unflag names a flag to remove, and the row's end without it.
type Unflag struct {
	ID       task.ID
	Flag     int
	Version  int64
	KeepTill time.Time
}

// NumberedAttempt is one encoded task.Attempt.
type NumberedAttempt struct {
	Number int
	Data   []byte
}

// Swapped is the answer to a Swap.
type Swapped struct {
	OK bool
	// Row is the present row when not OK (Version 0: none), without result.
	Row Row
}

// List says which list to scan.
type List int

// The lists. All are newest first.
const (
	ListAll    List = iota // every row of a project
	ListFailed             // dead letters of a project
	ListLive               // rows of an endpoint that are not final
)

// Scan asks for a page of a list.
type Scan struct {
	List     List
	Project  string
	Endpoint task.EndpointID // with ListLive
	// Before continues after the last row of the page before (created, id);
	// zero: from the newest.
	Before   time.Time
	BeforeID task.ID
	Limit    int
}

// Topic names a stream of hints. Hints may be lost; everything that uses
// them checks by itself from time to time.
type Topic string

// Driver is what a store must do for Taskgate. resultstest proves each
// sentence here for every driver; no driver opts out.
//
// All methods are safe for concurrent use and end by their context's end.
// Drivers know versions, never states. Failures wrap ErrUnavailable.
type Driver interface { //nolint:interfacebloat // one store, one contract; who uses it declares the part it needs
	// Create stores a row, its payload and index entries, claims the key and
	// registers AcceptBy: all or nothing, exactly one winner per key. A row
	// with the same id that is there already (a Create that comes late, after
	// its task's message made the row) is not touched and is the answer, as
	// the same request.
	Create(ctx context.Context, c Create) (Created, error)
	// Accepted notes that the caller of a Create was told "accepted". A
	// Swap notes the same. Durable when it returns nil.
	Accepted(ctx context.Context, id task.ID) error
	// Renew gives a row that was never noted as accepted a new AcceptBy
	// (next), as when its submission is repeated. ok is false when another
	// caller renewed it first (its AcceptBy is not old) or it was noted.
	Renew(ctx context.Context, id task.ID, old, next time.Time) (ok bool, err error)
	// Abandon removes up to limit rows (with key and index entries) whose
	// AcceptBy passed without a note. Rows that were swapped are never
	// touched.
	Abandon(ctx context.Context, now time.Time, limit int) (int, error)
	// Swap changes a row if it has the expected version: exactly one winner
	// of concurrent swaps. All parts of a swap happen or none.
	Swap(ctx context.Context, s Swap) (Swapped, error)
	// Read returns the row, Version 0 when there is none. With result also
	// its result.
	Read(ctx context.Context, id task.ID, withResult bool) (Row, error)
	// ReadMany returns the rows of ids, in order, without results.
	ReadMany(ctx context.Context, ids []task.ID) ([]Row, error)
	// Payload returns the kept payload; ok is false when it is not kept.
	Payload(ctx context.Context, id task.ID) (p []byte, ok bool, err error)
	// Attempts returns the attempts in order of number, at most the latest
	// 1000.
	Attempts(ctx context.Context, id task.ID) ([][]byte, error)
	// Await reads the row and, in the same step, registers the waiter's
	// topic: a Swap with Wake after it sends the row's id to the topic.
	// Registrations last at least 90 s.
	Await(ctx context.Context, id task.ID, t Topic) (Row, error)
	// Scan returns a page of a list, rows without results, ordered by
	// (Created, ID) descending; times count in milliseconds. Rows that are
	// gone are left out (and may be cleaned up); more tells whether the list
	// goes on, last is where the page ended even when every row was gone.
	Scan(ctx context.Context, s Scan) (rows []Row, last Cursor, more bool, err error)
	// CountLanes counts the endpoint's live rows by lane. Rows whose TTL is
	// over may count until Forget has removed them.
	CountLanes(ctx context.Context, project string, ep task.EndpointID) (Lanes, error)
	// Expiring returns up to limit ids of live rows whose ExpiresAt passed.
	Expiring(ctx context.Context, now time.Time, limit int) ([]task.ID, error)
	// Flagged returns up to limit ids of rows whose flag was set before the
	// given time, those of the longest first.
	Flagged(ctx context.Context, before time.Time, limit int) ([]task.ID, error)
	// Unflag removes the row's flag, if it is the given one, and then sets
	// KeepTill, if the row has the given version. The version stays.
	Unflag(ctx context.Context, u Unflag) error
	// SwapDocument writes a document if the present one has the document's
	// version (0: there is none), which grows by one: exactly one winner of
	// concurrent swaps, durable when it returns nil. Data nil removes it.
	// When not ok, present is what is there (Version 0: nothing).
	SwapDocument(ctx context.Context, doc task.Document) (present task.Document, ok bool, err error)
	// ReadDocument returns a document, Version 0 when there is none or its
	// KeepTill passed. KeepTill need not be set in what is read.
	ReadDocument(ctx context.Context, kind, group, name string) (task.Document, error)
	// ListDocuments returns up to limit documents of a group, names in
	// descending byte order, those below before ("": from the last name); more
	// tells whether the list goes on. Documents that are gone are left out.
	ListDocuments(ctx context.Context, kind, group, before string, limit int) (docs []task.Document, more bool, err error)
	// Forget removes what TTLs left behind (index entries of rows that are
	// gone), a bounded step at a time.
	Forget(ctx context.Context, project string, now time.Time) error
	// Beat says that the process lives for ttl from now; Alive asks. The
	// embedded store knows only this process: every earlier one is dead.
	Beat(ctx context.Context, owner string, ttl time.Duration) error
	Alive(ctx context.Context, owner string) (bool, error)
	// Lead takes or renews a named lease for owner; exactly one owner holds
	// it at a time.
	Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	// Hint sends a hint to a topic's subscribers.
	Hint(ctx context.Context, t Topic, msg string) error
	// Subscribe calls fn for every hint of the topic until ctx ends, and
	// reset after every time hints may have been missed, the start included:
	// a hint sent after a reset arrives, or another reset follows. It blocks,
	// reconnects by itself, and returns nil when ctx ends and ErrUnavailable
	// when the driver is closed; then fn is called no more. fn and reset must
	// not block.
	Subscribe(ctx context.Context, t Topic, fn func(msg string), reset func()) error
	Quotas
	Rates
	Usages
	Tallies
	// Ready reports nil when the store answers.
	Ready(ctx context.Context) error
	// Close may be called twice. After it every method fails.
	Close() error
}

// Cursor is a place in a list.
type Cursor struct {
	Created time.Time
	ID      task.ID
}
