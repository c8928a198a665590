package cli_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/taskgate/taskgate/internal/cli"
)

// watched is output that can be waited for.
type watched struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{}
}

func newWatched() *watched { return &watched{news: make(chan struct{}, 1)} }

func (o *watched) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	select {
	case o.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *watched) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *watched) wait(t *testing.T, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.news:
		case <-late:
			t.Fatalf("never said %q: %s", text, o)
		}
	}
}

// tailing runs a tail until end is called.
type tailing struct {
	stdout, stderr *watched
	signals        chan os.Signal
	code           chan int
}

func startTail(environ []string, args ...string) *tailing {
	tl := &tailing{newWatched(), newWatched(), make(chan os.Signal, 1), make(chan int, 1)}
	go func() {
		tl.code <- cli.Main(cli.Process{
			Args: append([]string{"tail", "--interval", "100ms"}, args...), Environ: environ,
			Stdout: tl.stdout, Stderr: tl.stderr, Signals: tl.signals,
		})
	}()
	return tl
}

func (tl *tailing) end(t *testing.T) {
	t.Helper()
	tl.signals <- syscall.SIGINT
	if code := <-tl.code; code != 0 {
		t.Errorf("code %d: %s", code, tl.stderr)
	}
}

// board is a server with a list of tasks, and nothing else.
type board struct {
	*httptest.Server
	mu     sync.Mutex
	tasks  []boardTask
	lists  int
	single int
	down   bool
}

type boardTask struct {
	ID         string    `json:"id"`
	Endpoint   string    `json:"endpoint"`
	State      string    `json:"state"`
	Attempts   int       `json:"attempts"`
	Generation int       `json:"generation"`
	CreatedAt  time.Time `json:"created_at"`
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tasks", b.list)
	mux.HandleFunc("GET /v1/tasks/{id}", b.one)
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.down {
			unavailable("unavailable")(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// list answers as the API does: newest first, by pages.
func (b *board) list(w http.ResponseWriter, r *http.Request) {
	b.lists++
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	after, _ := time.Parse(time.RFC3339, q.Get("created_after"))
	from, _ := strconv.Atoi(q.Get("cursor"))
	var found []boardTask
	for _, task := range b.tasks {
		if !task.CreatedAt.Before(after) && (!q.Has("state") || slices.Contains(q["state"], task.State)) {
			found = append(found, task)
		}
	}
	slices.SortStableFunc(found, func(a, c boardTask) int { return c.CreatedAt.Compare(a.CreatedAt) })
	to := min(from+limit, len(found))
	answer := map[string]any{"data": append([]boardTask{}, found[min(from, to):to]...)}
	if to < len(found) {
		answer["next_cursor"] = strconv.Itoa(to)
	}
	reply(w, answer)
}

func reply(w http.ResponseWriter, doc any) {
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		panic(err)
	}
}

func (b *board) one(w http.ResponseWriter, r *http.Request) {
	b.single++
	for _, task := range b.tasks {
		if task.ID == r.PathValue("id") {
			reply(w, task)
			return
		}
	}
	says(404, "application/problem+json", `{"title":"Not found","status":404,"code":"not_found","instance":"R"}`)(w, r)
}

// put adds a task or changes it.
func (b *board) put(id, state string, attempts int, age time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.tasks {
		if b.tasks[i].ID == id {
			b.tasks[i].State, b.tasks[i].Attempts = state, attempts
			return
		}
	}
	b.tasks = append(b.tasks, boardTask{id, "e", state, attempts, 1, time.Now().Add(-age)})
}

// burst adds many tasks between two rounds.
func (b *board) burst(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		b.tasks = append(b.tasks, boardTask{fmt.Sprintf("c%04d", i), "e", "queued", 0, 1, time.Now()})
	}
}

func (b *board) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks = slices.DeleteFunc(b.tasks, func(task boardTask) bool { return task.ID == id })
}

func (b *board) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// rounds waits for more lists to be asked for.
func (b *board) rounds(t *testing.T, n int) (lists, singles int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	b.mu.Lock()
	fromLists, fromSingles := b.lists, b.single
	b.mu.Unlock()
	for {
		b.mu.Lock()
		lists, singles = b.lists-fromLists, b.single-fromSingles
		b.mu.Unlock()
		if lists >= n {
			return lists, singles
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no round")
		}
	}
}

// changes are the lines of a tail for people, without times.
func changes(tl *tailing) []string {
	var out []string
	for line := range strings.Lines(tl.stdout.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), "  ")
		out = append(out, rest)
	}
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(a[:2], b[:2]) })
	return out
}

