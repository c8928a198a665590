package dispatch

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Figures of the holdings.
const (
	// heldUnknown is what a payload is taken for before one has come.
	heldUnknown = 1 << 20
	// heldRest is after how long without a delivery an endpoint rests: it
	// takes no part of the budget.
	heldRest = 2 * time.Second
	// heldCalm is how long a number of places must have been too small before
	// it grows: each is another consumer.
	heldCalm = 10 * time.Second
	// heldLeast of the budget is for the busy, whatever answers take and
	// others rest.
	heldLeast = 4
	// heldFade is how a payload's size is forgotten, by the delivery.
	heldFade = 8
)

// holdings bounds the payloads in this process's hands, those that wait for a
// slot included, by how many deliveries each consumer holds. The endpoints that
// are busy have equal parts of the budget; what small payloads do not need goes
// to the large ones. Each holds one at least, so that none starves: beyond the
// budget there is at most one payload for each endpoint.
//
// An endpoint that rests takes no part. It holds so few that all of them
// together keep the budget: what many of them get at the same moment comes on
// top, once.
type holdings struct {
	budget  int64
	answers func() int64 // bytes of answers in memory
	now     func() time.Time
	changed func() // consumers must follow

	mu    sync.Mutex
	byID  map[task.EndpointID]*holding
	bytes int64
	// denied: a consumer waits until there is less in hand.
	denied bool
}

// holding is what is known of an endpoint.
type holding struct {
	inHand int
	size   int64     // of a payload: rises at once, fades slowly; 0: not known
	seen   time.Time // the last delivery's begin or end
	places int       // as last told; 0 also before that
	since  time.Time // when that was
}

func newHoldings(budget int64, answers func() int64, now func() time.Time, changed func()) *holdings {
	return &holdings{budget: budget, answers: answers, now: now, changed: changed, byID: make(map[task.EndpointID]*holding)}
}

// enter notes a delivery in hand.
func (h *holdings) enter(id task.EndpointID, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.byID[id]
	if u == nil { // not wanted any more
		u = &holding{}
		h.byID[id] = u
	}
	now, size := h.now(), max(int64(n), 1)
	woke := u.rests(now) && h.bytes > h.budget/2
	if u.size == 0 {
		u.places = 0 // what was a guess is told anew
	}
	if woke || size >= 2*u.size {
		h.changed()
	}
	u.size = max(size, u.size-(u.size-size)/heldFade)
	u.inHand++
	u.seen = now
	h.bytes += int64(n)
}

// leave notes its end.
func (h *holdings) leave(id task.EndpointID, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.byID[id]
	u.inHand--
	u.seen = h.now()
	h.bytes -= int64(n)
	if h.denied {
		h.denied = false
		h.changed()
	}
}

// room reports whether another consumer of the endpoint may begin: what runs
// of the one before is still in hand.
func (h *holdings) room(id task.EndpointID, places int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.byID[id]
	if u == nil || u.inHand == 0 || h.bytes+int64(places)*u.size <= h.budget {
		return true
	}
	h.denied = true
	return false
}

func (u *holding) rests(now time.Time) bool {
	return u.inHand == 0 && now.Sub(u.seen) > heldRest
}

// places lowers how many deliveries each endpoint may hold to what the budget
// has room for.
func (h *holdings) places(wanted map[task.EndpointID]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.tidy(wanted)
	var busy, resting []task.EndpointID
	for id, n := range wanted {
		u := h.byID[id]
		switch {
		case n == 0:
		case u == nil:
			h.byID[id] = &holding{}
			resting = append(resting, id)
		case u.rests(now):
			resting = append(resting, id)
		default:
			busy = append(busy, id)
		}
	}
	left := h.budget - h.answers()
	for _, id := range resting {
		u := h.byID[id]
		size := cmp.Or(u.size, heldUnknown)
		fits := h.budget / int64(len(resting)) / size
		wanted[id] = u.calm(wanted[id], int(max(fits, 1)), now)
		left -= int64(wanted[id]) * size
	}
	h.share(busy, wanted, max(left, h.budget/heldLeast), now)
}

// share parts the budget among the busy: the smallest demand first, so that
// what it leaves goes to the others.
func (h *holdings) share(ids []task.EndpointID, wanted map[task.EndpointID]int, left int64, now time.Time) {
	demand := func(id task.EndpointID) int64 { return int64(wanted[id]) * h.byID[id].size }
	slices.SortFunc(ids, func(a, b task.EndpointID) int {
		return cmp.Or(cmp.Compare(demand(a), demand(b)), cmp.Compare(a, b))
	})
	for i, id := range ids {
		u := h.byID[id]
		fits := left / int64(len(ids)-i) / max(u.size, 1)
		wanted[id] = u.calm(wanted[id], int(max(fits, 1)), now)
		left = max(left-int64(wanted[id])*u.size, 0)
	}
}

// calm is how many of n places the endpoint gets when so many fit: as before,
// unless that is too many, or was by half too few for a while.
func (u *holding) calm(n, fits int, now time.Time) int {
	next := n
	if fits < n {
		next = 1 << (bits.Len(uint(fits)) - 1) // a power of two: it changes seldom
	}
	if u.places > 0 && next > u.places && (next < 2*u.places && next < n || now.Sub(u.since) < heldCalm) {
		return min(n, u.places)
	}
	if next != u.places {
		u.places, u.since = next, now
	}
	return next
}

// tidy forgets endpoints that are not consumed any more.
func (h *holdings) tidy(wanted map[task.EndpointID]int) {
	for id, u := range h.byID {
		if _, ok := wanted[id]; !ok && u.inHand == 0 {
			delete(h.byID, id)
		}
	}
}
