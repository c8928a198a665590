package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Accepted is one task that got its 202.
type Accepted struct {
	ID       string
	Key      string
	Endpoint string
	Began    time.Time // its first request
	At       time.Time // the 202
	Tries    int       // requests until the 202
	Callback bool
}

// Refused is a submission that ended without a 202.
type Refused struct {
	Key   string
	Tries int
	Why   string
}

// Ledger submits tasks and writes down what was promised.
type Ledger struct {
	Client   *Client
	Receiver *Receiver

	// GiveUp is how long a submission is repeated.
	GiveUp time.Duration

	mu        sync.Mutex
	endpoints map[string]Endpoint
	accepted  []Accepted
	refused   []Refused
	slowest   time.Duration // from a submission's first request to its 202
	broken    []error       // requests that failed although they may have reached a gateway
	away      []string      // answers that asked for a repeat, the last of them
	aways     int           // how many there were
}

// NewLedger makes one with a receiver of its own.
func NewLedger(c *Client) *Ledger {
	return &Ledger{Client: c, Receiver: NewReceiver(), GiveUp: 2 * time.Minute, endpoints: map[string]Endpoint{}}
}

// Endpoint is one that the ledger submits to.
type Endpoint struct {
	Name   string
	Work   Work           // of its handler
	Fields map[string]any // over the ledger's own settings
	// URL overrides the handler's, for those that are not the receiver's.
	URL string
	// Idle: its tasks are not meant to end one after the other (it is paused,
	// or its handler hangs), so that they are no measure of a stall.
	Idle bool
}

// Register makes an endpoint. Retries come quickly, and there are enough of
// them for any outage of a scenario.
func (l *Ledger) Register(ctx context.Context, e Endpoint) error {
	if e.URL == "" {
		e.URL = l.Receiver.Handle("/work/"+e.Name, e.Work)
	}
	fields := map[string]any{
		"url": e.URL, "timeout": "10s",
		"retry": map[string]any{"max_attempts": 50, "min_backoff": "200ms", "max_backoff": "2s", "multiplier": 2, "jitter": 0},
	}
	maps.Copy(fields, e.Fields)
	if _, err := l.Client.Want(ctx, http.MethodPut, "/v1/endpoints/"+e.Name, fields); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoints[e.Name] = e
	return nil
}

// Submission is what [Ledger.Submit] sends.
type Submission struct {
	Endpoint string
	Callback bool
	Fields   map[string]any // of the task, over the ledger's own
}

// Submit submits one task under a key of its own and repeats it with that key
// while there is no answer, or one that asks for a repeat. ok tells whether
// it was accepted.
func (l *Ledger) Submit(ctx context.Context, s Submission) (a Accepted, ok bool) {
	key := rand.Text()
	body := map[string]any{
		"endpoint": s.Endpoint, "payload": map[string]any{"key": key}, "headers": map[string]any{keyHeader: key},
	}
	if s.Callback {
		body["callback"] = map[string]any{"url": l.Receiver.CallbackURL()}
	}
	maps.Copy(body, s.Fields)
	ctx, cancel := context.WithTimeout(ctx, l.GiveUp)
	defer cancel()
	began, tries := time.Now(), 0
	for {
		tries++
		var why string
		got, err := l.Client.Do(ctx, http.MethodPost, "/v1/tasks", body, "Idempotency-Key", key)
		switch {
		case err != nil:
			why = err.Error()
			l.noteBroken(ctx, err)
		case got.status == http.StatusAccepted || got.status == http.StatusOK:
			a = Accepted{ID: got.object().text("id"), Key: key, Endpoint: s.Endpoint, Began: began, At: time.Now(), Tries: tries, Callback: s.Callback}
			l.note(a, time.Since(began))
			return a, true
		default:
			why = fmt.Sprintf("status %d: %s", got.status, got.body)
			l.noteAway(got)
		}
		if err == nil && !got.again() || pause(ctx, got.pause(50*time.Millisecond, time.Second)) != nil {
			l.refuse(Refused{Key: key, Tries: tries, Why: why})
			return Accepted{}, false
		}
	}
}

func (l *Ledger) refuse(r Refused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = append(l.refused, r)
}

func (l *Ledger) note(a Accepted, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, a)
	l.slowest = max(l.slowest, took)
}

// noteBroken writes a request down that failed on the way, unless we gave it
// up ourselves.
func (l *Ledger) noteBroken(ctx context.Context, err error) {
	if ctx.Err() != nil || !Broken(err) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, err)
}

// keptAway is how many refusals are kept to be shown.
const keptAway = 100

func (l *Ledger) noteAway(a Answer) {
	if !a.again() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aways++
	if l.away = append(l.away, fmt.Sprintf("%d %s (%s)", a.status, a.object().text("code"), a.object().text("detail"))); len(l.away) > keptAway {
		l.away = l.away[1:]
	}
}

// Broken returns the requests that failed although they may have reached a
// gateway.
func (l *Ledger) Broken() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]error(nil), l.broken...)
}

// Unavailable returns the last answers that asked for a repeat.
func (l *Ledger) Unavailable() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.away...)
}

// Aways counts the answers that asked for a repeat.
func (l *Ledger) Aways() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.aways
}

// Slowest is the longest submission so far, its repeats included.
func (l *Ledger) Slowest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slowest
}

// Promise writes a task down that somebody else submitted (in bulk, say).
func (l *Ledger) Promise(a Accepted) { l.note(a, 0) }

// Accepted returns a copy of what was accepted so far.
func (l *Ledger) Accepted() []Accepted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Accepted(nil), l.accepted...)
}

// Refused returns a copy of what was refused so far.
func (l *Ledger) Refused() []Refused {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Refused(nil), l.refused...)
}

// Load describes a closed loop: each worker submits one task after the other.
type Load struct {
	Workers   int
	Endpoints []string      // in turn
	Callbacks int           // every nth task has a callback; 0: none
	Pause     time.Duration // of a worker between two tasks
	Fields    map[string]any
}

// Loop is a load that runs.
type Loop struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Run starts a load. It ends with Stop, or with the context.
func (l *Ledger) Run(ctx context.Context, load Load) *Loop {
	// A submission that has begun is brought to its end: what the caller of a
	// request that was given up was promised nobody knows.
	stop, cancel := context.WithCancel(ctx)
	loop := &Loop{cancel: cancel}
	for worker := range load.Workers {
		loop.wg.Go(func() {
			for n := worker; stop.Err() == nil; n += load.Workers {
				l.Submit(ctx, Submission{
					Endpoint: load.Endpoints[n%len(load.Endpoints)],
					Callback: load.Callbacks > 0 && n%load.Callbacks == 0, Fields: load.Fields,
				})
				_ = pause(stop, load.Pause)
			}
		})
	}
	return loop
}

// Stop ends the load and waits for what was being submitted.
func (l *Loop) Stop() {
	l.cancel()
	l.wg.Wait()
}

// Await polls until ok, or the context ends.
func Await(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
	}
	return nil
}

func hash(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return h.Sum32()
}
