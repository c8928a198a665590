package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	progressFirst = 300 * time.Millisecond // what is over sooner is not worth a line
	progressEvery = time.Second
)

// progress is one line on a terminal that tells what is being waited for, and
// for how long. A nil one shows nothing.
type progress struct {
	w io.Writer

	mu    sync.Mutex
	text  string
	hint  string
	begun time.Time
	end   chan struct{} // nil: nothing is shown
	done  chan struct{}
}

func newProgress(w io.Writer) *progress { return &progress{w: w} }

// show begins the line, or changes what it says.
func (p *progress) show(text string) { p.set(text, "") }

// note adds a word of trouble to the line.
func (p *progress) note(hint string) { p.set("", hint) }

func (p *progress) set(text, hint string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if text != "" {
		p.text = text
	}
	p.hint = hint
	if p.end == nil {
		p.begun = time.Now()
		p.end, p.done = make(chan struct{}), make(chan struct{})
		go p.run(p.end, p.done)
	}
}

// run redraws the line while it is shown.
func (p *progress) run(end, done chan struct{}) {
	defer close(done)
	tick := time.NewTimer(progressFirst)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tick.Reset(progressEvery)
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-end:
			return
		}
	}
}

func (p *progress) draw() {
	line := p.text
	if p.hint != "" {
		if line != "" {
			line += "; "
		}
		line += p.hint
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s %s", clean(line), time.Since(p.begun).Truncate(time.Second))
}

// stop takes the line away.
func (p *progress) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	end, done := p.end, p.done
	p.end, p.text, p.hint = nil, "", ""
	p.mu.Unlock()
	if end == nil {
		return
	}
	close(end)
	<-done
	fmt.Fprint(p.w, "\r\x1b[K")
}
