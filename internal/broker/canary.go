package broker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Figures of the canaries.
const (
	canaryEvery = 10 * time.Second
	// CanaryLate is how late a canary must be for its delay to count as
	// stalled.
	CanaryLate = 30 * time.Second
	// canaryStalled is how often a stalled delay is still probed: what is sent
	// into it stays there.
	canaryStalled  = time.Minute
	canaryTry      = 10 * time.Second // bounds a publish, and a subscription
	canaryAgain    = 5 * time.Second
	canaryPrefetch = 64
	canariesKept   = 64 // on their way, of one delay
	canaryFields   = 3
)

// CanaryDelays are the delays that canaries take: a retry's usual ones. On
// RabbitMQ each goes through another of the queues in which messages wait.
func CanaryDelays() []time.Duration {
	return []time.Duration{250 * time.Millisecond, time.Second, 8 * time.Second, 64 * time.Second}
}

// Canary shows that delayed messages move: it sends some of its own and waits
// for them. They are in a queue of their own, in nobody's lists and counts, and
// those of a process that has ended are dropped.
type Canary struct {
	queue *Queue
	now   func() time.Time
	log   *slog.Logger
	boot  string // whose they are

	mu     sync.Mutex
	delays []*canaryDelay
}

// canaryDelay is what is known of one delay.
type canaryDelay struct {
	delay   time.Duration
	sent    time.Time
	pending []time.Time // when each is due, in this order
	arrived int64
	last    time.Duration // how late the last one was
}

// CanaryState is how one delay fares.
type CanaryState struct {
	Delay time.Duration
	// Late is how late the canary is that is most overdue, or the last one
	// was.
	Late    time.Duration
	Arrived int64
}

// Stalled reports whether what is delayed so does not come.
func (s *CanaryState) Stalled() bool { return s.Late > CanaryLate }

// NewCanary makes the canaries of a process; Run sends them.
func NewCanary(q *Queue, now func() time.Time, log *slog.Logger) *Canary {
	c := &Canary{queue: q, now: now, log: log, boot: rand.Text()}
	for _, d := range CanaryDelays() {
		c.delays = append(c.delays, &canaryDelay{delay: d})
	}
	return c
}

// States tells of each delay, the shortest first.
func (c *Canary) States() []CanaryState {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]CanaryState, len(c.delays))
	for i, d := range c.delays {
		out[i] = d.state(c.now())
	}
	return out
}

func (d *canaryDelay) state(now time.Time) CanaryState {
	s := CanaryState{Delay: d.delay, Late: d.last, Arrived: d.arrived}
	if len(d.pending) > 0 {
		s.Late = max(s.Late, now.Sub(d.pending[0]))
	}
	return s
}

// Run sends canaries until ctx ends.
func (c *Canary) Run(ctx context.Context) error {
	in := c.listen(ctx)
	if in == nil {
		return nil
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), canaryTry)
		defer cancel()
		if err := in.Stop(stop); err != nil {
			c.log.DebugContext(stop, "canaries not stopped cleanly", "error", err)
		}
	}()
	tick := time.NewTicker(canaryEvery)
	defer tick.Stop()
	for {
		c.send(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// listen subscribes, for ever if need be; nil: ctx has ended.
func (c *Canary) listen(ctx context.Context) Consumer {
	for {
		try, cancel := context.WithTimeout(ctx, canaryTry)
		in, err := c.queue.driver.ConsumeSystem(try, CanaryQueue, canaryPrefetch, c.take)
		cancel()
		if err == nil {
			return in
		}
		if ctx.Err() != nil {
			return nil
		}
		c.log.WarnContext(ctx, "delays are not watched yet", "error", err)
		select {
		case <-time.After(canaryAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

// send lets one canary go for each delay. All at once: one that the broker
// does not take must not hold the others.
func (c *Canary) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, canaryTry)
	defer cancel()
	var wg sync.WaitGroup
	for i, d := range c.delays {
		eta, ok := c.begin(d)
		if !ok {
			continue
		}
		w := Wire{ID: c.boot, System: CanaryQueue, ETA: eta, Meta: c.mark(i, eta)}
		wg.Go(func() {
			err := c.queue.publish(KindCanary, "", func() error { return c.queue.driver.Publish(ctx, w) })
			if err != nil {
				c.forget(d, eta)
				c.log.DebugContext(ctx, "canary not sent", "delay", d.delay, "error", err)
			}
		})
	}
	wg.Wait()
}

// mark is what a canary carries.
func (c *Canary) mark(i int, eta time.Time) string {
	return c.boot + " " + strconv.Itoa(i) + " " + strconv.FormatInt(eta.UnixMilli(), 10)
}

// begin notes a canary that is sent, if it is time for one.
func (c *Canary) begin(d *canaryDelay) (eta time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if s := d.state(now); s.Stalled() && len(d.pending) > 0 && now.Sub(d.sent) < canaryStalled {
		return eta, false
	}
	eta = now.Add(d.delay).Truncate(time.Millisecond).Add(time.Millisecond)
	d.sent = now
	d.pending = append(d.pending, eta)
	if len(d.pending) > canariesKept { // the first says since when it is stalled
		d.pending = append(d.pending[:1], d.pending[2:]...)
	}
	return eta, true
}

// forget takes back a canary that was perhaps not sent.
func (c *Canary) forget(d *canaryDelay, eta time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range d.pending {
		if p.Equal(eta) {
			d.pending = append(d.pending[:i], d.pending[i+1:]...)
			return
		}
	}
}

// take is handed what comes.
func (c *Canary) take(x Delivery) {
	c.note(x.Wire().Meta)
	// Not on the consumer's goroutine. What is not removed comes again, and
	// is nobody's then.
	c.queue.removal(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, canaryTry)
		defer cancel()
		if err := x.Ack(ctx); err != nil {
			c.log.DebugContext(ctx, "canary not removed", "error", err)
		}
	})
}

// note takes what a canary says. Delays keep the order, so those before it are
// gone: lost with a queue that was made anew.
func (c *Canary) note(mark string) {
	fields := strings.Fields(mark)
	if len(fields) != canaryFields || fields[0] != c.boot {
		return
	}
	i, err := strconv.Atoi(fields[1])
	ms, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || err2 != nil || i < 0 || i >= len(c.delays) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d, eta := c.delays[i], time.UnixMilli(ms)
	for len(d.pending) > 0 && !d.pending[0].After(eta) {
		d.pending = d.pending[1:]
	}
	d.arrived++
	d.last = max(c.now().Sub(eta), 0)
}
