package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// yamlReader reads YAML as the JSON it stands for, and keeps in mind where
// everything is. Whole strings of the form ${NAME} are taken from the
// environment.
type yamlReader struct {
	env    func(name string) (string, bool)
	lines  map[string]int // by JSON pointer
	note   func(pointer, detail string)
	budget int // nodes that may still come: aliases multiply
}

// maxYAMLNodes bounds what a file may come to.
const maxYAMLNodes = 200_000

var (
	fromEnvironment = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
	lineOfYAML      = regexp.MustCompile(`line ([0-9]+)`)
)

// read returns nil for what is no YAML; a fault says so.
func (r *yamlReader) read(content []byte) any {
	r.lines, r.budget = make(map[string]int), maxYAMLNodes
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(content))
	err := d.Decode(&doc)
	if err == nil {
		if err = d.Decode(&more); err == nil {
			r.lines[""] = more.Line
			r.note("", "has more than one document")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		// The parser's text may quote the file, and with it a secret.
		if m := lineOfYAML.FindStringSubmatch(err.Error()); m != nil {
			r.lines[""], _ = strconv.Atoi(m[1])
		}
		r.note("", "is not valid YAML")
		return nil
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		r.note("", "is empty; a file without endpoints says so: endpoints: {}")
		return nil
	}
	return r.value(doc.Content[0], "", 0)
}

func (r *yamlReader) value(n *yaml.Node, pointer string, depth int) any {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, seen := r.lines[pointer]; !seen {
		r.lines[pointer] = n.Line
	}
	if r.budget--; r.budget < 0 {
		if r.budget == -1 {
			r.note("", "has too many values, aliases counted each time")
		}
		return nil
	}
	if depth > maxDepth {
		r.note(pointer, "is nested too deep")
		return nil
	}
	if n.Kind == yaml.MappingNode {
		return r.mapping(n, pointer, depth)
	}
	if n.Kind == yaml.SequenceNode {
		out := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			out = append(out, r.value(item, pointer+"/"+strconv.Itoa(i), depth+1))
		}
		return out
	}
	return r.scalar(n, pointer)
}

func (r *yamlReader) mapping(n *yaml.Node, pointer string, depth int) any {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		here := at(pointer, key.Value)
		if _, twice := out[key.Value]; twice {
			r.lines[here] = key.Line
			r.note(here, "is given more than once")
			continue
		}
		if r.lines[here] = key.Line; key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			r.note(here, "is not a plain name")
			continue
		}
		out[key.Value] = r.value(n.Content[i+1], here, depth+1)
	}
	return out
}

func (r *yamlReader) scalar(n *yaml.Node, pointer string) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var v bool
		_ = n.Decode(&v)
		return v
	case "!!int", "!!float":
		var v any
		if n.Decode(&v) == nil {
			if text, err := json.Marshal(v); err == nil {
				return json.Number(text)
			}
		}
		r.note(pointer, "is not a number that JSON knows")
		return nil
	}
	m := fromEnvironment.FindStringSubmatch(n.Value)
	if m == nil {
		return n.Value
	}
	value, ok := r.env(m[1])
	if !ok {
		r.note(pointer, "names "+m[1]+", which is not in the environment")
	}
	return value
}

// line is that of the value, or of the nearest around it.
func (r *yamlReader) line(pointer string) int {
	for {
		if line, ok := r.lines[pointer]; ok || pointer == "" {
			return line
		}
		for pointer[len(pointer)-1] != '/' {
			pointer = pointer[:len(pointer)-1]
		}
		pointer = pointer[:len(pointer)-1]
	}
}
