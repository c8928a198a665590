package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/taskgate/taskgate/internal/task"
)

// Bounds of headers and labels; the contract has them too.
const (
	maxHeaders      = 50
	maxHeaderName   = 100
	maxHeadersTotal = 16 << 10
	maxLabels       = 16
	maxLabelValue   = 255
)

// reserved are the headers that HTTP or Taskgate sets: the hop-by-hop ones
// (RFC 9110, section 7.6.1), those of framing, and our own.
var reserved = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"proxy-connection": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"expect": true, "host": true, "user-agent": true, "idempotency-key": true,
	"traceparent": true, "tracestate": true,
}

// content are the headers of the payload that a submitter may set.
var content = map[string]bool{
	"content-encoding": true, "content-language": true, "content-disposition": true, "content-location": true,
}

// credentials are never shown, and an endpoint's headers are.
var credentials = map[string]bool{"authorization": true, "cookie": true}

func isReserved(name string) bool {
	name = strings.ToLower(name)
	return reserved[name] || strings.HasPrefix(name, "content-") && !content[name] ||
		strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "taskgate-")
}

// headerFault says what is wrong with a header for the handler.
func headerFault(name, value string) string {
	switch {
	case !isToken(name) || len(name) > maxHeaderName:
		return "is not the name of a header"
	case isReserved(name):
		return "is set by HTTP or by Taskgate"
	case !fieldValue(value):
		return "must have a value without line breaks, control characters and spaces around it"
	}
	return ""
}

// isToken is RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// fieldValue is RFC 9110, section 5.5; what is not ASCII passes as UTF-8.
func fieldValue(s string) bool {
	if strings.Trim(s, " \t") != s {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// checkHeaders notes what is wrong with headers given as a JSON object and
// returns them sorted by name.
func checkHeaders(given map[string]string, pointer string, note func(pointer, detail string)) []task.Header {
	out := make([]task.Header, 0, len(given))
	seen := make(map[string]bool, len(given))
	for name, value := range given {
		if fault := headerFault(name, value); fault != "" {
			note(at(pointer, name), fault)
		}
		if lower := strings.ToLower(name); seen[lower] {
			note(pointer, "has a name twice: "+lower)
		} else {
			seen[lower] = true
		}
		out = append(out, task.Header{Name: name, Value: value})
	}
	checkHeadersSize(out, func(detail string) { note(pointer, detail) })
	slices.SortFunc(out, func(a, b task.Header) int { return strings.Compare(a.Name, b.Name) })
	if len(out) == 0 {
		return nil
	}
	return out
}

func checkHeadersSize(headers []task.Header, note func(detail string)) {
	total := 0
	for _, h := range headers {
		total += len(h.Name) + len(h.Value)
	}
	switch {
	case len(headers) > maxHeaders:
		note(fmt.Sprintf("must have at most %d headers", maxHeaders))
	case total > maxHeadersTotal:
		note(fmt.Sprintf("must have at most %d bytes of names and values", maxHeadersTotal))
	}
}

var labelKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func labelFault(key, value string) string {
	switch {
	case !labelKey.MatchString(key):
		return "has a key that is not 1 to 63 letters, digits, _ . - beginning with a letter or digit"
	case utf8.RuneCountInString(value) > maxLabelValue:
		return fmt.Sprintf("must have at most %d characters", maxLabelValue)
	case strings.ContainsFunc(value, unicode.IsControl) || !utf8.ValidString(value):
		return "must not contain control characters"
	}
	return ""
}

func checkLabels(given map[string]string, pointer string, note func(pointer, detail string)) {
	for key, value := range given {
		if fault := labelFault(key, value); fault != "" {
			note(at(pointer, key), fault)
		}
	}
}

// parseLabel reads "key:value".
func parseLabel(text string) (key, value, fault string) {
	key, value, ok := strings.Cut(text, ":")
	if !ok {
		return "", "", "must be key:value"
	}
	return key, value, labelFault(key, value)
}

// parseLabels reads labels of a query.
func parseLabels(texts []string, f *faults) map[string]string {
	if len(texts) == 0 {
		return nil
	}
	out := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, fault := parseLabel(text)
		if _, twice := out[key]; twice && fault == "" {
			fault = "has a key twice"
		}
		if fault != "" {
			f.param("label", fault)
			continue
		}
		out[key] = value
	}
	return out
}
