package api

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/taskgate/taskgate"
	"github.com/taskgate/taskgate/internal/auth"
	"github.com/taskgate/taskgate/internal/task"
)

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(taskgate.Contract)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// The closed lists of the contract are those of the code.
func TestContractLists(t *testing.T) {
	doc := loadDocument(t)
	for name, want := range map[string][]string{
		"TaskState":   texts(task.States()),
		"Reason":      texts(task.Reasons()),
		"Scope":       texts(auth.Scopes()),
		"ProblemCode": texts(slices.Collect(maps.Keys(kinds))),
	} {
		var got []string
		for _, v := range doc.Components.Schemas[name].Value.Enum {
			got = append(got, v.(string))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the contract has %q, the code %q", name, got, want)
		}
	}
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}

// What the contract protects names the scope that it needs, and only that.
func TestContractScopes(t *testing.T) {
	each(loadDocument(t), func(_ *openapi3.PathItem, path string, op *openapi3.Operation) {
		declared, _ := op.Extensions[extScope].(string)
		scope := requiredScope(op)
		if string(scope) != declared {
			t.Errorf("%s: needs %q, declares %q", op.OperationID, scope, declared)
		}
		if scope != "" && (!slices.Contains(auth.Scopes(), scope) || scope == auth.ScopeTasks || scope == auth.ScopeEndpoints) {
			t.Errorf("%s: %s is no scope that an operation can need", op.OperationID, scope)
		}
		if strings.HasPrefix(path, "/v1/") == (scope == "") {
			t.Errorf("%s %s: scope %q", path, op.OperationID, scope)
		}
	})
}

// Whoever changes what operators decide, or many tasks at once, is audited.
// A new operation of tasks:write that is not, belongs on this list.
func TestAudited(t *testing.T) {
	ofOneTask := []string{"submitTask", "submitRawTask", "cancelTask", "retryTask", "rescheduleTask"}
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	for key, op := range c.operations {
		method, _, _ := strings.Cut(key, " ")
		want := method != "GET" && op.scope != "" && !slices.Contains(ofOneTask, op.id)
		if op.audited != want {
			t.Errorf("%s: audited %t, want %t", op.id, op.audited, want)
		}
	}
}

// Every operation can be found, whichever way it is asked for.
func TestContractRoutes(t *testing.T) {
	s, err := New(Deps{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	routes := make(map[string]bool)
	for _, r := range s.echo.Routes() {
		routes[r.Method+" "+r.Path] = true
	}
	for key, op := range s.contract.operations {
		if !routes[key] {
			t.Errorf("%s (%s) has no route", key, op.id)
		}
	}
	assets := 2 // of the page of /docs
	if len(routes) != len(s.contract.operations)+assets {
		t.Errorf("%d routes for %d operations and %d assets", len(routes), len(s.contract.operations), assets)
	}
}

// Clients are made of it: every operation and parameter says what it is for,
// and requests take nothing that is not named.
func TestContractIsClosedAndDescribed(t *testing.T) {
	doc := loadDocument(t)
	ids := make(map[string]bool)
	each(doc, func(item *openapi3.PathItem, path string, op *openapi3.Operation) {
		if op.OperationID == "" || op.Summary == "" || ids[op.OperationID] {
			t.Errorf("%s: %q has no summary, or no id of its own", path, op.OperationID)
		}
		ids[op.OperationID] = true
		for _, p := range slices.Concat(item.Parameters, op.Parameters) {
			if p.Value.Description == "" {
				t.Errorf("%s: parameter %s is not described", op.OperationID, p.Value.Name)
			}
		}
	})
	each(doc, func(_ *openapi3.PathItem, _ string, op *openapi3.Operation) {
		if op.RequestBody == nil {
			return
		}
		for _, media := range op.RequestBody.Value.Content {
			closedAndDescribed(t, op.OperationID, media.Schema)
		}
	})
}

// closedAndDescribed goes through an object of a request, and those within:
// it is described as a whole, or each of its members is.
func closedAndDescribed(t *testing.T, name string, ref *openapi3.SchemaRef) {
	t.Helper()
	schema := ref.Value
	if has := schema.AdditionalProperties.Has; len(schema.Properties) > 0 && (has == nil || *has) {
		t.Errorf("%s takes unknown fields", name)
	}
	for field, inner := range schema.Properties {
		if inner.Value.Description == "" && schema.Description == "" {
			t.Errorf("%s.%s is not described", name, field)
		}
		closedAndDescribed(t, name+"."+field, inner)
	}
	if schema.Items != nil {
		closedAndDescribed(t, name+"[]", schema.Items)
	}
}

// The reference has a word for every field.
func TestContractFieldsAreDescribed(t *testing.T) {
	for name, schema := range loadDocument(t).Components.Schemas {
		for field, ref := range schema.Value.Properties {
			if ref.Value.Description == "" {
				t.Errorf("%s.%s is not described", name, field)
			}
		}
	}
}

func each(doc *openapi3.T, f func(item *openapi3.PathItem, path string, op *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			f(item, path, op)
		}
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for code, k := range kinds {
		if k.status < 400 || k.status > 599 || k.title == "" {
			t.Errorf("%s: %+v", code, k)
		}
		if (k.status == 503 || k.status == 429) != (k.retryAfter > 0) && code != task.CodeInProgress {
			t.Errorf("%s: Retry-After %d with %d", code, k.retryAfter, k.status)
		}
	}
	for _, err := range []error{
		task.Errorf("made_up", "secret insides"), task.Errorf(task.CodeInternal, "secret insides"),
	} {
		if e := coded(err); e.Code != task.CodeInternal || strings.Contains(e.Detail, "insides") {
			t.Errorf("got %+v", e)
		}
	}
}
