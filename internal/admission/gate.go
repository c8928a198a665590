package admission

import (
	"context"
	"sync"
	"time"
)

// GateOptions of a [Gate]. All are required.
type GateOptions struct {
	// Limit is how many are in at the same time, and Queue how many may wait.
	Limit, Queue int
	// Patience is how long one waits: for the bursts of a moment. When some
	// have been waiting for all of that time it is no burst, and Haste is how
	// long one waits from then on: a queue that stands only adds latency. Not
	// one whose caller has nothing else here: the queue is none of its making,
	// and it is next.
	Patience, Haste time.Duration
}

// Gate lets in so many at the same time, a few more wait for a moment, and the
// others are refused. Who comes next is decided among callers, not requests:
// the one that has the fewest in. When nobody more can wait, the one that has
// the most of all is refused. So a caller that floods fills only what others
// leave, and one that asks now and then hardly notices.
type Gate struct {
	opt GateOptions

	mu      sync.Mutex
	in      int
	waiting int
	since   time.Time // that some wait; meaningless when none do
	callers map[string]*caller
}

// caller is who has something in, or waits.
type caller struct {
	in    int
	queue []*waiter // the first came first
}

func (c *caller) all() int { return c.in + len(c.queue) }

// waiter is told once: true, it is in; false, it is refused.
type waiter struct {
	told chan bool
	came time.Time
}

// NewGate makes one.
func NewGate(opt GateOptions) *Gate {
	return &Gate{opt: opt, callers: make(map[string]*caller)}
}

// Enter waits to be let in; false is a refusal. Who is in calls leave once.
func (g *Gate) Enter(ctx context.Context, name string) bool {
	w, in := g.come(name)
	if w == nil {
		return in
	}
	timer := time.NewTimer(g.patience(name))
	defer timer.Stop()
	select {
	case in = <-w.told:
		return in
	case <-timer.C:
	case <-ctx.Done():
	}
	return g.give(name, w)
}

// Refuses reports whether Enter would refuse at once.
func (g *Gate) Refuses(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in < g.opt.Limit || g.waiting < g.opt.Queue {
		return false
	}
	own := 0
	if c := g.callers[name]; c != nil {
		own = c.all()
	}
	_, most := g.greatest()
	return most == nil || most.all() <= own+1
}

// Load tells how many are in, and how many wait.
func (g *Gate) Load() (in, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in, g.waiting
}

// come lets the caller in, or makes it wait, or (neither) refuses it.
func (g *Gate) come(name string) (w *waiter, in bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.callers[name]
	if c == nil {
		c = &caller{}
		g.callers[name] = c
	}
	switch {
	case g.in < g.opt.Limit && g.waiting == 0:
		g.in++
		c.in++
		return nil, true
	case g.waiting >= g.opt.Queue && !g.displace(c):
		g.forget(name, c)
		return nil, false
	}
	if g.waiting == 0 {
		g.since = time.Now()
	}
	w = &waiter{told: make(chan bool, 1), came: time.Now()}
	c.queue = append(c.queue, w)
	g.waiting++
	return w, false
}

// displace refuses the latest of the caller that has the most, to make room for
// one more of c; false when that is c itself, or has as few.
func (g *Gate) displace(c *caller) bool {
	name, most := g.greatest()
	if most == nil || most == c || most.all() <= c.all()+1 {
		return false
	}
	last := len(most.queue) - 1
	w := most.queue[last]
	most.queue = most.queue[:last]
	g.waiting--
	g.forget(name, most)
	w.told <- false
	return true
}

// greatest is the caller that has the most of those that wait.
func (g *Gate) greatest() (name string, most *caller) {
	for n, c := range g.callers {
		if len(c.queue) > 0 && (most == nil || c.all() > most.all()) {
			name, most = n, c
		}
	}
	return name, most
}

// Leave ends what Enter let in.
func (g *Gate) Leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.callers[name]
	c.in--
	g.in--
	g.forget(name, c)
	g.next()
}

// next lets in who waits and has the fewest in; of equals the one that has
// waited the longest.
func (g *Gate) next() {
	if g.in >= g.opt.Limit || g.waiting == 0 {
		return
	}
	var least *caller
	for _, c := range g.callers {
		if len(c.queue) > 0 && (least == nil || c.before(least)) {
			least = c
		}
	}
	w := least.queue[0]
	least.queue = least.queue[1:]
	least.in++
	g.in++
	g.waiting--
	w.told <- true
}

func (c *caller) before(d *caller) bool {
	if c.in != d.in {
		return c.in < d.in
	}
	return c.queue[0].came.Before(d.queue[0].came)
}

// give gives up waiting, unless the caller was told meanwhile.
func (g *Gate) give(name string, w *waiter) (in bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case in = <-w.told:
		return in
	default:
	}
	c := g.callers[name]
	for i, q := range c.queue {
		if q == w {
			c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
			g.waiting--
			break
		}
	}
	g.forget(name, c)
	return false
}

func (g *Gate) forget(name string, c *caller) {
	if c.in == 0 && len(c.queue) == 0 {
		delete(g.callers, name)
	}
}

func (g *Gate) patience(name string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.callers[name]
	alone := c == nil || c.all() <= 1 // nil: it was told already
	if g.waiting > 0 && !alone && time.Since(g.since) > g.opt.Patience {
		return g.opt.Haste
	}
	return g.opt.Patience
}
