package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/taskgate/taskgate"
	"github.com/taskgate/taskgate/internal/auth"
)

// contract is openapi.yaml, prepared: one router finds the operation, and
// what is validated is surely what is served.
type contract struct {
	operations map[string]*operation // by method and route of echo
	endpoint   *openapi3.Schema      // EndpointConfig: what a patch must come to

	endpointName, projectName *openapi3.Schema
	json                      []byte
}

// operation is one operation of the contract.
type operation struct {
	id     string
	route  string     // the path as the contract has it
	scope  auth.Scope // that the caller needs; "": open to everyone
	params []*openapi3.Parameter
	// body is the JSON body's schema, nil when it takes none; media is its
	// media type.
	body  *openapi3.Schema
	media string
	// late: the handler reads the body and tells the parameters' faults
	// together with the body's.
	late bool
	// ofEndpoint: the path names an endpoint.
	ofEndpoint bool
	// audited: the operation changes what operators decide.
	audited bool
	// offers are the media types of good answers.
	offers []string
}

// loadContract reads the contract, once: it does not change.
var loadContract = sync.OnceValues(readContract)

func readContract() (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(taskgate.Contract)
	if err != nil {
		return nil, fmt.Errorf("load the contract: %w", err)
	}
	text, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write the contract as JSON: %w", err)
	}
	c := &contract{
		operations: make(map[string]*operation), json: text,
		endpoint:     doc.Components.Schemas["EndpointConfig"].Value,
		endpointName: doc.Components.Parameters["EndpointName"].Value.Schema.Value,
		projectName:  doc.Components.Parameters["ProjectName"].Value.Schema.Value,
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			made := makeOperation(item, op)
			made.route, made.audited = path, audited(method, made)
			made.ofEndpoint = strings.HasPrefix(path, "/v1/endpoints/{name}")
			c.operations[method+" "+echoPath(path)] = made
		}
	}
	return c, nil
}

func makeOperation(item *openapi3.PathItem, op *openapi3.Operation) *operation {
	out := &operation{id: op.OperationID, scope: requiredScope(op)}
	for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
		out.params = append(out.params, ref.Value)
	}
	if op.RequestBody != nil {
		out.late = true
		for _, media := range []string{mediaJSON, mediaMergePatch} {
			if taken := op.RequestBody.Value.Content[media]; taken != nil {
				out.body, out.media = taken.Schema.Value, media
			}
		}
	}
	for status, ref := range op.Responses.Map() {
		if strings.HasPrefix(status, "2") {
			for media := range ref.Value.Content {
				out.offers = append(out.offers, media)
			}
		}
	}
	return out
}

// extScope is the member of an operation that names the scope it needs. What
// is protected and names none needs one that no key has.
const extScope = "x-required-scope"

func requiredScope(op *openapi3.Operation) auth.Scope {
	if op.Security != nil && len(*op.Security) == 0 {
		return ""
	}
	scope, _ := op.Extensions[extScope].(string)
	if scope == "" {
		scope = "undeclared"
	}
	return auth.Scope(scope)
}

// echoPath turns /a/{b} into /a/:b.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// find returns the operation of a routed request, nil for none.
func (c *contract) find(e echo.Context) *operation {
	return c.operations[e.Request().Method+" "+e.Path()]
}

// GetContractYaml serves the contract as it is written.
func (s *Server) GetContractYaml(c echo.Context) error {
	return c.Blob(http.StatusOK, mediaYAML, taskgate.Contract)
}

// GetContractJson serves the contract as JSON.
func (s *Server) GetContractJson(c echo.Context) error { //nolint:revive // generated name
	return c.Blob(http.StatusOK, mediaJSON, s.contract.json)
}
