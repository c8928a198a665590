package contracttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Callback tells every breach of what the contract says that a receiver of
// the named callback gets.
func (c *Checker) Callback(name string, header http.Header, body []byte) error {
	op := c.callback(name)
	if op == nil {
		return errors.New("the contract has no callback " + name)
	}
	var faults []string
	for _, p := range op.Parameters {
		given := header.Values(p.Value.Name)
		switch {
		case len(given) == 0 && p.Value.Required:
			faults = append(faults, "header "+p.Value.Name+": missing")
		case len(given) > 0:
			for _, f := range faultsOf(p.Value.Schema.Value.VisitJSON(given[0], openapi3.MultiErrors())) {
				faults = append(faults, "header "+p.Value.Name+": "+f)
			}
		}
	}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	media := op.RequestBody.Value.Content[kind]
	var v any
	if err := json.Unmarshal(body, &v); err != nil || media == nil {
		faults = append(faults, fmt.Sprintf("body: %v, as %q", err, kind))
	} else {
		faults = append(faults, faultsOf(media.Schema.Value.VisitJSON(v, openapi3.MultiErrors()))...)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("callback %s breaks the contract: %s", name, strings.Join(faults, "; "))
}

func (c *Checker) callback(name string) *openapi3.Operation {
	for _, item := range c.doc.Paths.Map() {
		for _, op := range item.Operations() {
			if cb := op.Callbacks[name]; cb != nil {
				for _, target := range cb.Value.Map() {
					return target.Post
				}
			}
		}
	}
	return nil
}
