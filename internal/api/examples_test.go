package api

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskgate/taskgate/internal/contracttest"
	"github.com/taskgate/taskgate/internal/task"
)

// Every JSON body has an example, and each is what its schema says.
func TestContractExamples(t *testing.T) {
	shown := make(map[task.Code]bool)
	eachBody(t, func(where, status string, media *openapi3.MediaType) {
		examples := maps.Clone(media.Examples)
		if examples == nil {
			examples = make(openapi3.Examples)
		}
		if media.Example != nil {
			examples["its only"] = &openapi3.ExampleRef{Value: &openapi3.Example{Value: media.Example}}
		}
		if len(examples) == 0 {
			t.Errorf("%s: no example", where)
		}
		for name, ref := range examples {
			if err := media.Schema.Value.VisitJSON(ref.Value.Value, openapi3.MultiErrors()); err != nil {
				t.Errorf("%s: example %s: %v", where, name, err)
			}
			if strings.Contains(where, mediaProblem) {
				shown[checkProblemExample(t, where, status, ref.Value.Value)] = true
			}
		}
	})
	shown[codeMethodNotAllowed] = true // of paths, not of operations
	for code := range kinds {
		if !shown[code] {
			t.Errorf("problem %s has no example", code)
		}
	}
}

// checkProblemExample holds an example against the table of codes.
func checkProblemExample(t *testing.T, where, status string, example any) task.Code {
	t.Helper()
	var p struct {
		Type, Title, Code string
		Status            int
	}
	text, err := json.Marshal(example)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	code := task.Code(p.Code)
	k := kinds[code]
	if p.Status != k.status || p.Title != k.title || p.Type != problemType+p.Code || status != strconv.Itoa(k.status) {
		t.Errorf("%s: the example of %s is %+v, the table has %d %q", where, code, p, k.status, k.title)
	}
	return code
}

// eachBody visits each JSON body of a request ("" is its status) or answer.
func eachBody(t *testing.T, visit func(where, status string, media *openapi3.MediaType)) {
	t.Helper()
	doc, err := contracttest.Document()
	if err != nil {
		t.Fatal(err)
	}
	content := func(where, status string, c openapi3.Content) {
		for name, media := range c {
			if strings.HasSuffix(name, "json") {
				visit(where+" "+status+" "+name, status, media)
			}
		}
	}
	each(doc, func(_ *openapi3.PathItem, _ string, op *openapi3.Operation) {
		if op.RequestBody != nil {
			content(op.OperationID, "", op.RequestBody.Value.Content)
		}
		for status, r := range op.Responses.Map() {
			content(op.OperationID, status, r.Value.Content)
		}
	})
}
