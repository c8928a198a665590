package chaos

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Verdict is what the ledger says at the end of a scenario.
type Verdict struct {
	Accepted  int // tasks that got their 202
	Refused   int // submissions without one, however often repeated
	Callbacks int // accepted tasks that asked for one

	// Lost: accepted, and not ended within the bound, or not to be found by id
	// or in the list, or said to have succeeded although no handler did it, or
	// without the callback asked for.
	Lost []string
	// Announced duplicates: the side effect ran again, and the handler was
	// told (Taskgate-Attempt, Taskgate-Suspect).
	Announced int
	// Unannounced: a later call looked like a first one, or one submission was
	// run as two tasks.
	Unannounced []string

	Stall   time.Duration // longest time in which accepted work was due and nothing ended
	Slowest time.Duration // longest submission, its repeats included
	Settled time.Duration // how long after the load the last task ended
}

// Faults says what no verdict may have, in words.
func (v Verdict) Faults() (out []string) {
	for _, l := range v.Lost {
		out = append(out, "lost: "+l)
	}
	for _, u := range v.Unannounced {
		out = append(out, "unannounced: "+u)
	}
	return out
}

func (v Verdict) String() string {
	return fmt.Sprintf("%d accepted (%d with a callback), %d refused, %d lost, %d announced duplicates, %d unannounced, longest stall %v, "+
		"slowest submission %v, settled in %v", v.Accepted, v.Callbacks, v.Refused, len(v.Lost), v.Announced, len(v.Unannounced),
		v.Stall.Round(time.Millisecond), v.Slowest.Round(time.Millisecond), v.Settled.Round(time.Millisecond))
}

// Mercy says what an installation may forget in a scenario, because its
// documents say that it does.
type Mercy struct {
	// Records: those of tasks that have ended may be gone (a store that lost
	// its data). Each must have been done by its handler instead.
	Records bool
}

// readers is how many tasks are read at the same time.
const readers = 16

// Settle waits until everything accepted has ended, at most until the context
// ends, and judges. The load must have been stopped.
func (l *Ledger) Settle(ctx context.Context, mercy Mercy) Verdict {
	began := time.Now()
	accepted := l.Accepted()
	v := Verdict{Accepted: len(accepted), Refused: len(l.Refused())}
	v.Slowest = l.Slowest()
	states := l.states(ctx, accepted, mercy)
	v.Settled = time.Since(began)
	listed := l.listed(ctx, accepted)
	l.awaitCallbacks(ctx, accepted, states)
	calls := l.Receiver.Calls()
	for _, a := range accepted {
		if a.Callback {
			v.Callbacks++
		}
		if why := l.missing(a, states[a.ID], listed[a.ID], l.Receiver.Done(a.ID), mercy); why != "" {
			v.Lost = append(v.Lost, fmt.Sprintf("%s of %s, accepted at %s: %s", a.ID, a.Endpoint, a.At.Format(time.StampMilli), why))
		}
	}
	v.repeats(calls)
	v.repeats(l.Receiver.Callbacks())
	v.twins(accepted, calls)
	v.Stall = l.stall(accepted, calls)
	return v
}

// missing returns what a task lacks, "" when it is whole.
func (l *Ledger) missing(a Accepted, state, listed string, done bool, mercy Mercy) string {
	switch {
	case state == gone && mercy.Records && done:
		return ""
	case !final(state):
		return "its state is " + state
	case state == "succeeded" && !done && l.ours(a.Endpoint):
		return "said to have succeeded, but no handler did it"
	case listed == "" && !mercy.Records:
		return "it is in no list"
	case !final(listed) && !mercy.Records:
		return "the list says " + listed
	case a.Callback && l.Receiver.Told(a.ID) != state && !mercy.Records:
		return fmt.Sprintf("it is %s, its callback told %q", state, l.Receiver.Told(a.ID))
	}
	return ""
}

// ours tells whether an endpoint's handler is the receiver.
func (l *Ledger) ours(endpoint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endpoints[endpoint].URL == "" || l.endpoints[endpoint].URL == l.Receiver.server.URL+"/work/"+endpoint
}

// gone is the state of what the API does not know.
const gone = "unknown to the API"

func final(state string) bool {
	return slices.Contains([]string{"succeeded", "failed", "cancelled", "expired"}, state)
}

// states reads every task until it has ended.
func (l *Ledger) states(ctx context.Context, accepted []Accepted, mercy Mercy) map[string]string {
	var (
		mu   sync.Mutex
		out  = map[string]string{}
		work = make(chan string)
		wg   sync.WaitGroup
	)
	for range readers {
		wg.Go(func() {
			for id := range work {
				state := l.state(ctx, id, mercy)
				mu.Lock()
				out[id] = state
				mu.Unlock()
			}
		})
	}
	for _, a := range accepted {
		work <- a.ID
	}
	close(work)
	wg.Wait()
	return out
}

