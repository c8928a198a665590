package contracttest

import "github.com/getkin/kin-openapi/openapi3"

// closeObjects makes every object that names its fields refuse others, so
// that an answer's undeclared field is a breach. Parts of an allOf stay open:
// each knows only its own fields. A schema without a type takes null, as
// OpenAPI 3.0.3 says and the library does not.
func closeObjects(doc *openapi3.T) {
	w := walker{seen: map[*openapi3.Schema]bool{}, parts: map[*openapi3.Schema]bool{}}
	for _, ref := range doc.Components.Schemas {
		w.walk(ref)
	}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, r := range op.Responses.Map() {
				for _, media := range r.Value.Content {
					w.walk(media.Schema)
				}
			}
		}
	}
	for s := range w.seen {
		if s.Type == nil && len(s.Enum) == 0 {
			s.Nullable = true
		}
		open := s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil
		if open && len(s.Properties) > 0 && len(s.AllOf) == 0 && !w.parts[s] {
			s.AdditionalProperties.Has = new(bool)
		}
	}
}

type walker struct{ seen, parts map[*openapi3.Schema]bool }

func (w walker) walk(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil || w.seen[ref.Value] {
		return
	}
	s := ref.Value
	w.seen[s] = true
	for _, p := range s.Properties {
		w.walk(p)
	}
	for _, part := range s.AllOf {
		w.parts[part.Value] = true
		w.walk(part)
	}
	for _, list := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf} {
		for _, one := range list {
			w.walk(one)
		}
	}
	w.walk(s.Items)
	w.walk(s.AdditionalProperties.Schema)
}
