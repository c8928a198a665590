package admission

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/taskgate/taskgate/internal/task"
)

// Source is where processes share rates.
type Source interface {
	// Take takes up to what is wanted of each rate, in order.
	Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error)
}

const (
	// batchTime: what is fetched at once is worth this much time, so that a
	// busy key costs ten calls of the source a second, not one a request.
	batchTime = 100 * time.Millisecond
	// keptFor is how long what was fetched may be used.
	keptFor = time.Second
	// fetchTime bounds a fetch; without an answer the source counts as away
	// for awayFor.
	fetchTime = 250 * time.Millisecond
	awayFor   = time.Second
	// idleFor is how long a rate that nobody asks for is remembered.
	idleFor = 10 * time.Second
)

// Rates holds callers to their rates, over all gateways together: it takes
// from the source in batches and gives out one at a time. A refusal costs no
// call: the source said when there is more.
//
// While the source is away each gateway gives out its part by itself: the rate
// divided by the last known number of gateways. Beside the rate and its burst,
// what gateways fetched and did not use yet may be used within a second: the
// worth of 100 ms at each.
type Rates struct {
	source   Source
	gateways func() int
	now      func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

// NewRates makes it. gateways tells how many processes share the source, as
// far as is known.
func NewRates(s Source, gateways func() int) *Rates {
	return &Rates{source: s, gateways: gateways, now: time.Now, buckets: make(map[string]*bucket)}
}

// Pass says whether one more may pass.
type Pass struct {
	OK bool
	// Left is how many more could pass now, as far as this process knows.
	Left int
	// Wait is the time until one may, of a refusal.
	Wait time.Duration
}

// bucket is what this process holds of one rate.
type bucket struct {
	mu     sync.Mutex
	rate   task.Rate
	used   time.Time // last
	tokens int
	until  time.Time     // the tokens' end
	left   int           // at the source, when last asked
	shut   time.Time     // the source has none before
	fetch  chan struct{} // closed when the fetch under way has ended; nil: none
	away   time.Time     // until then the source is not asked
	full   time.Time     // of our part, see task.Rate.Take
}

// Take takes one. It waits for the source, if it must, and no longer than
// fetchTime.
func (r *Rates) Take(ctx context.Context, name string, rate task.Rate) Pass {
	b := r.bucket(name)
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	for {
		p, wait := r.try(b, name, rate)
		if wait == nil {
			return p
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return Pass{Wait: rate.Interval()}
		}
	}
}

// try takes one of what is here; wait is the fetch that the caller is to wait
// for before it tries again, nil when p is the answer.
func (r *Rates) try(b *bucket, name string, rate task.Rate) (p Pass, wait <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := r.now()
	b.hold(rate, now)
	switch {
	case b.tokens > 0:
		b.tokens--
		return Pass{OK: true, Left: b.tokens + b.left}, nil
	case now.Before(b.away):
		return b.alone(now, r.gateways()), nil
	case now.Before(b.shut):
		return Pass{Wait: b.shut.Sub(now)}, nil
	case b.fetch != nil:
		return Pass{}, b.fetch
	}
	done := make(chan struct{})
	b.fetch = done
	b.mu.Unlock()
	got, err := r.ask(name, rate)
	b.mu.Lock()
	b.land(got, err, r.now())
	b.fetch = nil
	close(done)
	return Pass{}, done
}

// ask fetches a batch. It is all waiters', so that no caller's end ends it.
func (r *Rates) ask(name string, rate task.Rate) (task.Taken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	got, err := r.source.Take(ctx, []task.RateAsk{{Name: name, Rate: rate, Want: batch(rate)}})
	if err != nil || len(got) != 1 {
		return task.Taken{}, errAway
	}
	return got[0], nil
}

var errAway = task.Errorf(task.CodeUnavailable, "the source of rates cannot be reached now")

func batch(r task.Rate) int {
	return min(r.Burst, max(1, int(math.Ceil(r.PerSecond*batchTime.Seconds()))))
}

// hold begins anew when the rate was changed, and drops what is too old.
func (b *bucket) hold(rate task.Rate, now time.Time) {
	b.used = now
	if b.rate != rate {
		b.rate, b.tokens, b.left, b.shut = rate, 0, 0, time.Time{}
	}
	if !now.Before(b.until) {
		b.tokens = 0
	}
}

func (b *bucket) land(got task.Taken, err error, now time.Time) {
	if err != nil {
		b.away = now.Add(awayFor)
		return
	}
	b.tokens, b.until, b.left = got.N, now.Add(keptFor), got.Left
	if got.Left == 0 {
		// Let a batch's worth come together: a key that asks for more than its
		// rate would otherwise cost a call for each one that it gets.
		b.shut = now.Add(max(got.Wait, min(batchTime, b.rate.Window()/2), time.Millisecond))
	}
}

// alone gives out our part.
func (b *bucket) alone(now time.Time, gateways int) Pass {
	var got task.Taken
	got, b.full = b.rate.Part(gateways).Take(b.full, now, 1)
	return Pass{OK: got.N == 1, Left: got.Left, Wait: got.Wait}
}

func (r *Rates) bucket(name string) *bucket {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.swept) > idleFor {
		r.swept = now
		for name, b := range r.buckets {
			if b.idle(now) {
				delete(r.buckets, name)
			}
		}
	}
	b := r.buckets[name]
	if b == nil {
		b = &bucket{used: r.now()}
		r.buckets[name] = b
	}
	return b
}

// idle: one that may refuse is not forgotten, while the source is away: its
// part would be whole again.
func (b *bucket) idle(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetch == nil && now.Sub(b.used) > idleFor && !now.Before(b.full)
}
