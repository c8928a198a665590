package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/taskgate/taskgate/client"
)

// print writes to standard output, without the progress line in between.
func (s *session) print(text string) error {
	s.progress.stop()
	if _, err := fmt.Fprint(orDiscard(s.Stdout), text); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// printDoc writes a document of the server's, as one line of JSON or as text
// for people.
func (s *session) printDoc(doc []byte, people func() (string, error)) error {
	if s.asJSON {
		return s.print(string(compact(doc)) + "\n")
	}
	text, err := people()
	if err != nil {
		return err
	}
	return s.print(text)
}

// line is a document of ours on one line.
func line(doc any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(doc)
	return b.String(), err
}

// clean makes text of others safe for a terminal: control characters, which
// could move the cursor or worse, become visible.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}

// block is lines of names and values, aligned.
type block struct {
	names, values []string
}

// add adds a line, unless the value is empty.
func (b *block) add(name, value string) {
	if value != "" {
		b.names, b.values = append(b.names, name), append(b.values, value)
	}
}

func (b *block) number(name string, n int) { b.add(name, strconv.Itoa(n)) }

// secret shows what is shown once.
func (b *block) secret(name string, value *string) {
	if value != nil {
		b.add(name, *value)
		b.add("", "keep it: it is not shown again")
	}
}

func (b *block) time(name string, at *time.Time) {
	if at != nil {
		b.add(name, stamp(*at))
	}
}

func (b *block) pairs(name string, pairs map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		b.add(name, key+"="+pairs[key])
	}
}

func (b *block) String() string {
	width := 0
	for _, name := range b.names {
		width = max(width, len(name))
	}
	var out strings.Builder
	for i, name := range b.names {
		fmt.Fprintf(&out, "%-*s  %s\n", width, name, clean(b.values[i]))
	}
	return out.String()
}

// table is rows under a head, aligned.
func table(head []string, rows [][]string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(or(cell, "-"))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // into memory
	return out.String()
}

// stamp is a time for people: UTC, to the second.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// taskLine is a task on one line.
func taskLine(t client.Task) string {
	return fmt.Sprintf("%s  %s  %s\n", clean(t.Id), clean(stateText(t)), clean(t.Endpoint))
}

// stateText is a task's state with its reason.
func stateText(t client.Task) string {
	if t.Reason == nil || string(*t.Reason) == string(t.State) {
		return string(t.State)
	}
	return fmt.Sprintf("%s (%s)", t.State, *t.Reason)
}

// taskBlock is everything about a task.
func taskBlock(t client.Task) string {
	var b block
	b.add("id", t.Id)
	b.add("endpoint", t.Endpoint)
	b.add("state", stateText(t))
	b.number("attempts", t.Attempts)
	if t.Generation > 1 {
		b.number("generation", t.Generation)
	}
	if t.LastStatus != nil {
		b.number("last status", *t.LastStatus)
	}
	payload := fmt.Sprintf("%d bytes", t.PayloadSize)
	if t.ContentType != nil {
		payload += " of " + *t.ContentType
	}
	b.add("payload", payload)
	b.pairs("label", t.Labels)
	b.add("created", stamp(t.CreatedAt))
	b.time("run at", t.RunAt)
	b.time("expires", t.ExpiresAt)
	b.time("next attempt", t.NextAttemptAt)
	b.time("started", t.StartedAt)
	b.time("ended", t.EndedAt)
	if t.Callback != nil {
		b.add("callback", callbackText(*t.Callback))
	}
	if t.CallbackOf != nil {
		b.add("callback of", *t.CallbackOf)
	}
	if t.Result != nil {
		resultLines(&b, t)
	}
	return b.String()
}

func callbackText(c client.TaskCallback) string {
	to := ""
	switch {
	case c.Url != nil:
		to = *c.Url
	case c.Endpoint != nil:
		to = "endpoint " + *c.Endpoint
	}
	states := make([]string, len(c.On))
	for i, state := range c.On {
		states[i] = string(state)
	}
	return to + " on " + strings.Join(states, ", ")
}

func resultLines(b *block, t client.Task) {
	r := t.Result
	text := fmt.Sprintf("%d, %d bytes", r.Status, r.Size)
	if r.ContentType != nil {
		text += " of " + *r.ContentType
	}
	switch {
	case r.Discarded != nil && *r.Discarded:
		text += ", over the endpoint's limit and dropped"
	case r.Body == nil && r.Size > 0:
		text += fmt.Sprintf(": %s get %s --result", program, t.Id)
	}
	b.add("result", text)
	for _, h := range r.Headers {
		b.add("result header", h.Name+": "+h.Value)
	}
	if r.Body != nil {
		b.add("result body", string(compact(r.Body)))
	}
}

func attemptTable(list client.AttemptList) string {
	rows := make([][]string, len(list.Data))
	for i, a := range list.Data {
		status, why, next := "", "", ""
		if a.Status != nil {
			status = fmt.Sprint(*a.Status)
		}
		if a.Reason != nil {
			why = string(*a.Reason)
		}
		if a.Suspect != nil && *a.Suspect {
			why = strings.TrimSpace(why + " suspect")
		}
		if a.NextAttemptAt != nil {
			next = stamp(*a.NextAttemptAt)
		}
		answer := ""
		if a.Answer != nil {
			answer = cut(*a.Answer, 60)
		}
		rows[i] = []string{
			fmt.Sprint(a.Number), stamp(a.StartedAt), (time.Duration(a.DurationMs) * time.Millisecond).String(), status, why, next, answer,
		}
	}
	return table([]string{"ATTEMPT", "STARTED", "TOOK", "STATUS", "REASON", "NEXT", "ANSWER"}, rows)
}

// cut shortens text to n characters.
func cut(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
