package chaos

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

const maxDelivery = 4 << 20

// keyHeader carries a submission's key to its handler, so that one that was
// run as two tasks is seen.
const keyHeader = "X-Ledger-Key"

// Call is one request that reached a handler.
type Call struct {
	ID       string // webhook-id
	Key      string // of the submission
	Path     string
	Attempt  int
	Suspect  bool
	Started  time.Time
	Finished time.Time // zero while it runs
	Status   int       // that was answered
	// Committed: the side effect is done. It is whether or not the answer
	// arrives.
	Committed bool
	// Cut: the connection was gone before the answer was given.
	Cut bool
}

// first tells whether the handler must have taken the call for a first one.
func (c Call) first() bool { return c.Attempt <= 1 && !c.Suspect }

// Work is what a handler does with a call: nil is to succeed at once. It
// returns the status to answer, or 0 when it has answered itself. It calls
// commit when its side effect is done.
type Work func(w http.ResponseWriter, r *http.Request, c Call, commit func()) int

// Receiver is the users' programs: handlers, and receivers of callbacks. It
// writes down every call.
type Receiver struct {
	server *httptest.Server

	mu        sync.Mutex
	work      map[string]Work // by path
	calls     []*Call
	callbacks []*Call
	told      map[string]string // task → state that its callback told, the last
	done      map[string]bool   // tasks whose side effect is done
	committed int
}

// NewReceiver starts one.
func NewReceiver() *Receiver {
	r := &Receiver{work: map[string]Work{}, told: map[string]string{}, done: map[string]bool{}}
	r.server = httptest.NewUnstartedServer(r)
	r.server.Config.ErrorLog = silent()
	r.server.Start()
	return r
}

// Close ends it and cuts what still runs.
func (r *Receiver) Close() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// silent is for servers whose trouble is wanted.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }

// Handle gives a path its work and returns its URL.
func (r *Receiver) Handle(path string, work Work) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.work[path] = work
	return r.server.URL + path
}

const callbackPath = "/callback"

// CallbackURL is where callbacks are to be sent.
func (r *Receiver) CallbackURL() string { return r.server.URL + callbackPath }

func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	attempt, _ := strconv.Atoi(req.Header.Get("Taskgate-Attempt"))
	c := &Call{
		ID: req.Header.Get("Webhook-Id"), Key: req.Header.Get(keyHeader), Path: req.URL.Path, Attempt: attempt,
		Suspect: req.Header.Get("Taskgate-Suspect") == "true", Started: time.Now(),
	}
	if req.Header.Get("Taskgate-Test") != "" {
		return // nobody's task
	}
	if strings.HasPrefix(req.URL.Path, callbackPath) {
		r.callback(w, req, c)
		return
	}
	r.mu.Lock()
	work := r.work[req.URL.Path]
	r.calls = append(r.calls, c)
	given := *c
	r.mu.Unlock()
	// Taken whole before anything is done, as a program does that reads its
	// order first.
	if _, err := io.Copy(io.Discard, io.LimitReader(req.Body, maxDelivery)); err != nil {
		r.finish(req, c, 0)
		return
	}
	commit := sync.OnceFunc(func() { r.commit(c) })
	status := http.StatusOK
	if work == nil {
		commit()
	} else {
		status = work(w, req, given, commit)
	}
	if status != 0 {
		w.WriteHeader(status)
	}
	r.finish(req, c, status)
}

func (r *Receiver) commit(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Committed = true
	r.done[c.ID] = true
	r.committed++
}

func (r *Receiver) finish(req *http.Request, c *Call, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Finished, c.Status, c.Cut = time.Now(), status, req.Context().Err() != nil
}

func (r *Receiver) callback(w http.ResponseWriter, req *http.Request, c *Call) {
	var event struct {
		Data struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"data"`
	}
	err := json.NewDecoder(io.LimitReader(req.Body, maxDelivery)).Decode(&event)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Finished = time.Now()
	if err != nil {
		c.Status = http.StatusBadRequest
		w.WriteHeader(c.Status)
		return
	}
	c.Key, c.Status, c.Committed = event.Data.ID, http.StatusOK, true
	r.callbacks = append(r.callbacks, c)
	r.told[event.Data.ID] = event.Data.State
}

// Calls returns a copy of what came so far.
func (r *Receiver) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return copies(r.calls)
}

// Callbacks returns a copy of the callbacks so far; their Key is the id of
// the task that they tell of.
func (r *Receiver) Callbacks() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return copies(r.callbacks)
}

// Committed counts the side effects so far.
func (r *Receiver) Committed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed
}

// Done tells whether a task's side effect is done.
func (r *Receiver) Done(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done[id]
}

// Told returns the state that the task's last callback told, "" without one.
func (r *Receiver) Told(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told[id]
}

func copies(calls []*Call) []Call {
	out := make([]Call, len(calls))
	for i, c := range calls {
		out[i] = *c
	}
	return out
}

// Takes is work of a fixed length whose side effect is done at half of it,
// so that an interruption may come before it or after it.
func Takes(d time.Duration) Work {
	return func(_ http.ResponseWriter, r *http.Request, _ Call, commit func()) int {
		if pause(r.Context(), d/2) != nil {
			return http.StatusServiceUnavailable // nobody waits, and nothing was done
		}
		commit()
		_ = pause(r.Context(), d/2)
		return http.StatusOK
	}
}

// FailsFirst answers the first attempt of every nth task with 500, before
// anything is done, and does the rest as given.
func FailsFirst(nth int, then Work) Work {
	return func(w http.ResponseWriter, r *http.Request, c Call, commit func()) int {
		if c.Attempt == 1 && hash(c.ID)%uint32(nth) == 0 {
			return http.StatusInternalServerError
		}
		return then(w, r, c, commit)
	}
}
