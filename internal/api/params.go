package api

import (
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate/internal/task"
)

// checkParams holds path, query and headers against the contract. bindable is
// false when the generated code would stumble over them.
func checkParams(c echo.Context, op *operation, f *faults) (bindable bool, err error) {
	r := c.Request()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return false, task.Errorf(codeInvalidParameter, "the query is not well encoded")
	}
	bindable = true
	known := make(map[string]bool, len(op.params))
	for _, p := range op.params {
		switch p.In {
		case openapi3.ParameterInPath:
			if err := checkPath(c, p, f); err != nil {
				return false, err
			}
		case openapi3.ParameterInQuery:
			known[p.Name] = true
			bindable = checkValues(p, query[p.Name], f) && bindable
		case openapi3.ParameterInHeader:
			bindable = checkHeader(p, r.Header, f) && bindable
		}
	}
	noteUnknown(query, known, f)
	return bindable, nil
}

func checkPath(c echo.Context, p *openapi3.Parameter, f *faults) error {
	text := c.Param(p.Name)
	if c.Request().URL.RawPath != "" {
		plain, err := url.PathUnescape(text)
		if err != nil {
			return task.Errorf(codeInvalidParameter, "the path is not well encoded")
		}
		text = plain
	}
	if text == "" {
		return echo.ErrNotFound
	}
	conform(p.Schema.Value, text, func(_, detail string) { f.param(p.Name, detail) })
	return nil
}

func checkHeader(p *openapi3.Parameter, h http.Header, f *faults) bool {
	values := h.Values(p.Name)
	if p.Name == "Prefer" && len(values) > 1 {
		// RFC 7240, section 2: several fields are one list.
		values = []string{strings.Join(values, ", ")}
		h.Set(p.Name, values[0])
	}
	return checkValues(p, values, f)
}

// checkValues reports whether the values can be bound.
func checkValues(p *openapi3.Parameter, values []string, f *faults) bool {
	schema := p.Schema.Value
	if schema.Type.Is(openapi3.TypeArray) {
		checkList(p, values, f)
		return true
	}
	if len(values) > 1 {
		f.param(p.Name, "is given more than once")
		return false
	}
	ok := true
	for _, text := range values {
		conform(schema, paramValue(schema, text), func(_, detail string) {
			ok = false
			f.param(p.Name, detail)
		})
	}
	// What the generated code keeps as text is always bound.
	return ok || !schema.Type.Is(openapi3.TypeInteger) || schema.Extensions["x-go-type"] != nil
}

func checkList(p *openapi3.Parameter, values []string, f *faults) {
	list := make([]any, 0, len(values))
	for _, text := range splitList(p, values) {
		list = append(list, text)
	}
	conform(p.Schema.Value, list, func(_, detail string) { f.param(p.Name, detail) })
}

// splitList also splits at commas where the items are words of a closed list.
func splitList(p *openapi3.Parameter, values []string) []string {
	if len(p.Schema.Value.Items.Value.Enum) == 0 {
		return values
	}
	return splitCommas(values)
}

func splitCommas(values []string) []string {
	var out []string
	for _, v := range values {
		for word := range strings.SplitSeq(v, ",") {
			out = append(out, strings.TrimSpace(word))
		}
	}
	return out
}

func noteUnknown(query url.Values, known map[string]bool, f *faults) {
	var names []string
	for name := range query {
		if !known[name] {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range slices.Compact(names) {
		f.param(name, "unknown parameter")
	}
}
