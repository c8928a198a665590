// Package contracttest holds what tests exchange with a server against
// openapi.yaml, stricter than a client would: an answer's fields, statuses and
// headers must be declared, and what the server takes must be allowed.
package contracttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/taskgate/taskgate"
)

// Checker checks exchanges. It is safe for concurrent use.
type Checker struct {
	doc    *openapi3.T
	router routers.Router
}

// Document reads the contract. Its objects refuse fields that they do not name.
func Document() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(taskgate.Contract)
	if err != nil {
		return nil, fmt.Errorf("load the contract: %w", err)
	}
	closeObjects(doc)
	return doc, nil
}

// Shared is the checker of all tests of a program: to read the contract takes
// longer than most of them.
var Shared = sync.OnceValues(newChecker)

func newChecker() (*Checker, error) {
	doc, err := Document()
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // the host is the test's affair
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route the contract: %w", err)
	}
	return &Checker{doc: doc, router: router}, nil
}

// Exchange is a request and its answer, both with their whole bodies.
type Exchange struct {
	Request *http.Request
	Sent    []byte
	Status  int
	Header  http.Header
	Body    []byte
}

// Check tells every breach of the contract with its place and its reason, nil
// for none. A request is judged only when the server took it: a refusal may
// have more reasons than the contract can say.
func (c *Checker) Check(x *Exchange) error {
	faults := c.problem(x)
	route, params, err := c.find(x.Request)
	switch {
	case err == nil:
		in := &openapi3filter.RequestValidationInput{Request: x.Request, PathParams: params, Route: route}
		faults = append(faults, c.answer(in, x)...)
		if x.Status < http.StatusBadRequest {
			faults = append(faults, c.request(in, x.Sent)...)
		}
	case x.Status != http.StatusNotFound && x.Status != http.StatusMethodNotAllowed:
		faults = append(faults, "no operation of the contract answers here")
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s answered %d breaks the contract: %s", x.Request.Method, x.Request.URL, x.Status, strings.Join(faults, "; "))
}

// find looks for the operation by the path as it was sent: "a%2Fb" is one name.
func (c *Checker) find(r *http.Request) (*routers.Route, map[string]string, error) {
	if path := r.URL.EscapedPath(); len(path) > 1 && strings.HasSuffix(path, "/") {
		return nil, nil, routers.ErrPathNotFound // the library takes it for the path without
	}
	u := *r.URL
	u.Path = r.URL.EscapedPath()
	own := *r
	own.URL = &u
	route, params, err := c.router.FindRoute(&own)
	for name, value := range params {
		if value == "" {
			return nil, nil, routers.ErrPathNotFound // nor is nothing a name
		}
		if params[name], err = url.PathUnescape(value); err != nil {
			return nil, nil, fmt.Errorf("path parameter %s: %w", name, err)
		}
	}
	return route, params, err
}

func (c *Checker) answer(in *openapi3filter.RequestValidationInput, x *Exchange) []string {
	response := in.Route.Operation.Responses.Status(x.Status)
	if response == nil {
		return []string{"status: not declared"}
	}
	faults := undeclared(response.Value, x.Header)
	if len(response.Value.Content) == 0 && len(x.Body) > 0 {
		faults = append(faults, fmt.Sprintf("body: %d bytes where none is declared", len(x.Body)))
	}
	return append(faults, faultsOf(openapi3filter.ValidateResponse(in.Request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: x.Status, Header: x.Header, Body: io.NopCloser(bytes.NewReader(x.Body)),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: opaque(response.Value.Content, x.Header),
		},
	}))...)
}

func (c *Checker) request(in *openapi3filter.RequestValidationInput, sent []byte) []string {
	own := in.Request.Clone(context.Background())
	own.Body = io.NopCloser(bytes.NewReader(sent))
	judged := *in
	judged.Request, judged.QueryParams = own, repeated(in.Route, own.URL.Query())
	body := in.Route.Operation.RequestBody
	judged.Options = &openapi3filter.Options{
		MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
		ExcludeRequestBody: body == nil || opaque(body.Value.Content, own.Header),
	}
	return faultsOf(openapi3filter.ValidateRequest(own.Context(), &judged))
}

