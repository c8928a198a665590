package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/taskgate/taskgate/internal/task"
)

// headers gathers what goes to the handler beside the payload: what was given
// as Taskgate-Header-Name, what forward names, and the payload's encoding.
func (o *rawOptions) headers() []task.Header {
	out := o.given(optionHeader)
	have := make(map[string]bool, len(out))
	for _, h := range out {
		have[strings.ToLower(h.Name)] = true
	}
	for _, name := range o.forwarded() {
		if have[strings.ToLower(name)] {
			continue
		}
		for _, value := range o.header[name] {
			if fieldValue(value) {
				out = append(out, task.Header{Name: name, Value: value})
			}
		}
	}
	checkHeadersSize(out, func(detail string) { o.faults.param("forward", detail) })
	slices.SortStableFunc(out, func(a, b task.Header) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// given reads headers that are given with a prefix to their names.
func (o *rawOptions) given(prefix string) []task.Header {
	var out []task.Header
	for name, values := range o.header {
		inner, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		o.known[name] = true
		for _, value := range values {
			if fault := headerFault(inner, value); fault != "" {
				o.faults.param(name, fault)
			}
			out = append(out, task.Header{Name: inner, Value: value})
		}
	}
	return out
}

// forwarded returns the names of this request's headers that go along.
func (o *rawOptions) forwarded() []string {
	var out []string
	if o.header.Get(headerContentCode) != "" {
		out = append(out, headerContentCode) // the handler could not read the payload without it
	}
	for _, pattern := range splitCommas(o.query["forward"]) {
		stem, open := strings.CutSuffix(pattern, "*")
		switch {
		case !isToken(pattern) || strings.Contains(stem, "*"):
			o.faults.param("forward", "must be names of headers; a * may stand at the end of each")
		case open:
			out = append(out, o.beginningWith(stem)...)
		case !forwardable(pattern):
			o.faults.param("forward", "names a header that is never passed: "+strings.ToLower(pattern))
		default:
			out = append(out, http.CanonicalHeaderKey(pattern))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o *rawOptions) beginningWith(stem string) []string {
	var out []string
	for name := range o.header {
		if len(name) >= len(stem) && strings.EqualFold(name[:len(stem)], stem) && forwardable(name) {
			out = append(out, name)
		}
	}
	return out
}

// forwardable keeps our own keys from leaving with a pattern.
func forwardable(name string) bool {
	return !isReserved(name) && !credentials[strings.ToLower(name)]
}
