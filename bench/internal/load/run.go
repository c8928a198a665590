package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/taskgate/taskgate/bench/internal/stats"
	"github.com/taskgate/taskgate/bench/internal/wire"
)

// tail is how long what is under way at the end may take.
const tail = 60 * time.Second

// Run reads a job from in, does it, and writes events to out. It ends when in does, early or not.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	var job wire.Job
	lines := json.NewDecoder(in)
	if err := lines.Decode(&job); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proceed := make(chan struct{})
	go func() {
		defer cancel() // whoever started this has gone, or wants no more
		var word string
		if lines.Decode(&word) == nil {
			close(proceed)
		}
		_ = lines.Decode(&word)
	}()
	t, err := open(ctx, job.Target)
	if err != nil {
		return err
	}
	defer t.close()
	r := &runner{job: job, target: t, out: out, proceed: proceed}
	switch job.Kind {
	case wire.Closed:
		r.closed(ctx)
	case wire.Open:
		r.open(ctx)
	case wire.Fill:
		r.fill(ctx)
	case wire.Park:
		return r.park(ctx)
	default:
		return fmt.Errorf("no such load: %q", job.Kind)
	}
	r.report()
	<-ctx.Done() // till then this process can be looked at
	return nil
}

// runner does one job.
type runner struct {
	job    wire.Job
	target target
	out    io.Writer
	// proceed is closed by the word to go on, which [wire.Park] waits for.
	proceed <-chan struct{}

	begin, end time.Time // of the measured time
	lag        time.Duration

	mu     sync.Mutex
	rec    record
	failed int
	first  error
}

// record is what one submitter has measured.
type record struct {
	tasks, all          int
	submit, total, wake []time.Duration
}

// merge adds what a submitter has measured.
func (r *runner) merge(rec *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec.tasks += rec.tasks
	r.rec.all += rec.all
	r.rec.submit = append(r.rec.submit, rec.submit...)
	r.rec.total = append(r.rec.total, rec.total...)
	r.rec.wake = append(r.rec.wake, rec.wake...)
}

func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed++; r.first == nil {
		r.first = err
	}
}

func (r *runner) mark(name string) { _, _ = r.out.Write(wire.Line(wire.Event{Mark: name})) }

// plan sets the measured time of a load that begins now.
func (r *runner) plan() (start time.Time) {
	start = time.Now()
	r.begin, r.end = start.Add(r.job.Warm), start.Add(r.job.Warm+r.job.For)
	return start
}

// windows marks the begin and the end of the measured time, and returns when it is over.
func (r *runner) windows(ctx context.Context) {
	for _, at := range []struct {
		time time.Time
		mark string
	}{{r.begin, wire.Begin}, {r.end, wire.End}} {
		select {
		case <-time.After(time.Until(at.time)):
		case <-ctx.Done():
		}
		r.mark(at.mark)
	}
}

// one takes a task from its submission to its result, and records it; due is when its latency
// begins.
func (r *runner) one(ctx context.Context, n int64, due time.Time, rec *record) {
	handle, err := r.target.submit(ctx, n, wire.Payload(n, r.job.Size))
	if err != nil {
		r.fail(fmt.Errorf("submit: %w", err))
		return
	}
	submitted := time.Now()
	answer, err := r.target.result(ctx, handle)
	now := time.Now()
	if err != nil {
		r.fail(fmt.Errorf("result: %w", err))
		return
	}
	if got, ok := wire.Number(answer, "n"); !ok || got != n {
		r.fail(fmt.Errorf("task %d has the result %.200q", n, answer))
		return
	}
	rec.all++
	if !now.Before(r.begin) && now.Before(r.end) {
		rec.tasks++
	}
	if due.Before(r.begin) || !due.Before(r.end) {
		return
	}
	rec.submit = append(rec.submit, submitted.Sub(due))
	rec.total = append(rec.total, now.Sub(due))
	if at, ok := wire.Number(answer, "t"); ok {
		rec.wake = append(rec.wake, now.Sub(time.Unix(0, at)))
	}
}

func (r *runner) report() {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := &wire.Report{
		Tasks: r.rec.tasks, All: r.rec.all, Seconds: r.end.Sub(r.begin).Seconds(), Lag: stats.Millis(r.lag),
		Submit: stats.Summarize(r.rec.submit), Total: stats.Summarize(r.rec.total), Wake: stats.Summarize(r.rec.wake),
		Failed: r.failed,
	}
	if r.first != nil {
		rep.Error = r.first.Error()
	}
	_, _ = r.out.Write(wire.Line(wire.Event{Report: rep}))
}
