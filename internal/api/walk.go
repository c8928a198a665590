package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/taskgate/taskgate/internal/task"
)

// Bounds of a body outside of a payload: how deep it is nested, and how many
// values it has, several times what the contract can ask for. Each fault of a
// body is worth a lot of work.
const (
	maxDepth  = 32
	maxValues = 1000
)

// document is a JSON body, read strictly: valid UTF-8, and no name twice.
type document struct {
	// head is the body with the exempt member's value replaced by null.
	head []byte
	// tree is head as maps, slices, strings, json.Number, bool and nil,
	// without the exempt member.
	tree any
	// exempt is that member's text, untouched; nil when absent.
	exempt []byte
}

// readDocument reads a body. The top-level member named exempt may hold
// anything of any size; the rest is at most maxHead bytes. Names given twice
// are noted as faults.
func readDocument(body []byte, exempt string, maxHead int, f *faults) (document, error) {
	if err := checkSyntax(body); err != nil {
		return document{}, err
	}
	w := walker{b: body, faults: f}
	start, end := w.find(exempt)
	doc := document{head: body}
	if end > 0 {
		doc.exempt = body[start:end]
		doc.head = bytes.Join([][]byte{body[:start], body[end:]}, []byte("null"))
	}
	if len(doc.head) > maxHead {
		return document{}, task.Errorf(codePayloadTooLarge, "the body is longer than %d bytes beside its payload", maxHead)
	}
	w.b = doc.head
	var err error
	if doc.tree, err = w.document(); err != nil {
		return document{}, err
	}
	if top, ok := doc.tree.(map[string]any); ok && exempt != "" {
		delete(top, exempt)
	}
	return doc, nil
}

// checkSyntax makes sure of valid JSON, so that the walker need not look.
func checkSyntax(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return task.Errorf(codeMalformed, "the body is empty; it must be a JSON object")
	}
	if !utf8.Valid(body) {
		return task.Errorf(codeMalformed, "the body is not valid UTF-8")
	}
	if json.Valid(body) {
		return nil
	}
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return task.Errorf(codeMalformed, "the body is not valid JSON; the fault is at byte %d", syntax.Offset)
	}
	return task.Errorf(codeMalformed, "the body is not valid JSON")
}

// walker reads JSON that is known to be valid.
type walker struct {
	b      []byte
	i      int
	values int
	faults *faults
}

func (w *walker) space() {
	for w.i < len(w.b) && (w.b[w.i] == ' ' || w.b[w.i] == '\t' || w.b[w.i] == '\r' || w.b[w.i] == '\n') {
		w.i++
	}
}

// find returns where the value of the last top-level member of that name lies.
func (w *walker) find(name string) (start, end int) {
	defer func() { w.i = 0 }()
	w.space()
	if name == "" || w.b[w.i] != '{' {
		return 0, 0
	}
	_ = w.members(func(key string) error {
		from := w.i
		w.skip()
		if key == name {
			start, end = from, w.i
		}
		return nil
	})
	return start, end
}

// members calls value at the begin of each member's value; it must read it.
func (w *walker) members(value func(key string) error) error {
	w.i++ // {
	for w.space(); w.b[w.i] != '}'; w.space() {
		if w.b[w.i] == ',' {
			w.i++
			w.space()
		}
		key := w.str()
		w.space()
		w.i++ // :
		w.space()
		if err := value(key); err != nil {
			return err
		}
	}
	w.i++ // }
	return nil
}

// skip passes over one value.
func (w *walker) skip() {
	for depth := 0; ; {
		switch w.b[w.i] {
		case '"':
			w.skipString()
		case '{', '[':
			depth++
			w.i++
		case '}', ']':
			depth--
			w.i++
		case ' ', '\t', '\r', '\n', ',', ':':
			w.i++
		default:
			w.skipLiteral()
		}
		if depth == 0 {
			return
		}
	}
}

func (w *walker) skipString() {
	for w.i++; w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] == '\\' {
			w.i++
		}
	}
	w.i++
}

func (w *walker) skipLiteral() {
	if n := bytes.IndexAny(w.b[w.i:], " \t\r\n,:]}"); n >= 0 {
		w.i += n
		return
	}
	w.i = len(w.b)
}

func (w *walker) str() string {
	from := w.i
	w.skipString()
	var s string
	_ = json.Unmarshal(w.b[from:w.i], &s) // valid
	return s
}

// halfPair reports whether a JSON string has an escape that stands for half of
// a character (RFC 8259, section 8.2). Read, it would become another one.
func halfPair(text []byte) bool {
	const escape = len(`\u0000`)
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first, ok := unit(text[i:])
		switch {
		case !ok:
			i++ // a short escape
		case !utf16.IsSurrogate(first):
			i += escape - 1
		default:
			second, ok := unit(text[i+escape:])
			if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
				return true
			}
			i += 2*escape - 1
		}
	}
	return false
}

// unit reads an escape of four hexadecimal digits at the begin of text.
func unit(text []byte) (rune, bool) {
	const escape = len(`\u0000`)
	if len(text) < escape || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:escape]), 16, 16)
	return rune(n), err == nil
}

func (w *walker) document() (any, error) {
	w.space()
	return w.value("", 0)
}

func (w *walker) value(pointer string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, task.Errorf(codeMalformed, "the body is nested deeper than %d levels", maxDepth)
	}
	if w.values++; w.values > maxValues {
		return nil, task.Errorf(codeMalformed, "the body has more than %d values", maxValues)
	}
	switch w.b[w.i] {
	case '{':
		return w.object(pointer, depth)
	case '[':
		return w.array(pointer, depth)
	case '"':
		from := w.i
		s := w.str()
		if halfPair(w.b[from:w.i]) {
			w.faults.inBody(pointer, "has half of a surrogate pair, which is no character")
		}
		return s, nil
	}
	from := w.i
	w.skipLiteral()
	switch text := string(w.b[from:w.i]); text {
	case "true", "false":
		return text == "true", nil
	case "null":
		return nil, nil //nolint:nilnil // JSON's null
	default:
		return json.Number(text), nil
	}
}

func (w *walker) object(pointer string, depth int) (any, error) {
	out := make(map[string]any)
	err := w.members(func(key string) error {
		here := at(pointer, key)
		v, err := w.value(here, depth+1)
		if _, twice := out[key]; twice {
			w.faults.inBody(here, "is given more than once")
		}
		out[key] = v
		return err
	})
	return out, err
}

func (w *walker) array(pointer string, depth int) (any, error) {
	out := []any{}
	w.i++ // [
	for w.space(); w.b[w.i] != ']'; w.space() {
		if w.b[w.i] == ',' {
			w.i++
			w.space()
		}
		v, err := w.value(pointer+"/"+strconv.Itoa(len(out)), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	w.i++ // ]
	return out, nil
}
