package dispatch

import (
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Figures of the hosts.
const (
	hostPart    = 8 // a host may have an eighth of the places that the others leave
	hostSoonest = time.Second
	hostLatest  = time.Minute
	// hostTakes is what an attempt is taken to last until one has ended.
	hostTakes = 100 * time.Millisecond
	hostsKept = 4096
)

// hosts parts what is in hand of an endpoint whose tasks bring their own
// targets, so that a host that hangs does not keep the others from theirs: a
// delivery that finds no place for its host comes again later, instead of
// waiting here. The scarcer the places, the fewer a host may have, so that
// many bad hosts do not fill them either.
type hosts struct {
	places int // of one endpoint: its prefetch

	mu     sync.Mutex
	inHand map[task.EndpointID]int
	byKey  map[laneKey]*hostUse
}

// hostUse is what a host has, and how fast it is.
type hostUse struct {
	inHand int
	took   time.Duration // of one attempt, smoothed
	next   time.Time     // when those sent away so far will have had their turns
}

func newHosts(places int) *hosts {
	return &hosts{places: places, inHand: make(map[task.EndpointID]int), byKey: make(map[laneKey]*hostUse)}
}

// hostOf is the host that a task's own target names.
func hostOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "" // it fails in its attempt
	}
	return strings.ToLower(u.Host)
}

// enter takes a place for the host. Without one, ok is false and wait is when
// to come again: as soon as there may be a place, by what was sent away before.
func (h *hosts) enter(key laneKey, now time.Time) (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.byKey[key]
	if u == nil {
		h.tidy(now)
		u = &hostUse{took: hostTakes}
		h.byKey[key] = u
	}
	others := h.inHand[key.id] - u.inHand
	most := max(guaranteed, (h.places-others)/hostPart)
	if u.inHand < most {
		u.inHand++
		h.inHand[key.id]++
		return 0, true
	}
	if u.next.Before(now) {
		u.next = now
	}
	u.next = u.next.Add(u.took / time.Duration(most))
	if latest := now.Add(hostLatest); u.next.After(latest) {
		u.next = latest
	}
	wait = max(u.next.Sub(now), hostSoonest)
	return wait + rand.N(wait/4), false //nolint:gosec // no secret
}

// leave gives the place back; the attempt took so long.
func (h *hosts) leave(key laneKey, took time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.byKey[key]
	u.took += (took - u.took) / 4
	if u.inHand--; u.inHand == 0 && !now.Before(u.next) {
		delete(h.byKey, key)
	}
	if h.inHand[key.id]--; h.inHand[key.id] == 0 {
		delete(h.inHand, key.id)
	}
}

// tidy keeps the memory bounded: what has nothing in hand is forgotten.
func (h *hosts) tidy(now time.Time) {
	if len(h.byKey) < hostsKept {
		return
	}
	for key, u := range h.byKey {
		if u.inHand == 0 && now.After(u.next) {
			delete(h.byKey, key)
		}
	}
}