// repeated writes "state=a,b" as "state=a&state=b": the contract's text allows
// both, a schema can say only one.
func repeated(route *routers.Route, q url.Values) url.Values {
	for _, p := range route.Operation.Parameters {
		given := q[p.Value.Name]
		if len(given) > 0 && p.Value.In == openapi3.ParameterInQuery && p.Value.Schema.Value.Type.Is("array") {
			q[p.Value.Name] = strings.Split(strings.Join(given, ","), ",")
		}
	}
	return q
}

// opaque reports a body that the contract does not look into: no type of its
// own is declared, or one of bytes.
func opaque(content openapi3.Content, h http.Header) bool {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return content["*/*"] != nil
	}
	declared := content[media]
	if declared == nil {
		return content["*/*"] != nil
	}
	return declared.Schema != nil && declared.Schema.Value.Format == "binary"
}

// undeclared tells the headers that a client would not learn of.
func undeclared(r *openapi3.Response, h http.Header) []string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		ours := strings.HasPrefix(name, "Taskgate-") && !strings.HasPrefix(name, "Taskgate-Result-")
		if !ours && !slices.Contains([]string{"Location", "Retry-After", "Www-Authenticate", "Preference-Applied", "Idempotency-Replayed"}, name) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.Headers)), func(d string) bool { return http.CanonicalHeaderKey(d) == name }) {
			faults = append(faults, "header "+name+": not declared")
		}
	}
	return faults
}

// problem holds what every problem promises, wherever it comes from.
func (c *Checker) problem(x *Exchange) []string {
	media, _, _ := mime.ParseMediaType(x.Header.Get("Content-Type"))
	if media != "application/problem+json" {
		if x.Status >= http.StatusBadRequest && x.Request.URL.Path != "/readyz" {
			return []string{fmt.Sprintf("an error answered as %q", media)}
		}
		return nil
	}
	var v any
	var p struct {
		Type, Code, Instance string
		Status               int
	}
	if err := errors.Join(json.Unmarshal(x.Body, &v), json.Unmarshal(x.Body, &p)); err != nil {
		return []string{"problem: not JSON"}
	}
	faults := faultsOf(c.doc.Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.MultiErrors()))
	if p.Status != x.Status || p.Instance == "" || p.Instance != x.Header.Get("X-Request-ID") || p.Type != "urn:taskgate:problem:"+p.Code {
		faults = append(faults, fmt.Sprintf("problem: disagrees with its answer or with itself: %+v", p))
	}
	return faults
}

// faultsOf takes the library's errors apart into "place: reason".
func faultsOf(err error) []string {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
	case nil:
		return nil
	case openapi3.MultiError:
		var out []string
		for _, one := range e {
			out = append(out, faultsOf(one)...)
		}
		return out
	case *openapi3.SchemaError:
		if strings.HasPrefix(e.Reason, "cannot convert json.Number") {
			return nil // the library's limit, not JSON's: 1e400 is a number
		}
		return []string{"/" + strings.Join(e.JSONPointer(), "/") + ": " + e.Reason}
	case *openapi3filter.ResponseError:
		return under(e.Reason, e.Err)
	case *openapi3filter.RequestError:
		place := "request body"
		if e.Parameter != nil {
			place = "request parameter " + e.Parameter.Name
		}
		return under(strings.TrimSuffix(place+": "+e.Reason, ": "), e.Err)
	}
	return []string{err.Error()}
}

func under(place string, err error) []string {
	if err == nil {
		return []string{place}
	}
	inner := faultsOf(err)
	for i, f := range inner {
		inner[i] = place + ": " + f
	}
	return inner
}
