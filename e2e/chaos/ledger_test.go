package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A ledger that sees nothing would make every scenario pass. Here it looks at
// gateways that lie, each in one way.

// liar is a gateway that does its work in process and lies as it is told.
type liar struct {
	t   *testing.T
	lie lies

	mu     sync.Mutex
	tasks  []*lied
	byKey  map[string]*lied
	refuse int // submissions still to be refused
}

type lied struct {
	ID       string
	State    string
	url      string
	key      string
	callback string
}

// lies, for the first task only; the others are done as promised.
type lies struct {
	forgets     bool          // 404 after its 202, and never done
	never       bool          // queued for ever
	pretends    bool          // succeeded, but no handler was called
	hides       bool          // not in the list
	again       int           // further calls with the side effect, that look like the first
	announced   int           // further calls with the side effect, that say so
	twin        bool          // another task for the same submission
	silent      bool          // no callback
	wrong       bool          // its callback tells another state
	doubled     bool          // its callback comes twice, unannounced
	pause       time.Duration // nothing is delivered for so long, after the first
	unavailable int           // submissions that get a 503 first
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPut: // the endpoint
		var e struct {
			URL string `json:"url"`
		}
		_ = json.NewDecoder(r.Body).Decode(&e)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tasks = nil
		l.byKey = map[string]*lied{"url": {url: e.URL}}
		answerJSON(w, http.StatusCreated, map[string]any{})
	case r.Method == http.MethodPost:
		l.submit(w, r)
	case r.URL.Path == "/v1/tasks":
		l.list(w)
	default:
		l.get(w, strings.TrimPrefix(r.URL.Path, "/v1/tasks/"))
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func (l *liar) submit(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Headers  map[string]string `json:"headers"`
		Callback struct {
			URL string `json:"url"`
		} `json:"callback"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		l.t.Error(err)
	}
	key := r.Header.Get("Idempotency-Key")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse > 0 {
		l.refuse--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	task := l.byKey[key]
	if task == nil {
		task = &lied{ID: fmt.Sprintf("t%d", len(l.tasks)+1), State: "queued", url: l.byKey["url"].url, key: body.Headers[keyHeader], callback: body.Callback.URL}
		l.byKey[key] = task
		l.tasks = append(l.tasks, task)
		go l.deliver(task, len(l.tasks) == 1)
	}
	answerJSON(w, http.StatusAccepted, map[string]any{"id": task.ID})
}

func (l *liar) get(w http.ResponseWriter, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range l.tasks {
		if t.ID == id && (i > 0 || !l.lie.forgets) {
			answerJSON(w, http.StatusOK, map[string]any{"id": id, "state": t.State})
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (l *liar) list(w http.ResponseWriter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := []any{}
	for i, t := range l.tasks {
		if i > 0 || !l.lie.forgets && !l.lie.hides {
			data = append(data, map[string]any{"id": t.ID, "state": t.State})
		}
	}
	answerJSON(w, http.StatusOK, map[string]any{"data": data})
}

// deliver does a task, or not.
func (l *liar) deliver(task *lied, first bool) {
	lie := lies{}
	if first {
		lie = l.lie
	} else if l.lie.pause > 0 {
		_ = pause(l.t.Context(), l.lie.pause)
	}
	if lie.forgets || lie.never {
		return
	}
	if !lie.pretends {
		l.call(task.url, task.ID, task.key, 1, false)
	}
	for range lie.again {
		l.call(task.url, task.ID, task.key, 1, false)
	}
	for n := range lie.announced {
		l.call(task.url, task.ID, task.key, 1+n, true)
	}
	if lie.twin {
		l.call(task.url, task.ID+"-twin", task.key, 1, false)
	}
	l.mu.Lock()
	task.State = "succeeded"
	l.mu.Unlock()
	if task.callback == "" || lie.silent {
		return
	}
	state := "succeeded"
	if lie.wrong {
		state = "failed"
	}
	l.callback(task, state)
	if lie.doubled {
		l.callback(task, state)
	}
}

func (l *liar) call(url, id, key string, attempt int, suspect bool) {
	l.post(url, "{}", "Webhook-Id", id, keyHeader, key, "Taskgate-Attempt", fmt.Sprint(attempt), "Taskgate-Suspect", fmt.Sprint(suspect))
}

func (l *liar) callback(task *lied, state string) {
	l.post(task.callback, fmt.Sprintf(`{"data":{"id":%q,"state":%q}}`, task.ID, state), "Webhook-Id", "cb-"+task.ID, "Taskgate-Attempt", "1")
}

func (l *liar) post(url, body string, header ...string) {
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
	}
}

// lieTo runs a few tasks through a lying gateway and returns the verdict.
func lieTo(t *testing.T, lie lies) Verdict {
	t.Helper()
	srv := httptest.NewServer(&liar{t: t, lie: lie, refuse: lie.unavailable})
	t.Cleanup(srv.Close)
	ledger := NewLedger(NewClient([]string{srv.URL}, "key"))
	t.Cleanup(ledger.Receiver.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ledger.Register(ctx, Endpoint{Name: "e"}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, ok := ledger.Submit(ctx, Submission{Endpoint: "e", Callback: true}); !ok {
			t.Fatal("not accepted")
		}
	}
	bound := 15 * time.Second
	if lie.forgets || lie.never || lie.silent || lie.wrong {
		bound = time.Second // it will not come
	}
	ctx, cancel = context.WithTimeout(t.Context(), bound)
	defer cancel()
	return ledger.Settle(ctx, Mercy{})
}

func TestLedgerSeesLies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie                          lies
		lost, announced, unannounced int
		word                         string // of the first fault
	}{
		"the truth":                {},
		"a 503 before":             {lie: lies{unavailable: 2}},
		"a task is forgotten":      {lie: lies{forgets: true}, lost: 1, word: "unknown to the API"},
		"a task never ends":        {lie: lies{never: true}, lost: 1, word: "queued"},
		"success without work":     {lie: lies{pretends: true}, lost: 1, word: "no handler did it"},
		"not in the list":          {lie: lies{hides: true}, lost: 1, word: "in no list"},
		"a second first call":      {lie: lies{again: 1}, unannounced: 1, word: "looked like the first"},
		"two announced duplicates": {lie: lies{announced: 2}, announced: 2},
		"two tasks for one":        {lie: lies{twin: true}, unannounced: 1, word: "ran as two tasks"},
		"no callback":              {lie: lies{silent: true}, lost: 1, word: "its callback told"},
		"a lying callback":         {lie: lies{wrong: true}, lost: 1, word: `its callback told "failed"`},
		"a second first callback":  {lie: lies{doubled: true}, unannounced: 1, word: "looked like the first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := lieTo(t, c.lie)
			if v.Accepted != 5 || v.Callbacks != 5 || len(v.Lost) != c.lost || v.Announced != c.announced || len(v.Unannounced) != c.unannounced {
				t.Errorf("%v: %q", v, v.Faults())
			}
			if c.word != "" && (len(v.Faults()) != 1 || !strings.Contains(v.Faults()[0], c.word)) {
				t.Errorf("%q, want one with %q", v.Faults(), c.word)
			}
		})
	}
}

func TestLedgerSeesAStall(t *testing.T) {
	t.Parallel()
	const long = time.Second
	// The pause begins a little before the last 202 has been read.
	if v := lieTo(t, lies{pause: long}); v.Stall < long*9/10 || len(v.Faults()) > 0 {
		t.Errorf("%v, %q", v, v.Faults())
	}
}

// A gateway that refuses for good is no loss: nothing was promised.
func TestLedgerCountsRefusals(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusUnprocessableEntity, map[string]any{"code": "invalid"})
	}))
	t.Cleanup(srv.Close)
	ledger := NewLedger(NewClient([]string{srv.URL}, "key"))
	t.Cleanup(ledger.Receiver.Close)
	if _, ok := ledger.Submit(t.Context(), Submission{Endpoint: "e"}); ok {
		t.Error("accepted")
	}
	v := ledger.Settle(t.Context(), Mercy{})
	if v.Refused != 1 || v.Accepted != 0 || len(v.Faults()) != 0 || !strings.Contains(ledger.Refused()[0].Why, "422") {
		t.Errorf("%v %+v", v, ledger.Refused())
	}
}

func TestLongestStall(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	for name, c := range map[string]struct {
		spans []span
		want  time.Duration
	}{
		"nothing":                            {nil, 0},
		"one":                                {[]span{{at(0), at(3)}}, 3 * time.Second},
		"idle time does not count":           {[]span{{at(0), at(1)}, {at(100), at(101)}}, time.Second},
		"ends in between shorten it":         {[]span{{at(0), at(10)}, {at(1), at(4)}, {at(2), at(6)}}, 4 * time.Second},
		"ended before its submitter knew it": {[]span{{at(5), at(4)}, {at(5), at(7)}}, 2 * time.Second},
	} {
		if got := longestStall(c.spans); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
