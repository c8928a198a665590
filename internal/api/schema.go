package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// conform notes where v does not conform to the schema; report gets the JSON
// pointer of each place. Only our own words leave: the library's texts quote
// schemas and values.
func conform(schema *openapi3.Schema, v any, report func(pointer, detail string)) {
	w := schemaErrors{report: report, named: make(map[string]bool)}
	w.walk(schema.VisitJSON(v, openapi3.MultiErrors(), openapi3.VisitAsRequest()))
}

// schemaErrors takes the library's errors apart.
type schemaErrors struct {
	report func(pointer, detail string)
	// named are the objects whose unknown names were reported: there is an
	// error for each name, and each knows all of them.
	named map[string]bool
}

func (w *schemaErrors) walk(err error) {
	if err == nil {
		return
	}
	if many := openapi3.MultiError(nil); errors.As(err, &many) {
		for _, e := range many {
			w.walk(e)
		}
		return
	}
	one := (*openapi3.SchemaError)(nil)
	if !errors.As(err, &one) {
		w.report("", "is not what the contract asks for")
		return
	}
	pointer := ""
	for _, key := range one.JSONPointer() {
		pointer = at(pointer, key)
	}
	if one.SchemaField != "properties" {
		w.report(pointer, inWords(one))
		return
	}
	if w.named[pointer] {
		return
	}
	w.named[pointer] = true
	for _, name := range unknown(one) {
		w.report(at(pointer, name), "unknown field")
	}
}

// unknown returns the names that the schema does not have.
func unknown(err *openapi3.SchemaError) []string {
	given, _ := err.Value.(map[string]any)
	var names []string
	for name := range given {
		if err.Schema.Properties[name] == nil {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func inWords(err *openapi3.SchemaError) string {
	s := err.Schema
	switch err.SchemaField {
	case "required":
		return "is required"
	case "nullable":
		return "must not be null"
	case "type":
		return "must be " + typeInWords(s)
	case "enum":
		return "must be one of " + enumInWords(s)
	case "minimum", "maximum":
		return "must be " + rangeInWords(s)
	case "minLength", "maxLength":
		return lengthInWords(s)
	case "maxItems":
		return fmt.Sprintf("must have at most %d items", *s.MaxItems)
	case "maxProperties":
		return fmt.Sprintf("must have at most %d members", *s.MaxProps)
	case "format":
		return formatInWords(s)
	case "pattern":
		return "must match " + s.Pattern
	}
	return "is not what the contract asks for"
}

func typeInWords(s *openapi3.Schema) string {
	switch {
	case s.Type.Is(openapi3.TypeInteger):
		return "a whole number"
	case s.Type.Is(openapi3.TypeArray):
		return "an array"
	case s.Type.Is(openapi3.TypeObject):
		return "an object"
	case s.Type.Is(openapi3.TypeBoolean):
		return "true or false"
	}
	return "a " + strings.Join(s.Type.Slice(), " or ")
}

func enumInWords(s *openapi3.Schema) string {
	words := make([]string, 0, len(s.Enum))
	for _, v := range s.Enum {
		if text, ok := v.(string); ok && text != "" {
			words = append(words, text)
		}
	}
	return strings.Join(words, ", ")
}

func rangeInWords(s *openapi3.Schema) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	switch {
	case s.Min != nil && s.Max != nil:
		return "from " + number(*s.Min) + " to " + number(*s.Max)
	case s.Min != nil:
		return "at least " + number(*s.Min)
	}
	return "at most " + number(*s.Max)
}

func lengthInWords(s *openapi3.Schema) string {
	switch {
	case s.MinLength > 0 && s.MaxLength != nil:
		return fmt.Sprintf("must have %d to %d characters", s.MinLength, *s.MaxLength)
	case s.MaxLength != nil:
		return fmt.Sprintf("must have at most %d characters", *s.MaxLength)
	}
	return fmt.Sprintf("must have at least %d characters", s.MinLength)
}

func formatInWords(s *openapi3.Schema) string {
	if s.Format == "date-time" {
		return notATime
	}
	return "must be in the format " + s.Format
}

// notATime is said of a malformed time, by the schema or by the parser.
const notATime = "must be an RFC 3339 time such as 2027-01-31T12:00:00Z"

// paramValue reads a parameter's text as its schema's type; text that is not
// of that type stays a string, which the schema refuses.
func paramValue(s *openapi3.Schema, text string) any {
	switch {
	case s.Type.Is(openapi3.TypeInteger):
		if _, err := strconv.ParseInt(text, 10, 32); err == nil && !strings.HasPrefix(text, "+") {
			return json.Number(text)
		}
	case s.Type.Is(openapi3.TypeBoolean):
		if v, err := strconv.ParseBool(text); err == nil {
			return v
		}
	}
	return text
}