// Each change is shown once: of tasks that are new, of those that were live
// before, and of those that are too old for the pages. What ended before is
// not shown.
func TestTailShowsEachChangeOnce(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.put("t0", "succeeded", 1, time.Second)
	b.put("t1", "retrying", 1, time.Second)
	b.put("t2", "scheduled", 0, 24*time.Hour)
	b.put("t3", "failed", 1, 23*time.Hour)
	b.put("t4", "awaiting", 1, 22*time.Hour)
	tl := startTail([]string{"TASKGATE_URL=" + b.URL})
	b.rounds(t, 4) // it has begun
	b.put("t1", "retrying", 2, 0)
	b.put("t2", "running", 1, 0)
	b.put("t5", "queued", 0, 0)
	b.drop("t4")
	tl.stdout.wait(t, "t5")
	b.rounds(t, 3)
	b.put("t1", "failed", 3, 0)
	b.put("t2", "succeeded", 1, 0)
	b.put("t5", "succeeded", 1, 0)
	tl.stdout.wait(t, "t5  e  queued → succeeded")
	b.rounds(t, 3)
	tl.end(t)
	want := []string{
		"t1  e  retrying → retrying attempts: 2",
		"t1  e  retrying → failed attempts: 3",
		"t2  e  scheduled → running attempts: 1",
		"t2  e  running → succeeded attempts: 1",
		"t5  e  queued",
		"t5  e  queued → succeeded attempts: 1",
	}
	if got := changes(tl); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text := tl.stderr.String(); text != "" {
		t.Errorf("said %s", text)
	}
}

// A quiet installation costs one small request a round; many live tasks of
// long ago cost no more than the bound.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	for i := range 200 {
		b.put(fmt.Sprintf("a%04d", i), "scheduled", 0, 48*time.Hour-time.Duration(i)*time.Second)
	}
	for i := range 2200 {
		b.put(fmt.Sprintf("b%04d", i), "succeeded", 1, 24*time.Hour-time.Duration(i)*time.Second)
	}
	tl := startTail([]string{"TASKGATE_URL=" + b.URL})
	b.rounds(t, 10)
	lists, singles := b.rounds(t, 20)
	if singles > (lists/4+1)*50 {
		t.Errorf("%d lists and %d single tasks", lists, singles)
	}
	b.put("a0000", "succeeded", 1, 0)
	tl.stdout.wait(t, "a0000  e  scheduled → succeeded")
	b.burst(2500)
	tl.stdout.wait(t, "  queued")
	b.rounds(t, 8)
	tl.end(t)
	if n := strings.Count(tl.stderr.String(), "More tasks arrived"); n != 1 {
		t.Errorf("said %d times that some are left out: %s", n, tl.stderr)
	}
	if got := strings.Count(tl.stdout.String(), "  queued\n"); got < 500 || got > 2500 {
		t.Errorf("%d of the new tasks are shown", got)
	}

	quiet := newBoard(t)
	quiet.put("t0", "succeeded", 1, time.Hour)
	tl = startTail([]string{"TASKGATE_URL=" + quiet.URL})
	quiet.rounds(t, 5)
	if _, singles := quiet.rounds(t, 3); singles > 0 {
		t.Errorf("%d single requests for nothing", singles)
	}
	tl.end(t)
}

// A server that goes away is said once, and followed again when it is back.
func TestTailOutlivesTheServersAbsence(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.put("t0", "succeeded", 1, time.Second)
	tl := startTail([]string{"TASKGATE_URL=" + b.URL}, "--retry-for", "0s")
	b.rounds(t, 4)
	b.setDown(true)
	tl.stderr.wait(t, "Not now")
	b.put("t1", "queued", 0, 0)
	b.setDown(false)
	tl.stdout.wait(t, "t1  e  queued")
	tl.end(t)
	if n := strings.Count(tl.stderr.String(), "Not now"); n != 1 {
		t.Errorf("said %d times", n)
	}
	b.setDown(true)
	if r := at(b.URL, "tail", "--retry-for", "0s"); r.code != 3 {
		t.Errorf("down at its begin: code %d: %s", r.code, r.stderr)
	}
}

// The real server, for programs: filters, and one line for each change.
func TestTailForPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.endpoint("mine", "/")
	w.endpoint("other", "/")
	tl := startTail([]string{"TASKGATE_URL=" + w.url, "TASKGATE_KEY=" + adminKey},
		"--json", "--endpoint", "mine", "--label", "a=1", "--state", "scheduled,succeeded,cancelled", "--timeout", "60s")
	for tl.stdout.String() == "" { // its first line is the sign that it has begun
		w.submit("mine", "0", "--label", "a=1", "--delay", "1h")
	}
	first := w.submit("mine", "1", "--label", "a=1", "--delay", "1h")
	tl.stdout.wait(t, first)
	w.submit("other", "2", "--label", "a=1")
	w.submit("mine", "3", "--label", "a=2")
	last := w.submit("mine", "4", "--label", "a=1")
	w.ok("cancel", first)
	tl.stdout.wait(t, `"from":"scheduled"`)
	tl.stdout.wait(t, last)
	tl.end(t)
	var got []string
	for line := range strings.Lines(tl.stdout.String()) {
		var c struct {
			From string
			Task struct{ ID, State, Endpoint string }
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if c.Task.ID != first && c.Task.ID != last {
			continue
		}
		got = append(got, strings.NewReplacer(first, "first", last, "last").Replace(c.From+">"+c.Task.ID+" "+c.Task.State))
	}
	slices.Sort(got)
	// Whether "last" was seen on its way depends on the moment of the round.
	want := []string{">first scheduled", "last succeeded", "scheduled>first cancelled"}
	if len(got) == 3 {
		got[1] = got[1][strings.Index(got[1], ">")+1:]
		slices.Sort(got)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := w.run("tail", "--timeout", "50ms"); r.code != 0 {
		t.Errorf("code %d at the end of its time: %s", r.code, r.stderr)
	}
}