// state waits for the end of one task. Once the context has ended it still
// asks once, so that every task has its last state.
func (l *Ledger) state(ctx context.Context, id string, mercy Mercy) string {
	for {
		var state string
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
		a, err := l.Client.Do(once, http.MethodGet, "/v1/tasks/"+id+"?wait=2s", nil)
		cancel()
		switch {
		case err != nil:
			state = "not read: " + err.Error()
		case a.status == http.StatusOK:
			state = a.object().text("state")
		case a.status == http.StatusNotFound:
			state = gone
		default:
			state = fmt.Sprintf("not read: status %d", a.status)
		}
		if final(state) || state == gone && mercy.Records && l.Receiver.Done(id) || ctx.Err() != nil {
			return state
		}
		_ = pause(ctx, a.pause(50*time.Millisecond, time.Second))
	}
}

// listed reads the lists of all endpoints: the state of each task in them.
func (l *Ledger) listed(ctx context.Context, accepted []Accepted) map[string]string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	out := map[string]string{}
	seen := map[string]bool{}
	for _, a := range accepted {
		if seen[a.Endpoint] {
			continue
		}
		seen[a.Endpoint] = true
		err := l.Client.List(ctx, a.Endpoint, func(t Object) { out[t.text("id")] = t.text("state") })
		if err != nil {
			out["error"] = err.Error()
		}
	}
	return out
}

// awaitCallbacks waits for those that must come.
func (l *Ledger) awaitCallbacks(ctx context.Context, accepted []Accepted, states map[string]string) {
	for _, a := range accepted {
		if !a.Callback || !final(states[a.ID]) {
			continue
		}
		if Await(ctx, "the callbacks have come", func() bool { return l.Receiver.Told(a.ID) == states[a.ID] }) != nil {
			return
		}
	}
}

// repeats looks at the calls of each id, in the order in which they came.
func (v *Verdict) repeats(calls []Call) {
	type past struct{ calls, effects int }
	before := map[string]*past{}
	for _, c := range calls {
		p := before[c.ID]
		if p == nil {
			p = &past{}
			before[c.ID] = p
		}
		switch {
		case p.calls > 0 && c.first():
			v.Unannounced = append(v.Unannounced, fmt.Sprintf("call %d of %s (%s) looked like the first", p.calls+1, c.ID, c.Path))
		case p.effects > 0 && c.Committed:
			v.Announced++
		}
		p.calls++
		if c.Committed {
			p.effects++
		}
	}
}

// twins finds submissions that were run as two tasks, and accepted tasks that
// were run under another id.
func (v *Verdict) twins(accepted []Accepted, calls []Call) {
	ids := map[string]string{}
	for _, a := range accepted {
		ids[a.Key] = a.ID
	}
	told := map[string]bool{}
	for _, c := range calls {
		if c.Key == "" {
			continue
		}
		id, known := ids[c.Key]
		if !known {
			ids[c.Key] = c.ID
			continue
		}
		if id != c.ID && !told[c.Key] {
			told[c.Key] = true
			v.Unannounced = append(v.Unannounced, fmt.Sprintf("one submission ran as two tasks: %s and %s", id, c.ID))
		}
	}
}

// stall is the longest time in which work was due and nothing ended.
func (l *Ledger) stall(accepted []Accepted, calls []Call) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := map[string]time.Time{}
	for _, c := range calls {
		if c.Committed && !c.Finished.IsZero() && (ended[c.ID].IsZero() || c.Finished.Before(ended[c.ID])) {
			ended[c.ID] = c.Finished
		}
	}
	var spans []span
	for _, a := range accepted {
		if end, ok := ended[a.ID]; ok && !l.endpoints[a.Endpoint].Idle {
			spans = append(spans, span{from: a.At, to: end})
		}
	}
	return longestStall(spans)
}

// span is the life of a task: due, ended.
type span struct{ from, to time.Time }

// longestStall is the longest time without an end in which at least one span
// was open.
func longestStall(spans []span) (longest time.Duration) {
	type event struct {
		at   time.Time
		open int // +1, -1
	}
	var events []event
	for _, s := range spans {
		if s.to.Before(s.from) {
			s.from = s.to // ended before its submitter knew of it
		}
		events = append(events, event{s.from, 1}, event{s.to, -1})
	}
	slices.SortStableFunc(events, func(a, b event) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return b.open - a.open
	})
	open := 0
	var since time.Time
	for _, e := range events {
		if open == 0 {
			since = e.at
		}
		open += e.open
		if e.open < 0 {
			longest = max(longest, e.at.Sub(since))
			since = e.at
		}
	}
	return longest
}
