package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/taskgate/taskgate/e2e/rig"
	"github.com/taskgate/taskgate/e2e/servers"
)

// part runs one of a scenario's faults as a test and a row of its own: they
// share the servers that they hurt.
func (w *World) part(t *testing.T, name, what string, run func(t *testing.T, w *World)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		p := *w
		p.scenario.Name, p.scenario.What = w.scenario.Name+"-"+name, what
		run(t, &p)
	})
}

// loaded is an installation under load.
type loaded struct {
	t    *testing.T
	w    *World
	in   *rig.Installation
	l    *Ledger
	loop *Loop
}

// load starts an installation and a load that every fault meets: tasks that
// succeed at once, that fail at first, and that take their time, every third
// with a callback.
func (w *World) load(t *testing.T, opt rig.Options) *loaded {
	t.Helper()
	s, err := w.suite.Services()
	try(t, err)
	if opt.AMQP == "" {
		opt.AMQP = s.AMQP
	}
	if opt.Redis == "" {
		opt.Redis = s.Redis
	}
	in := w.Install(t, opt)
	l := w.Ledger(t, in)
	l.GiveUp = 6 * time.Minute // longer than any outage here
	w.Register(t, l, Endpoint{Name: "quick", Work: FailsFirst(5, Takes(2*time.Millisecond))})
	w.Register(t, l, Endpoint{Name: "slow", Work: Takes(150 * time.Millisecond)})
	// A queue whose only node dies just after it was declared is not whole.
	w.Wait(t, servers.Rooted)
	x := &loaded{t: t, w: w, in: in, l: l}
	x.loop = l.Run(t.Context(), Load{
		Workers: 6, Endpoints: []string{"quick", "slow"}, Callbacks: 3, Pause: Pick(w, 30*time.Millisecond, 10*time.Millisecond),
	})
	w.Until(t, time.Minute, "work flows", func() bool { return l.Receiver.Committed() > 10 })
	return x
}

// flows waits until the receiver has done more work than now.
func (x *loaded) flows(bound time.Duration) {
	x.t.Helper()
	before := x.l.Receiver.Committed()
	x.w.Until(x.t, bound, "work flows again", func() bool { return x.l.Receiver.Committed() > before+10 })
}

// conclude ends the load and judges.
func (x *loaded) conclude(bound time.Duration, mercy Mercy, facts ...string) {
	x.t.Helper()
	x.loop.Stop()
	x.w.Conclude(x.t, x.l, bound, mercy, facts...)
	NoRefusals(x.t, x.l)
}

var writtenAgain = regexp.MustCompile(`"changes_lost_and_written_again":(\d+)`)

// recalled is how many changes the processes say to have written again.
func (x *loaded) recalled() (changes int) {
	logs, err := filepath.Glob(filepath.Join(x.in.Dir, "*.log"))
	try(x.t, err)
	for _, file := range logs {
		text, err := os.ReadFile(file)
		try(x.t, err)
		for _, m := range writtenAgain.FindAllSubmatch(text, -1) {
			n, err := strconv.Atoi(string(m[1]))
			try(x.t, err)
			changes += n
		}
	}
	return changes
}

// seen is what a caller sees of the API.
type seen struct {
	t   *testing.T
	l   *Ledger
	max time.Duration
}

// ask makes one request and wants this status, with Retry-After when it is a
// 503, within the bound.
func (s *seen) ask(want int, bound time.Duration, method, path string, body any, header ...string) Answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), requestLimit)
	defer cancel()
	began := time.Now()
	a, err := s.l.Client.Do(ctx, method, path, body, header...)
	took := time.Since(began)
	s.max = max(s.max, took)
	switch {
	case err != nil:
		s.t.Errorf("%s %s: %v", method, path, err)
	case a.status != want:
		s.t.Errorf("%s %s: status %d, want %d: %s", method, path, a.status, want, a.body)
	case want == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		s.t.Errorf("%s %s: a 503 without Retry-After", method, path)
	case took > bound:
		s.t.Errorf("%s %s: answered after %v", method, path, took)
	}
	return a
}

// every does something again and again for as long.
func (w *World) every(t *testing.T, pause, last time.Duration, do func()) {
	t.Helper()
	for end := time.Now().Add(last); time.Now().Before(end); {
		do()
		w.Wait(t, pause)
	}
}

func task(endpoint string) map[string]any {
	return map[string]any{"endpoint": endpoint, "payload": map[string]any{"n": 1}}
}

func try(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// spread is how many processes the faults meet.
func spread(w *World) rig.Options { return rig.Options{Gateways: Pick(w, 1, 2), Dispatchers: 2} }

func times(n int, what string) string { return fmt.Sprintf("%d × %s", n, what) }
