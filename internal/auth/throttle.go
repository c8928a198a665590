package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// How failures slow their sender. Some are free, since they come by
// themselves: a key that was copied with a letter missing, and is tried again.
const (
	firstPause     = time.Second      // doubled by each further failure
	longestPause   = 5 * time.Minute  // at most
	forgottenAfter = 15 * time.Minute // without a failure
	maxClients     = 10_000           // addresses that are remembered, the latest

	// In total, as from many addresses at once.
	failuresAtOnce    = 500
	failuresPerSecond = 20
)

// throttle counts failed authentications by address and together. Its memory
// is bounded: who failed longest ago is forgotten first.
type throttle struct {
	now  func() time.Time
	free int // failures of one address before it is slowed; 0: it never is

	mu      sync.Mutex
	clients map[netip.Prefix]*list.Element
	order   *list.List // of *failures, the latest first
	tokens  float64    // failures that may still come, all together
	at      time.Time  // of tokens
}

// failures are those of one address.
type failures struct {
	client netip.Prefix
	count  int
	last   time.Time
	until  time.Time // slowed
	over   int       // failures beyond those that are free
}

func newThrottle(free int, now func() time.Time) *throttle {
	return &throttle{free: free, now: now, clients: make(map[netip.Prefix]*list.Element), order: list.New(), tokens: failuresAtOnce, at: now()}
}

// clientOf is whom failures are counted for: an address of IPv4, and of IPv6
// the network that one customer has at least.
func clientOf(from netip.Addr) netip.Prefix {
	const customer = 64
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = customer
	}
	p, _ := from.Prefix(bits) // the zero one for an unknown address
	return p
}

// pause is how long what comes from the address is refused unseen; 0: not.
func (t *throttle) pause(from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if e, ok := t.clients[clientOf(from)]; ok {
		if left := held(e).until.Sub(now); left > 0 {
			return left
		}
	}
	return 0
}

// rest is how long nobody's failure is worth a look into the store; 0: it is.
func (t *throttle) rest() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refill(t.now()); t.free > 0 && t.tokens < 1 {
		return firstPause
	}
	return 0
}

func (t *throttle) refill(now time.Time) {
	t.tokens = min(t.tokens+now.Sub(t.at).Seconds()*failuresPerSecond, failuresAtOnce)
	t.at = now
}

// fail counts a failure and returns what its address has by now.
func (t *throttle) fail(from netip.Addr) failures {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.refill(now)
	t.tokens = max(t.tokens-1, 0)
	f := t.of(clientOf(from))
	if now.Sub(f.last) > forgottenAfter {
		f.count = 0
	}
	f.count, f.last = f.count+1, now
	if f.over = f.count - t.free; t.free > 0 && f.over > 0 {
		f.until = now.Add(pauseAfter(f.over))
	}
	return *f
}

// pauseAfter is the pause after so many failures too many.
func pauseAfter(over int) time.Duration {
	pause := firstPause
	for i := 1; i < over && pause < longestPause; i++ {
		pause *= 2
	}
	return min(pause, longestPause)
}

// held is what the list holds.
func held(e *list.Element) *failures {
	f, _ := e.Value.(*failures)
	return f
}

// of returns what is remembered of a client, as the latest.
func (t *throttle) of(client netip.Prefix) *failures {
	if e, ok := t.clients[client]; ok {
		t.order.MoveToFront(e)
		return held(e)
	}
	if len(t.clients) >= maxClients {
		oldest := t.order.Back()
		t.order.Remove(oldest)
		delete(t.clients, held(oldest).client)
	}
	f := &failures{client: client}
	t.clients[client] = t.order.PushFront(f)
	return f
}

// absent remembers ids of keys that the store was asked for and did not know,
// so that asking again costs nothing. It is bounded like throttle.
type absent struct {
	mu    sync.Mutex
	ids   map[string]struct{}
	order []string // a ring
	next  int
}

func newAbsent() *absent {
	return &absent{ids: make(map[string]struct{}), order: make([]string, maxClients)}
}

func (a *absent) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.ids[id]
	return ok
}

func (a *absent) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.ids[id]; ok {
		return
	}
	delete(a.ids, a.order[a.next])
	a.order[a.next], a.ids[id] = id, struct{}{}
	a.next = (a.next + 1) % len(a.order)
}
