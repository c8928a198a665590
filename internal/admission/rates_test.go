package admission_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskgate/taskgate/internal/admission"
	"github.com/taskgate/taskgate/internal/task"
)

// source is a store that all share, slow as one over a network.
type source struct {
	mu    sync.Mutex
	full  map[string]time.Time
	calls int
	away  bool
	hangs bool
}

func (s *source) Take(ctx context.Context, asks []task.RateAsk) ([]task.Taken, error) {
	s.mu.Lock()
	s.calls++
	away, hangs := s.away, s.hangs
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	<-time.After(time.Millisecond)
	if away {
		return nil, errors.New("away")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		s.full = make(map[string]time.Time)
	}
	out := make([]task.Taken, len(asks))
	for i, a := range asks {
		out[i], s.full[a.Name] = a.Rate.Take(s.full[a.Name], time.Now(), a.Want)
	}
	return out, nil
}

func (s *source) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func alone() int { return 1 }

// flood asks every millisecond for a while, and returns how many passed.
func flood(t *testing.T, r *admission.Rates, rate task.Rate, during time.Duration) int64 {
	t.Helper()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for end := time.Now().Add(during); time.Now().Before(end); {
		wg.Go(func() {
			p := r.Take(t.Context(), "k", rate)
			switch {
			case p.OK:
				passed.Add(1)
			case p.Wait <= 0:
				t.Error("refused without a wait")
			}
		})
		<-time.After(time.Millisecond)
	}
	wg.Wait()
	return passed.Load()
}

func TestRatesOverAllGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		rate := task.Rate{PerSecond: 100, Burst: 50}
		gateways := []*admission.Rates{admission.NewRates(s, alone), admission.NewRates(s, alone), admission.NewRates(s, alone)}
		var total atomic.Int64
		var wg sync.WaitGroup
		for _, g := range gateways {
			wg.Go(func() { total.Add(flood(t, g, rate, 10*time.Second)) })
		}
		wg.Wait()
		if n := total.Load(); n < 1000 || n > 1050+1 {
			t.Errorf("%d passed in 10 s, by 100 a second and a burst of 50", n)
		}
		// Thirty thousand asked.
		if s.calls > 500 {
			t.Errorf("%d calls of the store", s.calls)
		}
	})
}

func TestRatesWhoWaitsPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := admission.NewRates(&source{}, alone)
		rate := task.Rate{PerSecond: 2, Burst: 1}
		if p := r.Take(t.Context(), "k", rate); !p.OK || p.Left != 0 {
			t.Fatalf("%+v", p)
		}
		for range 5 {
			p := r.Take(t.Context(), "k", rate)
			if p.OK || p.Wait <= 0 || p.Wait > 500*time.Millisecond {
				t.Fatalf("%+v", p)
			}
			<-time.After(p.Wait + 2*time.Millisecond)
			if p = r.Take(t.Context(), "k", rate); !p.OK {
				t.Fatalf("after the wait: %+v", p)
			}
		}
		if p := r.Take(t.Context(), "other", rate); !p.OK {
			t.Error("another name shares it")
		}
	})
}

// A store that is away: never closed, never unlimited.
func TestRatesWithoutTheStore(t *testing.T) {
	for name, fault := range map[string]func(*source){
		"away":  func(s *source) { s.away = true },
		"hangs": func(s *source) { s.hangs = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				r := admission.NewRates(s, func() int { return 4 })
				rate := task.Rate{PerSecond: 100, Burst: 40}
				flood(t, r, rate, time.Second)
				s.set(func() { fault(s) })
				s.set(func() { s.calls = 0 })
				// A quarter of 100 a second, and once a quarter of the burst.
				n := flood(t, r, rate, 20*time.Second)
				if n < 300 || n > 500+10+10+1 {
					t.Errorf("%d passed in 20 s", n)
				}
				if s.calls > 25 {
					t.Errorf("%d calls of a store that is away", s.calls)
				}
				s.set(func() { s.away, s.hangs = false, false })
				flood(t, r, rate, 2*time.Second)
				if n := flood(t, r, rate, 10*time.Second); n < 990 || n > 1011 {
					t.Errorf("%d passed in 10 s when it is back", n)
				}
			})
		})
	}
}

func TestRatesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := admission.NewRates(&source{}, alone)
		low := task.Rate{PerSecond: 0.1, Burst: 1}
		r.Take(t.Context(), "k", low)
		if p := r.Take(t.Context(), "k", low); p.OK {
			t.Fatal("passed")
		}
		high := task.Rate{PerSecond: 100, Burst: 1}
		p := r.Take(t.Context(), "k", high)
		<-time.After(p.Wait + 2*time.Millisecond)
		if next := r.Take(t.Context(), "k", high); !next.OK || p.Wait > 20*time.Millisecond {
			t.Errorf("a higher rate holds only later: %+v, %+v", p, next)
		}
	})
}
