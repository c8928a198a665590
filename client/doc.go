// Package client is a Go client of Taskgate's public API, generated from
// openapi.yaml. It knows nothing of the server's code.
//
//	c, err := client.NewClientWithResponses("http://127.0.0.1:8080", client.WithKey(key))
//	reply, err := c.SubmitTaskWithResponse(ctx, nil, client.TaskSubmission{Endpoint: "orders", Payload: payload})
package client

import (
	"context"
	"net/http"
)

//go:generate go tool -modfile=../tools.mod oapi-codegen -config config.yaml ../openapi.yaml

// WithKey sends an API key with every request.
func WithKey(key string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	})
}
